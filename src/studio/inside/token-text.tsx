/**
 * The answer as its tokens, in blocks that end with a line: a block that is full is not drawn again while further tokens come, and one that
 * is not in view is not laid out.
 */
import { memo } from "preact/compat";
import { useRef } from "preact/hooks";
import { formatCount } from "../../text/units.ts";
import type { InsideRecord } from "./record.ts";
import { shadeOf, shownProbability, shownToken } from "./words.ts";

/** Tokens of a block whose text has no line break. */
const MOST_IN_BLOCK = 256;

/** Where blocks begin; grows with the record. */
export class TokenBlocks {
  readonly starts: number[] = [];
  #seen = 0;

  extend(record: Pick<InsideRecord, "count" | "textOf">): readonly number[] {
    for (; this.#seen < record.count; this.#seen++) {
      const last = this.starts.at(-1);
      const full = last !== undefined && this.#seen - last >= MOST_IN_BLOCK;
      if (last === undefined || full || record.textOf(this.#seen - 1).includes("\n"))
        this.starts.push(this.#seen);
    }
    return this.starts;
  }
}

const tokenId = (at: number) => `inside-token-${at}`;

interface BlockProps {
  readonly record: InsideRecord;
  readonly start: number;
  readonly end: number;
  /** The token that is picked, if it is one of these; else null. */
  readonly picked: number | null;
}

function Token({
  record,
  at,
  picked,
}: {
  readonly record: InsideRecord;
  readonly at: number;
  readonly picked: boolean;
}) {
  const { text, logprob, drafted, refused } = record.token(at);
  const words = [
    shownToken(text),
    shownProbability(logprob),
    ...(drafted ? ["drafted"] : []),
    ...(refused === null ? [] : [`in place of the draft ${shownToken(refused)}`]),
  ];
  // The break itself is the block's end.
  const shown = text.includes("\n") || text.trim() === "" ? shownToken(text) : text;
  return (
    <span
      id={tokenId(at)}
      data-token={at}
      role="option"
      aria-selected={picked}
      aria-label={words.join(", ")}
      class={`token shade-${shadeOf(logprob)} ${drafted ? "drafted" : ""}`}
    >
      {refused === null ? (
        shown
      ) : (
        <ruby>
          {shown}
          <rt>
            <s>{shownToken(refused)}</s>
          </rt>
        </ruby>
      )}
    </span>
  );
}

const Block = memo(({ record, start, end, picked }: BlockProps) => (
  <div
    class="token-block"
    role="group"
    aria-label={`Tokens ${formatCount(start + 1)} to ${formatCount(end)}`}
  >
    {Array.from({ length: end - start }, (_, i) => (
      <Token key={start + i} record={record} at={start + i} picked={picked === start + i} />
    ))}
  </div>
));

/** The token on the next line up or down, nearest across. */
function onNextLine(at: number, step: number): number | null {
  const place = (token: number) => document.getElementById(tokenId(token))?.getBoundingClientRect();
  const from = place(at);
  if (!from) return null;
  let best: number | null = null;
  let line: number | null = null;
  for (let token = at + step; ; token += step) {
    const box = place(token);
    if (!box) return best;
    if (Math.abs(box.bottom - from.bottom) < 6) continue;
    line ??= box.bottom;
    if (Math.abs(box.bottom - line) >= 6) return best;
    if (best === null || Math.abs(box.left - from.left) < Math.abs(place(best)!.left - from.left))
      best = token;
  }
}

interface TokenTextProps {
  readonly record: InsideRecord;
  readonly picked: number | null;
  readonly onPick: (at: number) => void;
  readonly onHover: (at: number | null) => void;
  /** Enter: on to the alternatives. */
  readonly onEnter: () => void;
}

export function TokenText({ record, picked, onPick, onHover, onEnter }: TokenTextProps) {
  const blocks = useRef<{ of: InsideRecord; list: TokenBlocks } | null>(null);
  if (blocks.current?.of !== record) blocks.current = { of: record, list: new TokenBlocks() };
  const starts = blocks.current.list.extend(record);
  const { count } = record;
  const tokenOf = (event: Event): number | null => {
    const found = (event.target as Element).closest("[data-token]")?.getAttribute("data-token");
    return found == null ? null : Number(found);
  };
  const go = (at: number | null) => {
    if (at === null) return;
    const next = Math.min(count - 1, Math.max(0, at));
    onPick(next);
    document.getElementById(tokenId(next))?.scrollIntoView({ block: "nearest" });
  };
  return (
    <div
      class="token-text"
      role="listbox"
      tabIndex={0}
      aria-label="Tokens of the answer"
      aria-activedescendant={picked === null ? undefined : tokenId(picked)}
      dir="auto"
      onPointerOver={(event) => onHover(tokenOf(event))}
      onPointerLeave={() => onHover(null)}
      onClick={(event) => {
        const at = tokenOf(event);
        if (at !== null) onPick(at);
      }}
      onKeyDown={(event) => {
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        const at = picked ?? -1;
        const acts: Record<string, () => void> = {
          ArrowRight: () => go(at + 1),
          ArrowLeft: () => go(at - 1),
          ArrowDown: () => go(picked === null ? 0 : onNextLine(at, 1)),
          ArrowUp: () => go(picked === null ? 0 : onNextLine(at, -1)),
          Home: () => go(0),
          End: () => go(count - 1),
          Enter: onEnter,
        };
        const act = acts[event.key];
        if (!act) return;
        event.preventDefault();
        act();
      }}
    >
      {starts.map((start, i) => {
        const end = starts[i + 1] ?? count;
        const own = picked !== null && picked >= start && picked < end ? picked : null;
        return <Block key={start} record={record} start={start} end={end} picked={own} />;
      })}
    </div>
  );
}
