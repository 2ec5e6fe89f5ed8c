/**
 * Boxes in answers of DeepSeek-VL2: `<|ref|>phrase<|/ref|><|det|>[[x1, y1, x2, y2], ..]<|/det|>`, integers from 0 to 999 across the
 * whole image. Read as JSON, where the reference (`parse_ref_bbox`) evaluates the text as code; newlines are allowed.
 */

/** Corners in pixels: left, top, right, bottom. */
export type PixelBox = readonly [x1: number, y1: number, x2: number, y2: number];

/** Sizes in pixels that boxes relate to: those of the original image, not of its tiles. */
export interface ImageSize {
  readonly width: number;
  readonly height: number;
}

/** What is odd about a box: its corners are exchanged, or it leaves the image. */
export type BoxFlag = "order" | "range";

export interface GroundedBox {
  readonly label: string;
  /** As the model wrote them, thousandths of the image's sides. */
  readonly numbers: PixelBox;
  /** In pixels, neither ordered nor clamped. */
  readonly box: PixelBox;
  readonly flags: readonly BoxFlag[];
}

/** Why tags could not be read: numbers of phrases and lists differ, or a list is not one of boxes. */
export type GroundingFault =
  | { readonly kind: "count"; readonly refs: number; readonly dets: number }
  | { readonly kind: "boxes"; readonly text: string };

export interface Grounding {
  /** Empty if there is a fault, as in the reference. */
  readonly items: readonly GroundedBox[];
  readonly error: GroundingFault | null;
}

const REF = "<|ref|>";
const REF_END = "<|/ref|>";
const DET = "<|det|>";
const DET_END = "<|/det|>";

/** Four numbers without exponents between brackets, and what separates two of them. */
const NUMBER = String.raw`\s*(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?)\s*`;
const BOX = new RegExp(String.raw`\s*\[${NUMBER},${NUMBER},${NUMBER},${NUMBER}\]\s*([,\]])`, "y");

