/** A formula as MathML, by a library that is loaded with the first one; as it was written until then, and where it fails. */
import { signal } from "@preact/signals";
import { memo } from "preact/compat";
import { useEffect, useRef } from "preact/hooks";

type Render = (text: string, element: HTMLElement, options: object) => void;

const renderer = signal<Render | null>(null);
let asked = false;

function load(): void {
  if (asked) return;
  asked = true;
  import("temml")
    .then(({ default: temml }) => {
      renderer.value = temml.render as Render;
    })
    .catch(() => {
      asked = false;
    });
}

/** Formulas may expand macros, not without end; they may name no address and no class. */
const LIMITS = { throwOnError: true, trust: false, maxExpand: 200, maxSize: [20, 500], strict: false };

export const Formula = memo(({ text, display }: { readonly text: string; readonly display: boolean }) => {
  const place = useRef<HTMLSpanElement>(null);
  const render = renderer.value;
  useEffect(() => {
    if (render === null) {
      load();
      return;
    }
    const element = place.current!;
    try {
      render(text, element, { ...LIMITS, displayMode: display });
    } catch {
      element.textContent = text;
      element.classList.add("as-written");
    }
  }, [text, display, render]);
  // What is inside belongs to the renderer once it is there.
  return (
    <span
      key={render === null ? "text" : "formula"}
      ref={place}
      class={display ? "formula display" : "formula"}
      // Wide formulas scroll by themselves; the keyboard reaches them.
      {...(display ? { tabIndex: 0, role: "group", "aria-label": "Formula" } : {})}
    >
      {render === null ? text : null}
    </span>
  );
});
