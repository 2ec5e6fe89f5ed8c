/** Rows of recipes against the prompts of the product, and samples against the world's own questions. */
import { describe, expect, it } from "vitest";
import { markedContent } from "../../src/chat/image-messages.ts";
import { drawingPrompt, vlPrompt } from "../../src/chat/vl-prompt.ts";
import { vl2Prompt } from "../../src/chat/vl2-prompt.ts";
import { glyphOf } from "../../src/data/world/font.ts";
import { COLORS, SHAPES, SIZES } from "../../src/data/world/names.ts";
import { worldSample } from "../../src/data/world/sample.ts";
import { worldTokenizer } from "../../src/data/world/vocabulary.ts";
import { loadTokenizer } from "../../src/tokenizer/index.ts";
import { joinedWords, NamingBatches, OBJECT_WORDS } from "./naming.ts";
import { pageView } from "./pages.ts";
import {
  BOS,
  conversationRow,
  drawingRow,
  EOS,
  FLOW_AROUND,
  IMAGE,
  JANUS_AROUND,
  promptRow,
  stackRows,
} from "./rows.ts";
import { askedSample, type SampleKind, shortSample } from "./samples.ts";
import { NAMES, TowerBatches } from "./tower-data.ts";

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
    const { turns } = askedSample("text", 1, 3);
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
        const { turns } = askedSample(kind, 1, i);
        const own = turns.find((turn) => turn.question === question);
        if (own === undefined) continue;
        met++;
        expect(own.answer).toBe(answer);
      }
      expect(met).toBeGreaterThan(kind === "text" ? 199 : 50);
    },
  );
});

it.each(["filled", "all"] as const)("views (%s) know where their glyphs are", (kind) => {
  for (let i = 0; i < 60; i++) {
    const { image, glyphs } = pageView(1, i, kind);
    expect([image.width, image.height]).toEqual([64, 64]);
    if (kind === "filled") expect(glyphs.length).toBeGreaterThan(8);
    // Within 8 pixels of a center there are ink and paper: glyphs have at most 15 x 21.
    for (const { x, y } of glyphs) {
      const around = new Set<number>();
      for (let at = 0; at < 17 * 17; at++) {
        const [px, py] = [Math.floor(x) + (at % 17) - 8, Math.floor(y) + Math.floor(at / 17) - 8];
        if (px >= 0 && py >= 0 && px < 64 && py < 64) around.add(image.rgb[3 * (py * 64 + px)]);
      }
      expect(around.size).toBeGreaterThan(1);
    }
  }
});

it("an object is named where it lies, by color, shape and size", async () => {
  const { names } = await new TowerBatches({ seed: 1, views: "filled", scenes: 1 }).next(2);
  const { objects } = worldSample("questions", 1, 1);
  const expected = objects!.flatMap(({ x, y, color, shape, size }) => {
    const token = 64 + Math.floor(y / 8) * 8 + Math.floor(x / 8);
    const [first, second, third] = [COLORS.indexOf(color), SHAPES.indexOf(shape), SIZES.indexOf(size)];
    return [first, 8 + second, 14 + third].map((name) => token * NAMES + 72 + name);
  });
  const found = [...names.keys()].filter((at) => names[at] && at >= 64 * NAMES);
  expect(found).toEqual(expected.sort((a, b) => a - b));
});