/** The boxes of a list; null if it is anything else. */
function readBoxes(text: string): PixelBox[] | null {
  const open = /^\s*\[/.exec(text);
  if (open === null) return null;
  const boxes: PixelBox[] = [];
  BOX.lastIndex = open[0].length;
  for (;;) {
    const match = BOX.exec(text);
    if (match === null) return null;
    const numbers = match.slice(1, 5).map(Number);
    if (!numbers.every(Number.isFinite)) return null;
    boxes.push(numbers as unknown as PixelBox);
    if (match[5] === "]") return text.slice(match.index + match[0].length).trim() === "" ? boxes : null;
    BOX.lastIndex = match.index + match[0].length;
  }
}

/** Numbers from 0 to 999 as pixels, computed in the reference's order. */
function boxPixels([x1, y1, x2, y2]: PixelBox, { width, height }: ImageSize): PixelBox {
  // Adding 0 turns -0 into 0.
  const at = (n: number, side: number) => Math.trunc((n / 999) * side) + 0;
  return [at(x1, width), at(y1, height), at(x2, width), at(y2, height)];
}

function groundedBox(label: string, numbers: PixelBox, image: ImageSize): GroundedBox {
  const flags: BoxFlag[] = [];
  const [x1, y1, x2, y2] = numbers;
  if (x1 > x2 || y1 > y2) flags.push("order");
  if (numbers.some((n) => n < 0 || n > 999)) flags.push("range");
  return { label, numbers, box: boxPixels(numbers, image), flags };
}

/** Texts between pairs of tags. */
function between(text: string, open: string, close: string): string[] {
  const found: string[] = [];
  for (let at = text.indexOf(open); at >= 0; ) {
    const end = text.indexOf(close, at + open.length);
    if (end < 0) break;
    found.push(text.slice(at + open.length, end));
    at = text.indexOf(open, end + close.length);
  }
  return found;
}

/** All boxes of a whole answer, each with its phrase. Phrases and lists are paired in their order. */
export function parseGrounding(text: string, image: ImageSize): Grounding {
  const labels = between(text, REF, REF_END);
  const lists = between(text, DET, DET_END);
  if (labels.length !== lists.length) {
    return { items: [], error: { kind: "count", refs: labels.length, dets: lists.length } };
  }
  const items: GroundedBox[] = [];
  for (const [i, list] of lists.entries()) {
    const boxes = readBoxes(list);
    if (boxes === null) return { items: [], error: { kind: "boxes", text: list } };
    for (const numbers of boxes) items.push(groundedBox(labels[i], numbers, image));
  }
  return { items, error: null };
}

/** A box in pixels as numbers for a prompt or a training text: the inverse within a pixel, up to 1,000 pixels a side. */
export function boxNumbers([x1, y1, x2, y2]: PixelBox, { width, height }: ImageSize): PixelBox {
  const at = (pixel: number, side: number) => Math.max(0, Math.min(999, Math.floor((pixel * 1000) / side)));
  return [at(x1, width), at(y1, height), at(x2, width), at(y2, height)];
}

/** A phrase and its boxes (numbers from 0 to 999) as the model writes them. */
export function groundingText(label: string, boxes: readonly PixelBox[]): string {
  const lists = boxes.map((box) => `[${box.join(", ")}]`).join(", ");
  return `${REF}${label}${REF_END}${DET}[${lists}]${DET_END}`;
}

/** A piece of an answer: plain text, or a phrase with its boxes. */
export type GroundingEvent =
  | { readonly text: string }
  | { readonly label: string; readonly boxes: readonly GroundedBox[] };

/** Most characters of an item, and so held back: a tag that is never closed must not keep the rest of an answer. */
const MOST_HELD = 8192;

/** Length of the longest end of `text` that a tag may begin with. */
function tagBegun(text: string, tag: string): number {
  for (let n = Math.min(tag.length - 1, text.length); n > 0; n--)
    if (text.endsWith(tag.slice(0, n))) return n;
  return 0;
}

/**
 * Reads an answer while it is written. Text goes out at once; from `<|ref|>` on it is held until its `<|/det|>` is there,
 * and then goes out as one item. What turns out to be no item goes out as it came. The tags are special tokens: the
 * decoder must not skip them.
 */
export class GroundingStream {
  readonly #image: ImageSize;
  #held = "";

  constructor(image: ImageSize) {
    this.#image = image;
  }

  /** What became certain with the next piece of text. */
  push(text: string): GroundingEvent[] {
    this.#held += text;
    const events: GroundingEvent[] = [];
    let plain = "";
    const flush = () => {
      if (plain !== "") events.push({ text: plain });
      plain = "";
    };
    for (;;) {
      const at = this.#held.indexOf(REF);
      const free = at >= 0 ? at : this.#held.length - tagBegun(this.#held, REF);
      plain += this.#held.slice(0, free);
      this.#held = this.#held.slice(free);
      if (at < 0) break;
      const item = this.#item();
      if (item === "open" && this.#held.length < MOST_HELD) break;
      if (typeof item === "string") {
        // No item begins here. The tag is text, and what follows is looked at again.
        plain += REF;
        this.#held = this.#held.slice(REF.length);
      } else {
        flush();
        events.push({ label: item.label, boxes: item.boxes });
        this.#held = this.#held.slice(item.length);
      }
    }
    flush();
    return events;
  }

  /** What was held back when the answer ended. */
  end(): GroundingEvent[] {
    const text = this.#held;
    this.#held = "";
    return text === "" ? [] : [{ text }];
  }

  /** What the held text begins with: an item, something else, or perhaps an item once there is more. */
  #item(): { label: string; boxes: GroundedBox[]; length: number } | "open" | "none" {
    const held = this.#held.slice(0, MOST_HELD);
    const close = held.indexOf(REF_END, REF.length);
    const again = held.indexOf(REF, REF.length);
    if (again >= 0 && (close < 0 || again < close)) return "none";
    if (close < 0) return "open";
    const label = held.slice(REF.length, close);
    const rest = held.slice(close + REF_END.length);
    const list = rest.trimStart();
    if (list.length < DET.length) return DET.startsWith(list) ? "open" : "none";
    if (!list.startsWith(DET)) return "none";
    const end = list.indexOf(DET_END);
    if (end < 0) return "open";
    const boxes = readBoxes(list.slice(DET.length, end));
    if (boxes === null) return "none";
    return {
      label,
      boxes: boxes.map((numbers) => groundedBox(label, numbers, this.#image)),
      length: held.length - list.length + end + DET_END.length,
    };
  }
}
