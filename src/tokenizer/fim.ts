/**
 * Fill-in-the-middle prompts in prefix-suffix-middle order (DeepSeek-Coder, section 3.1.2):
 * `<｜fim▁begin｜>` prefix `<｜fim▁hole｜>` suffix `<｜fim▁end｜>`, after which the model writes the middle until EOS.
 * Left out: the order suffix-prefix-middle, which the family does not use.
 */
import { ConfigError } from "../tensor/errors.ts";
import { TOKEN } from "./families.ts";
import { finish, type Slices } from "./slices.ts";
import type { Tokenizer } from "./tokenizer.ts";

export interface FimOptions {
  /** Whether BOS comes first; default: what the tokenizer itself would add before a text. */
  bos?: boolean;
}

function sentinel(id: number | undefined, name: string): number {
  if (id !== undefined) return id;
  throw new ConfigError("the vocabulary lacks a fill-in-the-middle token", {
    where: "fimPrompt",
    name,
    hint: "Use a DeepSeek-Coder, Coder-V2 or V3 tokenizer, or train one with these special tokens",
  });
}

/**
 * Ids that ask for the text between `prefix` and `suffix`; control tokens spelled out in either stay plain text.
 * @throws ConfigError if the tokenizer lacks a sentinel (or BOS, if asked for).
 */
export function fimPrompt(
  tokenizer: Tokenizer,
  prefix: string,
  suffix: string,
  options: FimOptions = {},
): number[] {
  return finish(fimPromptSlices(tokenizer, prefix, suffix, options));
}

/** The same with pauses, so that the caller can do other work in between. @throws ConfigError */
export function* fimPromptSlices(
  tokenizer: Tokenizer,
  prefix: string,
  suffix: string,
  options: FimOptions = {},
): Slices<number[]> {
  const { bos, fimBegin, fimHole, fimEnd } = tokenizer.specialIds;
  const plain = { addSpecialTokens: false, parseSpecial: false };
  let opening = tokenizer.prefixIds;
  if (options.bos !== undefined) opening = options.bos ? [sentinel(bos, "bos_token")] : [];
  return [
    ...opening,
    sentinel(fimBegin, TOKEN.fimBegin),
    ...(yield* tokenizer.encodeSlices(prefix, plain)),
    sentinel(fimHole, TOKEN.fimHole),
    ...(yield* tokenizer.encodeSlices(suffix, plain)),
    sentinel(fimEnd, TOKEN.fimEnd),
  ];
}

/** The ids that stand around the texts and at the hole, as far as the tokenizer has them; none is ever printed. */
export function fimSentinels({ specialIds: { fimBegin, fimHole, fimEnd } }: Tokenizer): number[] {
  return [fimBegin, fimHole, fimEnd].filter((id) => id !== undefined);
}