describe("rows of models that draw", () => {
  const tokenizer = tokenizerOf("<image_placeholder>");

  it("are the product's prompts to draw, but for what JanusFlow replaces by the time", () => {
    for (const caption of ["a ring", "an orange ring", "a small red ring above a large blue cross"]) {
      expect(drawingRow(caption)).toEqual(drawingPrompt(caption, tokenizer, "janus"));
      expect(drawingRow(caption).slice(0, -1)).toEqual(
        drawingPrompt(caption, tokenizer, "janusflow").slice(0, -1),
      );
    }
  });

  it("have Janus' tokens around a picture", () => {
    const sample = worldSample("questions", 1, 0);
    const text = `<image_placeholder>${sample.question}`;
    const grounding = ["<|ref|>", "<|/ref|>", "<|det|>", "<|/det|>", "<|grounding|>"];
    const content = markedContent(text, "<image_placeholder>", grounding);
    for (const [family, around] of [
      ["janus", JANUS_AROUND],
      ["janusflow", FLOW_AROUND],
    ] as const) {
      const pieces = flat(vlPrompt([{ role: "user", content }], tokenizer, undefined, family));
      expect(promptRow(sample, 1, around)).toEqual(pieces);
      expect(conversationRow([sample], 1, "answers", around).ids.slice(0, pieces.length)).toEqual(pieces);
    }
    // Without a picture there is nothing to put them around.
    expect(promptRow(sample, 0, JANUS_AROUND)).toEqual(promptRow(sample, 0));
  });
});
describe("views of lines", () => {
  it("begin with single glyphs, drawn as the font has them", () => {
    for (let i = 0; i < 40; i++) {
      const { image, turns } = askedSample("lines", 1, i, { lines: 1, glyphs: 1 });
      expect(turns).toHaveLength(1);
      const [{ question, answer }] = turns;
      expect([question, answer.length]).toEqual(["read the text .", 1]);
      // The glyph's pixels, scaled down, are those of the answer.
      const { rgb } = image!;
      const ink: [number, number][] = [];
      const paper = [rgb[0], rgb[3 * 63], rgb[3 * 64 * 63]].sort()[1];
      for (let at = 0; at < 64 * 64; at++) {
        if (rgb[3 * at] !== paper || rgb[3 * at + 1] !== paper) ink.push([at % 64, Math.floor(at / 64)]);
      }
      const pattern = (points: readonly (readonly [number, number])[]) => {
        const [left, top] = [0, 1].map((axis) => Math.min(...points.map((point) => point[axis])));
        return points.map(([x, y]) => [x - left, y - top]);
      };
      const scale = Math.sqrt(ink.length / glyphOf(answer).length);
      expect(Number.isInteger(scale)).toBe(true);
      const small = pattern(ink).filter(([x, y]) => x % scale === 0 && y % scale === 0);
      const wanted = pattern(glyphOf(answer)).map(([x, y]) => `${x} ${y}`);
      expect(new Set(small.map(([x, y]) => `${x / scale} ${y / scale}`))).toEqual(new Set(wanted));
    }
  });

  it("grow to three lines of six, each asked by its number", () => {
    const samples = Array.from({ length: 60 }, (_, i) => askedSample("lines", 1, i, { faint: 5 }));
    expect(new Set(samples.map(({ turns }) => turns.length))).toEqual(new Set([1, 2, 3]));
    expect(Math.max(...samples.flatMap(({ turns }) => turns.map(({ answer }) => answer.length)))).toBe(6);
    for (const { turns } of samples) {
      if (turns.length === 1) continue;
      const asked = turns.map(({ question }) => question).sort();
      expect(asked).toEqual(turns.map((_, i) => `read line ${i + 1} .`));
    }
  });
});

describe("short pages", () => {
  it("are pages with one string of one or two glyphs, everywhere and in all sizes", () => {
    const samples = Array.from({ length: 80 }, (_, i) => shortSample(1, i, false));
    expect(new Set(samples.map(({ answer }) => answer.length))).toEqual(new Set([1, 2]));
    expect(new Set(samples.map(({ glyphScale }) => glyphScale))).toEqual(new Set([1, 2, 3]));
    const thirds = new Set<number>();
    for (const { image, answer, glyphScale } of samples) {
      const { width, height, rgb } = image!;
      expect([width, height]).toEqual([192, 192]);
      const counts = new Map<number, number>();
      for (let at = 0; at < rgb.length; at += 3) counts.set(rgb[at], (counts.get(rgb[at]) ?? 0) + 1);
      const [paper] = [...counts].sort((a, b) => b[1] - a[1])[0];
      const ink = Array.from({ length: width * height }, (_, at) => at).filter((at) => rgb[3 * at] !== paper);
      expect(ink.length).toBe(
        glyphScale! ** 2 * [...answer].reduce((sum, glyph) => sum + glyphOf(glyph).length, 0),
      );
      thirds.add(3 * Math.floor(ink[0] / width / 64) + Math.floor((ink[0] % width) / 64));
    }
    expect(thirds.size).toBe(9);
  });

  it("are asked as they are learned", () => {
    const { image, turns } = askedSample("short", 1, 7, { faint: 10 });
    const { question, answer, ...asked } = shortSample(1, 7, true);
    expect(turns).toEqual([{ question, answer }]);
    expect(asked.image).toEqual(image);
  });
});

it("tokens are like the words of what lies in their patches", async () => {
  const data = { seed: 1, views: "filled", scenes: 0.5 } as const;
  const { words } = await new NamingBatches(data).next(2);
  const { objects } = worldSample("questions", 1, 0);
  const { glyphs } = pageView(1, 0, "filled");
  const count = 36 + OBJECT_WORDS.length;
  for (const side of [8, 4]) {
    const size = 64 / side;
    const expected = new Set<number>();
    const token = (view: number, x: number, y: number) =>
      (view * side * side + Math.floor(y / size) * side + Math.floor(x / size)) * count;
    for (const { x, y, color, shape, size: extent } of objects!) {
      for (const word of [color, shape, extent])
        expected.add(token(0, x, y) + 36 + OBJECT_WORDS.indexOf(word));
    }
    for (const { x, y, glyph } of glyphs) expected.add(token(1, x, y) + glyph);
    const labels = joinedWords(words, 2, side);
    expect(new Set([...labels.keys()].filter((at) => labels[at]))).toEqual(expected);
  }
});
