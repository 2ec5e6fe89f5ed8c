/** Every action and place by name. */
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { type Action, offered } from "../state/actions.ts";
import { theme } from "../state/preferences.ts";
import { goTo } from "../state/route.ts";
import { Dialog } from "./dialog.tsx";
import { shownDialog } from "./keys.tsx";
import { screens } from "./screens.tsx";

function everyAction(): readonly Action[] {
  return [
    ...[...offered.value.values()].flatMap((actions) => actions()),
    ...screens.map(({ screen, name }) => ({ name, hint: "screen", act: () => goTo(screen) })),
    ...(["auto", "light", "dark"] as const).map((value) => ({
      name: `Colors: ${value}`,
      hint: "page",
      act: () => {
        theme.value = value;
      },
    })),
    {
      name: "Keys",
      hint: "?",
      act: () => {
        shownDialog.value = "keys";
      },
    },
  ];
}

/** Those whose name has all the words, in their order. */
function matching(actions: readonly Action[], text: string): readonly Action[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return actions.filter(({ name }) => words.every((word) => name.toLowerCase().includes(word))).slice(0, 50);
}

export function Palette() {
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const id = useId();
  const list = useRef<HTMLUListElement>(null);
  const found = matching(everyAction(), text);
  const picked = Math.min(at, found.length - 1);
  useEffect(() => {
    list.current?.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: "nearest" });
  }, [picked, text]);
  const close = () => {
    shownDialog.value = null;
  };
  const run = (action: Action | undefined) => {
    if (!action) return;
    close();
    action.act();
  };
  return (
    <Dialog title="Palette" kind="palette" bare onClose={() => shownDialog.value === "palette" && close()}>
      <input
        class="field"
        role="combobox"
        aria-label="What to do"
        aria-expanded="true"
        aria-controls={id}
        aria-activedescendant={found.length > 0 ? `${id}-${picked}` : undefined}
        placeholder="What to do, or where to go"
        autocomplete="off"
        autoFocus
        value={text}
        onInput={(event) => {
          setText(event.currentTarget.value);
          setAt(0);
        }}
        onKeyDown={(event) => {
          if (event.isComposing) return;
          const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
          if (step !== undefined) {
            event.preventDefault();
            setAt((picked + step + found.length) % Math.max(1, found.length));
          } else if (event.key === "Enter") {
            event.preventDefault();
            run(found[picked]);
          }
        }}
      />
      <ul id={id} ref={list} role="listbox" aria-label="Actions">
        {found.map((action, i) => (
          <li
            key={`${action.name} ${action.hint}`}
            id={`${id}-${i}`}
            class="choice"
            role="option"
            aria-selected={i === picked}
            onClick={() => run(action)}
            onKeyDown={() => {}}
          >
            <span class="cut">{action.name}</span>
            <span class="soft">{action.hint}</span>
          </li>
        ))}
      </ul>
      {found.length === 0 && <p class="dialog-body soft small">Nothing has this name.</p>}
    </Dialog>
  );
}
