/** What training learns of a conversation: answers and end tokens, of either family. */
import { describe, expect, it } from "vitest";
import { worldTokenizer } from "../data/world/vocabulary.ts";
import { loadTokenizer, type Tokenizer } from "../tokenizer/tokenizer.ts";
import { trainBpe, trainedTokenizerConfig } from "../tokenizer/train-bpe.ts";
import type { ImageMessage } from "./image-messages.ts";
import { lessonPieces } from "./lesson.ts";
import { vlPrompt } from "./vl-prompt.ts";
import { vl2Prompt } from "./vl2-prompt.ts";

const image = { type: "image" } as const;
const text = (value: string) => ({ type: "text", text: value }) as const;
const asked = (question: string, answer: string): ImageMessage[] => [
  { role: "user", content: [image, text(question)] },
  { role: "assistant", content: answer },
];

/** Texts of the learned ids, run by run. */
function learnedOf(pieces: ReturnType<typeof lessonPieces>, tokenizer: Tokenizer): string[] {
  return pieces.flatMap((piece) =>
    "ids" in piece && piece.learned ? [piece.ids.map((id) => tokenizer.tokenOf(id) ?? "").join(" ")] : [],
  );
}

const world = (token: "<image>" | "<image_placeholder>") => {
  const { tokenizer, config } = worldTokenizer({ image: token });
  return loadTokenizer(tokenizer, config);
};
const EOS = "<\uFF5Cend\u2581of\u2581sentence\uFF5C>";

describe("DeepSeek-VL", () => {
  it("learns answers and their ends, over several turns", () => {
    const tokenizer = world("<image_placeholder>");
    const messages = [
      ...asked("what color is the ring ?", "red"),
      { role: "user", content: "is the red ring above the blue cross ?" } as const,
      { role: "assistant", content: "no" } as const,
    ];
    const pieces = lessonPieces("vl", messages, tokenizer);
    expect(learnedOf(pieces, tokenizer)).toEqual([`red ${EOS}`, `no ${EOS}`]);
    const ids = (all: typeof pieces) => all.flatMap((piece) => ("ids" in piece ? piece.ids : [-1]));
    expect(ids(pieces)).toEqual(ids(vlPrompt(messages, tokenizer, false)));
  });

  it("learns a token that begins before the answer, and none of the question", async () => {
    // Every text has "Assistant: yes", so that the blank and the answer become one token.
    const texts = Array.from({ length: 50 }, () => "User: is it ?\n\nAssistant: yes\n");
    const json = await trainBpe(texts, { vocabSize: 300 });
    const tokenizer = loadTokenizer(json, trainedTokenizerConfig(512));
    const [, , ...rest] = lessonPieces("vl", asked("is it ?", "yes"), tokenizer);
    const learned = rest.flatMap((piece) => ("ids" in piece && piece.learned ? piece.ids : []));
    expect(tokenizer.decode(learned.slice(0, -1))).toBe(" yes");
    expect(learned.at(-1)).toBe(tokenizer.specialIds.eos);
  });
});

describe("DeepSeek-VL2", () => {
  it("learns answers with their tags as tokens, and their ends", () => {
    const tokenizer = world("<image>");
    const answer = "<|ref|>the ring<|/ref|><|det|>[[1, 2, 3, 4]]<|/det|>";
    const messages = asked("<|ref|>the ring<|/ref|>", answer);
    const pieces = lessonPieces("vl2", messages, tokenizer);
    // The token that texts begin with counts as learned, and is never a target.
    expect(learnedOf(pieces, tokenizer)).toEqual([
      "<\uFF5Cbegin\u2581of\u2581sentence\uFF5C>",
      `<|ref|> the ring <|/ref|> <|det|> [ [ 1 , 2 , 3 , 4 ] ] <|/det|> ${EOS}`,
    ]);
    const { bos, eos } = tokenizer.specialIds;
    const plain = vl2Prompt(asked("the ring", "red"), tokenizer, { bos: bos!, eos: eos! });
    expect(pieces.map((piece) => "image" in piece)).toEqual(plain.map((piece) => "image" in piece));
  });
});
