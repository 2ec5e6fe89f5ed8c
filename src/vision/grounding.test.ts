/** Boxes in answers against recorded texts and what the reference's parser gives; streams in any pieces. */
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  boxNumbers,
  type GroundingEvent,
  GroundingStream,
  groundingText,
  type PixelBox,
  parseGrounding,
} from "./grounding.ts";

type Size = readonly [number, number];
interface Vectors {
  readonly parse: readonly {
    readonly name: string;
    readonly image: Size;
    readonly text: string;
    readonly items: readonly object[];
    readonly error: object | null;
    readonly reference: readonly { label: string; box: PixelBox }[] | string | null;
  }[];
  readonly streaming: readonly {
    readonly name: string;
    readonly image: Size;
    readonly chunks: readonly string[];
    readonly events: readonly { text?: string; item?: { label: string; boxes: PixelBox[] } }[];
  }[];
  readonly encode: readonly { image: Size; pixels: PixelBox; numbers: PixelBox; decoded: PixelBox }[];
}

const vectors = JSON.parse(readFileSync("test/fixtures/vl2/grounding.json", "utf8")) as Vectors;
const sizeOf = ([width, height]: Size) => ({ width, height });

/** All events of a text in pieces, neighboring texts joined. */
function stream(chunks: readonly string[], image: Size): GroundingEvent[] {
  const reader = new GroundingStream(sizeOf(image));
  const joined: GroundingEvent[] = [];
  for (const event of [...chunks.flatMap((chunk) => reader.push(chunk)), ...reader.end()]) {
    const last = joined.at(-1);
    if (last !== undefined && "text" in last && "text" in event) {
      joined[joined.length - 1] = { text: last.text + event.text };
    } else joined.push(event);
  }
  return joined;
}

describe("parseGrounding", () => {
  it("has all texts", () => {
    expect([vectors.parse.length, vectors.streaming.length, vectors.encode.length]).toEqual([43, 10, 16]);
  });

  it.each(vectors.parse.map((c) => [c.name, c] as const))(
    "%s",
    (_, { image, text, items, error, reference }) => {
      const found = parseGrounding(text, sizeOf(image));
      expect(found).toEqual({ items, error });
      if (Array.isArray(reference) && error === null) {
        expect(found.items.map(({ label, box }) => ({ label, box }))).toEqual(reference);
      }
    },
  );

  it("computes pixels in the reference's order, which shows in the last digit", () => {
    // Python: int(63/999*111), int(711/999*555); 63*111/999 is 7, 711*555/999 is 395.
    const { items } = parseGrounding(groundingText("x", [[63, 711, 999, 999]]), { width: 111, height: 555 });
    expect(items[0].box).toEqual([6, 394, 111, 555]);
  });

  it("refuses numbers beyond doubles, and lists without a box", () => {
    for (const list of [`[[${"9".repeat(400)}, 0, 1, 1]]`, "[]", "", "[[1, 2, 3, 4] [5, 6, 7, 8]]"]) {
      const { items, error } = parseGrounding(`<|ref|>a<|/ref|><|det|>${list}<|/det|>`, {
        width: 9,
        height: 9,
      });
      expect([items, error]).toEqual([[], { kind: "boxes", text: list }]);
    }
  });

  it("takes time in proportion to a hostile text's length", () => {
    const image = { width: 9, height: 9 };
    for (const text of ["<|ref|>".repeat(50_000), "<|det|>[[".repeat(50_000), `[${" ".repeat(200_000)}`]) {
      parseGrounding(`<|ref|>a<|/ref|><|det|>${text}<|/det|>`, image);
      expect(stream([text], [9, 9])).toHaveLength(1);
    }
  });
});

describe("GroundingStream", () => {
  it.each(vectors.streaming.map((c) => [c.name, c] as const))("%s", (_, { image, chunks, events }) => {
    const found = stream(chunks, image).map((event) =>
      "text" in event ? event : { item: { label: event.label, boxes: event.boxes.map(({ box }) => box) } },
    );
    expect(found).toEqual(events);
  });

  it("does not depend on how the text is cut, and loses nothing (property)", () => {
    const parts = [
      "<|ref|>",
      "<|/ref|>",
      "<|det|>",
      "<|/det|>",
      "[[1, 2, 3, 4]]",
      "[[1, 2]]",
      "a cat",
      " ",
      "<|",
      "\n",
    ];
    const item = fc.constant("<|ref|>a cat<|/ref|><|det|>[[1, 2, 3, 4], [5, 6, 7, 8]]<|/det|>");
    const text = fc
      .array(fc.oneof(fc.constantFrom(...parts), item), { maxLength: 14 })
      .map((all) => all.join(""));
    fc.assert(
      fc.property(text, fc.array(fc.nat(400), { maxLength: 40 }), (whole, cuts) => {
        const places = [0, ...cuts.map((n) => n % (whole.length + 1)), whole.length].sort((a, b) => a - b);
        const chunks = places.slice(1).map((end, i) => whole.slice(places[i], end));
        const once = stream([whole], [641, 333]);
        expect(stream(chunks, [641, 333])).toEqual(once);
        const back = once.map((event) =>
          "text" in event
            ? event.text
            : groundingText(
                event.label,
                event.boxes.map(({ numbers }) => numbers),
              ),
        );
        // Spaces between the two pairs of tags are the only thing that an item leaves out.
        const plain = (s: string) => s.replaceAll(/<\|\/ref\|>\s+<\|det\|>/g, "<|/ref|><|det|>");
        expect(plain(back.join(""))).toBe(plain(whole));
      }),
      { numRuns: 1000 },
    );
  });

  it("sends text that cannot be a tag at once, and a phrase that never ends after a while", () => {
    const reader = new GroundingStream({ width: 9, height: 9 });
    expect(reader.push("a < b <|")).toEqual([{ text: "a < b " }]);
    expect(reader.push("x")).toEqual([{ text: "<|x" }]);
    expect(reader.push("<|ref|>")).toEqual([]);
    expect(reader.push("y".repeat(8000))).toEqual([]);
    expect(reader.push("y".repeat(8000))).toEqual([{ text: `<|ref|>${"y".repeat(16_000)}` }]);
    expect(reader.end()).toEqual([]);
  });
});

describe("boxNumbers", () => {
  it("gives the recorded numbers, which decode to the recorded pixels", () => {
    for (const { image, pixels, numbers, decoded } of vectors.encode) {
      expect(boxNumbers(pixels, sizeOf(image))).toEqual(numbers);
      const { items } = parseGrounding(groundingText("x", [numbers]), sizeOf(image));
      expect(items.map(({ box }) => box)).toEqual([decoded]);
    }
  });

  it("stays within a pixel up to 1,000 pixels (property)", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1000 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (side, part) => {
          const pixel = Math.round(part * side);
          const size = { width: side, height: side };
          const numbers = boxNumbers([pixel, 0, pixel, side], size);
          const [{ box }] = parseGrounding(groundingText("x", [numbers]), size).items;
          expect(Math.abs(box[0] - pixel)).toBeLessThanOrEqual(1);
          expect(box[3]).toBe(side);
        },
      ),
    );
  });
});
