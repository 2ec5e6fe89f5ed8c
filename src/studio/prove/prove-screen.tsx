/** Prove: a text that Lean reads while it is written, the goals at the cursor, and searches for what is left open. */
import { useEffect, useMemo, useRef } from "preact/hooks";
import { Icon } from "../frame/icons.tsx";
import { offerKeys } from "../frame/keys.tsx";
import { offerActions } from "../state/actions.ts";
import { notify } from "../state/notices.ts";
import { goTo } from "../state/route.ts";
import { type Studio, useStudio } from "../state/studio.ts";
import { type LeanMessage, messagesOf } from "./checks.ts";
import { type EditorHandle, LeanEditor } from "./editor.tsx";
import { goalsAt } from "./goal-diff.ts";
import { Goals } from "./goals.tsx";
import { countMessages, Messages } from "./messages.tsx";
import { EXAMPLE, Proving } from "./proving.ts";
import { SearchForm } from "./search-form.tsx";
import { SearchView } from "./search-view.tsx";
import "../styles/prove.css";

/** One for the page: searches are followed while other screens are shown. */
let only: Proving | null = null;

function useProving(studio: Studio): Proving {
  only ??= new Proving(studio);
  return only;
}

const NONE: readonly LeanMessage[] = [];

/** What Lean thinks of the text, in a line. */
function statusOf(
  { checks }: Proving,
  messages: readonly LeanMessage[],
  isStale: boolean,
): readonly [string, string] {
  const verdict = checks.verdict.value;
  if (checks.busy.value !== null) return ["busy", `${checks.busy.value} …`];
  if (checks.fault.value !== null) return ["bad", checks.fault.value];
  if (verdict === null) return ["none", "not read yet"];
  if (isStale) return ["none", "changed since Lean read it"];
  const counts = countMessages(messages);
  if (verdict.answer.complete) return ["good", `✓ complete${counts === "" ? "" : `, ${counts}`}`];
  return [messages.some(({ severity }) => severity === "error") ? "bad" : "warn", counts || "not complete"];
}

/** A text with a `sorry` for what it leaves open. */
export function withSorry(text: string): string {
  const end = text.trimEnd();
  if (/:=\s*by$/.test(end)) return `${end}\n  sorry\n`;
  return /:=$/.test(end) ? `${end} by\n  sorry\n` : `${end} := by\n  sorry\n`;
}

function NoLean({ missing }: { readonly missing: string }) {
  return (
    <div class="fault" role="alert">
      <p>There is no Lean on this machine, so nothing can be checked or proved. What you write is kept.</p>
      <pre class="says">{missing}</pre>
    </div>
  );
}

export function ProveScreen() {
  const studio = useStudio();
  const proving = useProving(studio);
  const editor = useRef<EditorHandle | null>(null);
  const { checks } = proving;
  const verdict = checks.verdict.value;
  const isStale = verdict !== null && verdict.revision !== checks.revision.value;
  const messages = useMemo(() => (verdict === null ? NONE : messagesOf(verdict.answer)), [verdict]);
  const found = verdict === null ? null : goalsAt(verdict.text, verdict.answer.steps, proving.cursor.value);
  const search = proving.search.value;
  const running = search !== null && search.ended === null;
  const noLean = studio.hello.value?.lean.missing ?? null;
  const offline = studio.connection.value.state === "lost";
  const replace = (text: string, what: string) => {
    editor.current?.replace(text);
    notify(what, () => editor.current?.undo());
  };
  useEffect(() => {
    const stop = () => proving.stop((text) => notify(text));
    offerActions("prove", () => [
      { name: "Prove: look at the text again", hint: "prove", act: () => checks.again() },
      {
        name: "Prove: a new text",
        hint: "prove",
        act: () => {
          goTo("prove");
          if (editor.current) replace(EXAMPLE, "The text is an example.");
        },
      },
      ...(proving.search.peek()?.ended === null
        ? [{ name: "Prove: stop the search", hint: "Escape", act: () => void stop() }]
        : []),
    ]);
    return offerKeys({ stop });
  }, [proving]);
  const [look, words] = statusOf(proving, messages, isStale);
  const missing =
    noLean !== null ? "Without Lean nothing can be proved." : offline ? "The server does not answer." : null;
  return (
    <div class="page screen prove-page">
      <div class="page-head">
        <h1>Prove</h1>
      </div>
      {noLean !== null && <NoLean missing={noLean} />}
      <div class="prove-columns">
        <section
          class="card lean-card"
          aria-label="Text"
          onKeyDown={(event) => {
            if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
            event.preventDefault();
            document.querySelector<HTMLFormElement>(".prove-form")?.requestSubmit();
          }}
        >
          <div class="row lean-head">
            <h2>Lean</h2>
            <p class={`small lean-status ${look}`} role="status">
              {noLean === null ? words : "not read: no Lean"}
            </p>
            <button
              type="button"
              class="quiet"
              disabled={noLean !== null || offline}
              onClick={() => checks.again()}
              title="Look at the text again"
            >
              <Icon name="retry" />
              Check
            </button>
          </div>
          <LeanEditor
            initial={proving.text.peek()}
            messages={messages}
            isStale={isStale}
            onChange={(text) => proving.change(text)}
            onCursor={(index) => {
              proving.cursor.value = index;
            }}
            onReady={(handle) => {
              editor.current = handle;
            }}
          />
          <Messages messages={messages} isStale={isStale} onPick={(index) => editor.current?.goTo(index)} />
          <p class="tiny soft">
            <code>\and</code> becomes ∧, <code>\to</code> →, <code>\N</code> ℕ; Tab ends a name early.
          </p>
        </section>
        <Goals found={found} isStale={isStale} known={verdict !== null} />
      </div>
      <section class="card stack search-card" aria-label="Search">
        <SearchForm
          proving={proving}
          running={running}
          missing={missing}
          onSorry={() => replace(withSorry(proving.text.peek()), "A sorry is at the end.")}
        />
        {search !== null && (
          <SearchView
            search={search}
            written={proving.text.value}
            onInsert={(text) => replace(text, "The proof is in the editor.")}
            onClose={() => proving.close()}
          />
        )}
      </section>
    </div>
  );
}
