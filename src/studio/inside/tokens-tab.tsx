/** The answer as tokens, shaded by probability; what else was possible at each, and going on from there. */
import { useRef, useState } from "preact/hooks";
import { formatCount } from "../../text/units.ts";
import { useChat } from "../chat/chat.ts";
import type { Turn } from "../chat/conversation.ts";
import { useStudio } from "../state/studio.ts";
import { NumbersTable } from "./numbers-table.tsx";
import { isWhole } from "./placement.ts";
import type { Alternative, InsideRecord } from "./record.ts";
import { TokenText } from "./token-text.tsx";
import { SHADES, shownProbability, shownToken } from "./words.ts";

const CONTROL = /^<[|｜].*[|｜]>$|^<\/?think>$/s;

type Onward = { readonly does: "goes" | "ends" } | { readonly does: "nothing"; readonly why: string };

/** What an alternative can be used for. */
export function onwardOf({ text }: Alternative, placed: boolean, endText: string | null): Onward {
  if (!placed)
    return { does: "nothing", why: "The token spells no text of the answer, or only a part of a character." };
  if (text !== "" && text === endText) return { does: "ends" };
  if (CONTROL.test(text)) return { does: "nothing", why: "A control token, which is no text." };
  if (!isWhole(text)) return { does: "nothing", why: "A part of a character." };
  return { does: "goes" };
}

function Legend({ drafts }: { readonly drafts: boolean }) {
  return (
    <p class="token-legend tiny">
      <span class="soft">Probability</span>
      {SHADES.map((least, i) => (
        <span key={least} class={`token shade-${i}`}>
          {i === SHADES.length - 1 ? `under ${100 * SHADES[i - 1]}%` : `from ${100 * least}%`}
        </span>
      ))}
      {drafts && (
        <>
          <span class="token drafted">drafted, accepted</span>
          <s>draft, refused</s>
        </>
      )}
    </p>
  );
}

interface TokensTabProps {
  readonly record: InsideRecord;
  readonly turn: Turn;
  readonly picked: number | null;
  readonly onPick: (at: number) => void;
}

export function TokensTab({ record, turn, picked, onPick }: TokensTabProps) {
  const chat = useChat();
  const studio = useStudio();
  const [hovered, setHovered] = useState<number | null>(null);
  const table = useRef<HTMLTableElement>(null);
  const at = hovered ?? picked ?? 0;
  const token = record.token(at);
  const model = turn.model ?? studio.current?.model ?? "";
  const end = studio.entry(model)?.info?.tokenizer.eos_token;
  const go = (alternative: Alternative, does: "goes" | "ends") => {
    const text = record.onward(at, does === "goes" ? alternative.text : "");
    if (text === null) return;
    const [reasoning, content] = turn.job?.begun ?? [0, 0];
    const begun = {
      reasoning: turn.reasoning.slice(0, reasoning) + text.reasoning,
      content: turn.content.slice(0, content) + text.content,
    };
    if (does === "goes") chat.goOnFrom(turn, begun, model);
    else chat.edit({ ...turn, reasoning: begun.reasoning }, begun.content, model);
  };
  return (
    <div class="inside-tab tokens-tab">
      <Legend drafts={record.drafts} />
      <TokenText
        record={record}
        picked={picked}
        onPick={onPick}
        onHover={setHovered}
        onEnter={() => table.current?.querySelector("button")?.focus()}
      />
      <section class="token-detail" aria-label="Alternatives">
        <p class="small">
          <strong class="mono">{shownToken(token.text)}</strong>{" "}
          <span class="soft">token {formatCount(at + 1)},</span> {shownProbability(token.logprob)}
          {token.drafted && <span class="soft">, drafted</span>}
          {token.refused !== null && (
            <span class="soft">
              , in place of the draft <s>{shownToken(token.refused)}</s>
            </span>
          )}
        </p>
        <table ref={table} class="inside-table alternatives">
          <thead>
            <tr>
              <th scope="col">Possible here</th>
              <th scope="col">Probability</th>
              <th scope="col">Logarithm</th>
              <th scope="col">From here</th>
            </tr>
          </thead>
          <tbody>
            {token.alternatives.map((alternative) => {
              const onward = onwardOf(alternative, record.isPlaced(at), typeof end === "string" ? end : null);
              const name = shownToken(alternative.text);
              const chosen = alternative.id === token.id;
              return (
                <tr key={alternative.id} class={chosen ? "chosen" : ""}>
                  <th scope="row" class="mono">
                    {name}
                    {chosen && <span class="soft"> (taken)</span>}
                  </th>
                  <td>{shownProbability(alternative.logprob)}</td>
                  <td>{alternative.logprob.toFixed(3)}</td>
                  <td>
                    {onward.does === "nothing" ? (
                      <span class="soft" title={onward.why}>
                        –<span class="hidden-text">{onward.why}</span>
                      </span>
                    ) : (
                      <button
                        type="button"
                        class="outlined"
                        aria-label={
                          onward.does === "goes" ? `Go on from here with ${name}` : "End the answer here"
                        }
                        onClick={() => go(alternative, onward.does)}
                      >
                        {onward.does === "goes" ? "Go on" : "End here"}
                      </button>
                    )}
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </section>
      <NumbersTable
        name="All tokens"
        head={["Number", "Token", "Probability", "Made", "Refused draft"]}
        rows={record.count}
        row={(i) => {
          const { text, logprob, drafted, refused } = record.token(i);
          return [
            formatCount(i + 1),
            <span key="token" class="mono">
              {shownToken(text)}
            </span>,
            shownProbability(logprob),
            drafted ? "drafted" : "by the model",
            refused === null ? "" : shownToken(refused),
          ];
        }}
      />
    </div>
  );
}
