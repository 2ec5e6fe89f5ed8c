/** An answer with its inside, scripted: tokens, alternatives, drafts and experts that are the same each time. */
import type {
  InsideFigures,
  InsidePicture,
  InsideToken,
  JobEvent,
} from "../../../src/studio/backend/wire.ts";

export interface InsideScript {
  readonly text: string;
  readonly reasoning?: string;
  readonly layers?: number;
  readonly experts?: number;
  readonly topK?: number;
  readonly drafts?: boolean;
  readonly pictures?: readonly InsidePicture[];
}

/** As a tokenizer might cut it. */
export const pieces = (whole: string): readonly string[] =>
  whole.match(/ ?[\p{L}\d]{1,7}| ?[^\p{L}\d\s]|\n+| +/gu) ?? [];

const WORDS = [" the", " a", " light", " green", " so", ",", " and", " of"];

/** A number from 0 to 1 of two others. */
const mixed = (a: number, b: number) => {
  const wave = Math.sin(12.9898 * (a + 1) + 78.233 * (b + 1)) * 43758.5453;
  return wave - Math.floor(wave);
};

const idOf = (text: string) =>
  [...text].reduce((sum, letter) => (31 * sum + letter.charCodeAt(0)) % 99_991, 7);

/** The tokens that a script's answer has. */
export function scriptedTokens(
  texts: readonly string[],
  { layers = 6, experts = 16, topK = 4, drafts = true }: Omit<InsideScript, "text">,
): readonly InsideToken[] {
  return texts.map((text, at) => {
    const own = mixed(at, 3) < 0.55 ? 0.9 + 0.099 * mixed(at, 4) : 0.02 + 0.8 * mixed(at, 4);
    const chosen = { id: idOf(text), text, logprob: Math.log(own) };
    let rest = 1 - own;
    const others = WORDS.filter((word) => word !== text)
      .slice(at % 3, (at % 3) + 4)
      .map((word, i) => {
        const probability = rest * (i === 0 && own < 0.3 ? 0.7 : 0.45);
        rest -= probability;
        return { id: idOf(word), text: word, logprob: Math.log(probability) };
      });
    const alternatives = [chosen, ...others].sort((a, b) => b.logprob - a.logprob);
    const drafted = drafts && own > 0.9 && at % 2 === 1;
    const refused = drafts && own < 0.4 && at % 2 === 1 ? { id: others[0].id, text: others[0].text } : null;
    return {
      ...chosen,
      alternatives,
      from: drafted ? ("drafted" as const) : ("sampled" as const),
      refused,
      experts: Array.from({ length: layers }, (_, layer) => {
        const scores = Array.from(
          { length: experts },
          (_, e) => mixed(at + 17 * layer, e) + 0.8 * mixed(layer, e),
        );
        const ids = scores
          .map((_, e) => e)
          .sort((a, b) => scores[b] - scores[a])
          .slice(0, topK);
        const parts = ids.map((e) => Math.exp(2 * scores[e]));
        const sum = parts.reduce((a, b) => a + b, 0);
        return { ids, weights: parts.map((part) => Math.round((1e5 * part) / sum) / 1e5) };
      }),
    };
  });
}

/** @returns events of the job: with `inside` those that tell of it, else the text alone */
export function insideEvents(script: InsideScript, inside: boolean): JobEvent["event"][] {
  const { text, reasoning = "", pictures } = script;
  const [thought, said] = [pieces(reasoning), pieces(text)];
  const tokens = scriptedTokens([...thought, ...said], script);
  const chunk = (delta: object, reason: string | null = null): JobEvent["event"] => ({
    type: "chunk",
    chunk: { choices: [{ index: 0, delta, finish_reason: reason }] },
  });
  const accepted = tokens.filter(({ from }) => from === "drafted").length;
  const refused = tokens.filter((token) => token.refused !== null).length;
  const figures: InsideFigures = {
    ...{ firstTokenMs: 812, queueMs: 12, tokensPerSecond: 41.8, promptTokens: 57, cachedTokens: 17 },
    ...{ tokens: tokens.length + 1, cacheBytes: 4_700_160 },
    drafts: script.drafts === false ? null : { drafted: accepted + refused, accepted },
  };
  const usage = { prompt_tokens: 57, completion_tokens: tokens.length + 1 };
  return [
    chunk({ role: "assistant", content: null }),
    ...tokens.flatMap((token, i): JobEvent["event"][] => [
      chunk(i < thought.length ? { reasoning_content: token.text } : { content: token.text }),
      ...(inside
        ? [{ type: "inside" as const, tokens: [token], ...(i === 0 && pictures ? { pictures } : {}) }]
        : []),
    ]),
    chunk({}, "stop"),
    ...(inside ? [{ type: "inside" as const, tokens: [], figures }] : []),
    { type: "chunk", chunk: { choices: [], usage } },
  ];
}
