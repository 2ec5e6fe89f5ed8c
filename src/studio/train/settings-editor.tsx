/** Settings as JSON, with numbers of lines, and what is wrong at its line. */
import { useEffect, useId, useRef } from "preact/hooks";
import type { PlainObject } from "../backend/wire.ts";
import type { JsonFault } from "./json-lines.ts";

interface EditorProps {
  readonly text: string;
  readonly onText: (text: string) => void;
  readonly fault: JsonFault | null;
  /** Takes the settings of the form again; null while they are those. */
  readonly onReset: (() => void) | null;
  /** All settings that what is not named here has; null where everything is. */
  readonly whole: PlainObject | null;
}

/** Lines that are shown at once. */
const LEAST_LINES = 8;
const MOST_LINES = 28;

export function SettingsEditor({ text, onText, fault, onReset, whole }: EditorProps) {
  const id = useId();
  const area = useRef<HTMLTextAreaElement>(null);
  const numbers = useRef<HTMLPreElement>(null);
  const lines = text.split("\n");
  const follow = () => {
    if (numbers.current && area.current) numbers.current.scrollTop = area.current.scrollTop;
  };
  useEffect(follow);
  const goToLine = (line: number) => {
    const before = lines.slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
    area.current?.focus();
    area.current?.setSelectionRange(before, before + (lines[line - 1]?.length ?? 0));
    area.current?.scrollTo({ top: Math.max(0, (line - 4) * 18) });
  };
  return (
    <div class="stack settings-editor">
      <p class="small soft" id={`${id}-about`}>
        What a file for `train --config` would hold; docs/training.md has all of them. What is not named is as
        in the preset.
      </p>
      <div class="numbered">
        <pre ref={numbers} aria-hidden="true">
          {lines.map((_, i) => (
            <span key={i} class={fault?.line === i + 1 ? "bad-line" : ""}>
              {i + 1}
              {"\n"}
            </span>
          ))}
        </pre>
        <textarea
          ref={area}
          class="field"
          aria-label="Settings as JSON"
          aria-describedby={fault === null ? `${id}-about` : `${id}-fault`}
          aria-invalid={fault !== null}
          spellcheck={false}
          wrap="off"
          rows={Math.min(MOST_LINES, Math.max(LEAST_LINES, lines.length + 1))}
          value={text}
          onScroll={follow}
          onInput={(event) => onText(event.currentTarget.value)}
        />
      </div>
      {fault !== null && (
        <div class="fault" id={`${id}-fault`} role="alert">
          <span>
            {fault.line !== null && <strong>Line {fault.line}: </strong>}
            {fault.message}
          </span>
          {fault.line !== null && (
            <span>
              <button type="button" class="outlined" onClick={() => goToLine(fault.line!)}>
                Go to line {fault.line}
              </button>
            </span>
          )}
        </div>
      )}
      {onReset !== null && (
        <div class="row">
          <button type="button" class="outlined" onClick={onReset}>
            Take the settings of the form again
          </button>
        </div>
      )}
      {whole !== null && (
        <details>
          <summary class="small">All settings of the preset</summary>
          <pre class="raw-report" tabIndex={0} role="group" aria-label="All settings of the preset">
            {JSON.stringify(whole, null, 2)}
          </pre>
        </details>
      )}
    </div>
  );
}
