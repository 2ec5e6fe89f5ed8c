/** Rows of recipes against the prompts of the product, and samples against the world's own questions. */
import { describe, expect, it } from "vitest";
import { markedContent } from "../../src/chat/image-messages.ts";
import { vlPrompt } from "../../src/chat/vl-prompt.ts";
import { vl2Prompt } from "../../src/chat/vl2-prompt.ts";
import { worldSample } from "../../src/data/world/sample.ts";
import { worldTokenizer } from "../../src/data/world/vocabulary.ts";
import { loadTokenizer } from "../../src/tokenizer/index.ts";
import { pageView } from "./pages.ts";
import { BOS, conversationRow, EOS, IMAGE, promptRow, stackRows } from "./rows.ts";
import { askedSample, type SampleKind } from "./samples.ts";

const kinds: readonly SampleKind[] = ["questions", "text", "charts", "tables", "language"];

function tokenizerOf(image: "<image>" | "<image_placeholder>") {
  const { tokenizer, config } = worldTokenizer({ image });
  return loadTokenizer(tokenizer as never, config as never);
}

/** The product's pieces with one placeholder for each image. */
const flat = (pieces: ReturnType<typeof vl2Prompt>) =>
  pieces.flatMap((piece) => ("ids" in piece ? [...piece.ids] : [IMAGE]));

describe.each(["<image>", "<image_placeholder>"] as const)("with %s", (image) => {
  const tokenizer = tokenizerOf(image);
  const grounding = ["<|ref|>", "<|/ref|>", "<|det|>", "<|/det|>", "<|grounding|>"];
  const content = (text: string) => markedContent(text, image, grounding);
  const pieces = (messages: Parameters<typeof vlPrompt>[0]) =>
    image === "<image>"
      ? vl2Prompt(messages, tokenizer, { bos: BOS, eos: EOS })
      : vlPrompt(messages, tokenizer);

  it("prompts are those of the product", () => {
    for (const kind of kinds) {
      for (let i = 0; i < 40; i++) {
        const sample = worldSample(kind as "text", 3, i);
        const text = sample.image === null ? sample.question : `${image}${sample.question}`;
        const expected = flat(pieces([{ role: "user", content: content(text) }]));
        expect(promptRow(sample, sample.image === null ? 0 : 1)).toEqual(expected);
      }
    }
  });

  it("so are conversations of several turns", () => {
    const { turns } = askedSample("text", 1, 3)!;
    expect(turns.length).toBeGreaterThan(1);
    const messages = turns.flatMap(({ question, answer }, i) => [
      { role: "user" as const, content: content(i === 0 ? `${image}${question}` : question) },
      { role: "assistant" as const, content: answer },
    ]);
    expect([...conversationRow(turns, 1, "answers").ids]).toEqual(flat(pieces(messages)));
  });
});

it("learns answers with their ends, or questions too, never roles and pictures", () => {
  const turns = [{ question: "read the text .", answer: "AB" }];
  const decoded = (learned: "answers" | "text") => {
    const row = conversationRow(turns, 2, learned);
    return tokenizerOf("<image>").decode(
      row.ids.filter((_, i) => row.learned[i]),
      { skipSpecialTokens: false },
    );
  };
  expect(decoded("answers")).toBe("AB<\uFF5Cend\u2581of\u2581sentence\uFF5C>");
  expect(decoded("text")).toMatch(/^read the text \.\s*AB</);
});

it("pads rows on the right, with nothing to learn there", () => {
  const long = conversationRow([{ question: "read the text .", answer: "ABC" }], 0, "answers");
  const short = conversationRow([{ question: "read the text .", answer: "A" }], 0, "answers");
  const { length, ids, targets } = stackRows([long, short]);
  expect(length).toBe(long.ids.length - 1);
  expect([...ids.subarray(length)]).toEqual([...short.ids.slice(0, -1), 0, 0]);
  expect([...targets.subarray(2 * length - 2)]).toEqual([-1, -1]);
  const learned = [...targets].filter((id) => id >= 0);
  expect(learned.length).toBe(4 + 2);
  expect(learned.at(-1)).toBe(EOS);
});

describe("samples", () => {
  it.each(["text", "charts", "tables"] as const)(
    "of %s ask what the world asks, with its answers",
    (kind) => {
      let met = 0;
      for (let i = 0; i < 200; i++) {
        const { question, answer } = worldSample(kind, 1, i);
        const { turns } = askedSample(kind, 1, i)!;
        const own = turns.find((turn) => turn.question === question);
        if (own === undefined) continue;
        met++;
        expect(own.answer).toBe(answer);
      }
      expect(met).toBeGreaterThan(kind === "text" ? 199 : 50);
    },
  );

  it("of lines show the whole line and nothing else to read", () => {
    const samples = Array.from({ length: 60 }, (_, i) => askedSample("line", 1, i)).filter(
      (each) => each !== null,
    );
    expect(samples.length).toBeGreaterThan(5);
    for (const { image, turns } of samples) {
      expect([image!.width, image!.height]).toEqual([64, 64]);
      expect(turns).toMatchObject([{ question: "read the text ." }]);
      // The border of a clean view is background, unless the line touches it: ink is inside.
      const corner = image!.rgb[0];
      expect(image!.rgb.some((value) => value !== corner)).toBe(true);
    }
  });
});

it("views of pages know where their glyphs are", () => {
  for (let i = 0; i < 60; i++) {
    const { image, glyphs } = pageView(1, i, "text");
    expect(glyphs.length).toBeGreaterThan(0);
    const background = image.rgb[0];
    for (const { x, y } of glyphs) {
      // Ink within 8 pixels of each center: glyphs are at most 15 x 21.
      let ink = false;
      for (let dy = -8; dy <= 8; dy++) {
        for (let dx = -8; dx <= 8; dx++) {
          const [px, py] = [Math.floor(x) + dx, Math.floor(y) + dy];
          if (px < 0 || py < 0 || px > 63 || py > 63) continue;
          ink ||=
            image.rgb[3 * (py * 64 + px)] !== background || image.rgb[3 * (py * 64 + px) + 2] !== background;
        }
      }
      expect(ink).toBe(true);
    }
  }
});
