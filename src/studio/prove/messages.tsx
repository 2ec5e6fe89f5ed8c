/** What Lean says of the text, as a list; a click leads to the place. */
import { plural } from "../../text/units.ts";
import type { LeanMessage } from "./checks.ts";

const WORDS = { error: "error", warning: "warning", information: "note" } as const;
const GLYPHS = { error: "✗", warning: "!", information: "i" } as const;

/** In a few words: `2 errors, 1 warning`. */
export function countMessages(messages: readonly LeanMessage[]): string {
  const counts = (["error", "warning", "information"] as const).flatMap((severity) => {
    const count = messages.filter((each) => each.severity === severity).length;
    return count === 0 ? [] : [plural(count, WORDS[severity])];
  });
  return counts.join(", ");
}

interface MessagesProps {
  readonly messages: readonly LeanMessage[];
  readonly isStale: boolean;
  readonly onPick: (index: number) => void;
}

export function Messages({ messages, isStale, onPick }: MessagesProps) {
  if (messages.length === 0) return null;
  return (
    <ul class={`lean-messages ${isStale ? "stale" : ""}`} aria-label="What Lean says">
      {messages.map(({ severity, start, text }, i) => (
        <li key={`${i} ${start.index}`}>
          <button type="button" class={`lean-message ${severity}`} onClick={() => onPick(start.index)}>
            <span class="glyph" aria-hidden="true">
              {GLYPHS[severity]}
            </span>
            <span class="tiny soft">
              <span class="hidden-text">{WORDS[severity]}, </span>
              line {start.line}
            </span>
            <span class="says">{text}</span>
          </button>
        </li>
      ))}
    </ul>
  );
}
