import { describe, expect, it } from "vitest";
import { ConfigError } from "../../tensor/errors.ts";
import { CATEGORIES, parseCaption } from "./captions.ts";
import { worldConversation } from "./conversation.ts";
import { glyphOf } from "./font.ts";
import { worldIndex } from "./generator.ts";
import { describeObjects } from "./questions.ts";
import { type WorldSample, worldSample } from "./sample.ts";

/** The share of each task, in percent, over the first samples of a stream. */
function shares(stream: WorldSample["stream"], count: number): Record<string, number> {
  const counts: Record<string, number> = {};
  for (let i = 0; i < count; i++) {
    const { task } = worldSample(stream, 1, i);
    counts[task] = (counts[task] ?? 0) + 1;
  }
  return Object.fromEntries(
    Object.entries(counts).map(([task, n]) => [task, Math.round((1000 * n) / count) / 10]),
  );
}

/** Heights of the lines on a page: runs of rows that hold anything but the background. */
function lineHeights({ image }: WorldSample): number[] {
  const { width, height, rgb } = image!;
  const heights: number[] = [];
  let run = 0;
  for (let y = 0; y <= height; y++) {
    const row = rgb.subarray(3 * width * y, 3 * width * (y + 1));
    if (row.some((value) => value !== rgb[0])) run++;
    else if (run > 0) {
      heights.push(run);
      run = 0;
    }
  }
  return heights;
}

describe("the statistics of a stream", () => {
  it("are those of the definition for questions: what a scene does not allow becomes counting", () => {
    expect(shares("questions", 3000)).toEqual({
      count: 24.7,
      find: 17.1,
      describe: 17,
      exists: 16.2,
      color: 15.5,
      relation: 9.5,
    });
  });

  it("spread evenly over captions and over texts without pictures", () => {
    const captions = shares("captions", 1400);
    expect(Object.keys(captions).sort()).toEqual([...CATEGORIES].sort());
    for (const share of Object.values(captions)) expect(Math.abs(share - 100 / 7)).toBeLessThan(3);
    const language = shares("language", 900);
    expect(Object.keys(language).sort()).toEqual(["add", "order", "reverse"]);
    for (const share of Object.values(language)) expect(Math.abs(share - 100 / 3)).toBeLessThan(5);
  });

  it("give yes and no alike", () => {
    let [yes, asked] = [0, 0];
    for (let i = 0; i < 2000; i++) {
      const { task, answer } = worldSample("questions", 2, i);
      if (task !== "exists" && task !== "relation") continue;
      asked++;
      if (answer === "yes") yes++;
    }
    expect(Math.abs(yes / asked - 0.5)).toBeLessThan(0.06);
  });
});

describe("a page", () => {
  it("tells how large the glyphs of its answer are", () => {
    const seen = new Set<number>();
    for (let i = 0; i < 40; i++) {
      const sample = worldSample("text", 4, i);
      const line = Number(/line (\d)/.exec(sample.question)?.[1] ?? 1);
      expect(lineHeights(sample)[line - 1]).toBe(7 * sample.glyphScale!);
      seen.add(sample.glyphScale!);
    }
    expect([...seen].sort()).toEqual([1, 2, 3]);
    expect(worldSample("charts", 1, 0).glyphScale).toBe(1);
    expect(worldSample("tables", 1, 0).glyphScale).toBe(1);
  });

  it("asks the same whether it is faint or not, of other pixels", () => {
    const [clean, faint] = [false, true].map((flag) => worldSample("text", 1, 5, { faint: flag }));
    expect([faint.question, faint.answer]).toEqual([clean.question, clean.answer]);
    expect(faint.image).not.toEqual(clean.image);
  });
});

describe("an object's description", () => {
  it("leaves boxes and tags out on request", () => {
    const { objects } = worldSample("questions", 1, 0);
    expect(describeObjects(objects!)).toBe("a small red triangle , a small purple ring .");
    expect(describeObjects(objects!, 64)).toBe(worldSample("questions", 1, 0).answer);
  });
});

describe("parseCaption", () => {
  it("finds the category of every caption, and what the scene shows of it", () => {
    for (let i = 0; i < 300; i++) {
      const { task, question, objects } = worldSample("captions", 3, i);
      const content = parseCaption(question);
      expect(content.category).toBe(task);
      // What a caption names is drawn in its order.
      expect(objects).toHaveLength(content.things.length);
      content.things.forEach((thing, k) => {
        expect(objects![k]).toMatchObject(thing);
      });
    }
  });

  it.each([
    "a orange ring",
    "an red ring",
    "a small ring",
    "ring",
    "two ring",
    "five rings",
    "a ring and a red ring",
    "a small ring above a cross",
    "a ring and a cross and a circle",
    "a ring  and a cross",
    "",
  ])("refuses %j", (caption) => {
    expect(() => parseCaption(caption)).toThrow(ConfigError);
    expect(() => parseCaption(caption)).toThrow(/not a caption/);
  });
});

describe("worldConversation", () => {
  it("puts a picture before its question", () => {
    const sample = worldSample("text", 1, 0);
    expect(worldConversation(sample).messages).toEqual([
      {
        role: "user",
        content: [
          { type: "image", image: sample.image },
          { type: "text", text: "read line 1 ." },
        ],
      },
      { role: "assistant", content: "WWSPR" },
    ]);
  });

  it("lets the assistant draw a caption, and gives text alone without a picture", () => {
    const drawn = worldSample("captions", 1, 2);
    expect(worldConversation(drawn).messages).toEqual([
      { role: "user", content: "a triangle" },
      { role: "assistant", content: [{ type: "image", image: drawn.image }] },
    ]);
    expect(worldConversation(worldSample("language", 1, 0)).messages).toEqual([
      { role: "user", content: "95 + 41 =" },
      { role: "assistant", content: "136" },
    ]);
  });
});

describe("the world refuses", () => {
  it.each<[string, () => unknown]>([
    ["found: 96", () => worldSample("questions", 1, 0, { size: 96 })],
    ["found: 2048", () => worldSample("captions", 1, 0, { size: 2048 })],
    ["found: 127", () => worldSample("text", 1, 0, { size: 127 })],
    ["found: 150.5", () => worldSample("charts", 1, 0, { size: 150.5 })],
    ["name: faint", () => worldSample("questions", 1, 0, { faint: true })],
    ["name: size", () => worldSample("language", 1, 0, { size: 64 })],
    ["unknown stream", () => worldSample("toString" as "text", 1, 0)],
    ["world index", () => worldSample("text", 1, -1)],
    ["world index", () => worldSample("text", 1, 2 ** 32)],
    ["world seed", () => worldSample("text", 0.5, 0)],
    ["worldIndex training", () => worldIndex("training", 2 ** 30)],
    ["worldIndex test", () => worldIndex("test", 2 ** 31)],
    ["lacks a character", () => glyphOf("a")],
  ])("%s", (message, use) => {
    expect(use).toThrow(ConfigError);
    expect(use).toThrow(message);
  });

  it("no index of a split", () => {
    expect(worldIndex("training", 5)).toBe(5);
    expect(worldIndex("validation", 2 ** 30 - 1)).toBe(2 ** 31 - 1);
    expect(worldIndex("test", 2 ** 31 - 1)).toBe(2 ** 32 - 1);
  });
});
