/** Samples of the world as rows of token ids in the form of DeepSeek-VL2's conversations, with what is to be learned of them. */
import { ALPHABET } from "../../src/data/world/font.ts";
import type { WorldRandom } from "../../src/data/world/generator.ts";
import type { WorldSample } from "../../src/data/world/sample.ts";
import { worldPieces, worldVocabulary } from "../../src/data/world/vocabulary.ts";

const vocabulary = new Map(worldVocabulary("<image>").map((token, id) => [token, id]));

export const [PAD, BOS, EOS, IMAGE] = [0, 1, 2, 3];
const idOf = (token: string) => vocabulary.get(token)!;
const USER = idOf("<|User|>");
const ASSISTANT = idOf("<|Assistant|>");
const COLON = idOf(":");
const NEWLINE = idOf("\n");

/** Ids of a text of the world, which `worldTokenizer` gives as well. */
export const worldIds = (text: string): number[] => worldPieces(text).map(idOf);

/** Tokens before and after those of a picture. */
export interface Around {
  readonly before: readonly number[];
  readonly after: readonly number[];
}

const NOTHING: Around = { before: [], after: [] };

/** Ids around a picture in Janus, and in JanusFlow, whose model itself puts what it learned before one. */
export const JANUS_AROUND: Around = { before: [idOf("<begin_of_image>")], after: [idOf("<end_of_image>")] };
export const FLOW_AROUND: Around = { before: [], after: JANUS_AROUND.after };

/** A row: ids, and of each whether it is learned. */
export interface Row {
  readonly ids: readonly number[];
  readonly learned: readonly boolean[];
}

/** What of a row is learned: answers with their end, or questions too. */
export type Learned = "answers" | "text";

class Writer {
  readonly ids: number[] = [];
  readonly learned: boolean[] = [];

  add(ids: readonly number[], learned: boolean): void {
    for (const id of ids) {
      this.ids.push(id);
      this.learned.push(learned);
    }
  }
}

/** The question as the model reads it: `images` tokens of the picture, then the text, up to where the answer begins. */
function ask(
  writer: Writer,
  images: number,
  { question, learned, around }: { question: string; learned: boolean; around: Around },
): void {
  writer.add([USER, COLON], false);
  if (images > 0) {
    writer.add(around.before, false);
    writer.add(new Array<number>(images).fill(IMAGE), false);
    writer.add(around.after, false);
  }
  writer.add(worldIds(question), learned);
  writer.add([NEWLINE, NEWLINE, ASSISTANT, COLON], false);
}

/** A prompt that ends where the answer begins. */
export function promptRow(
  { question }: Pick<WorldSample, "question">,
  images: number,
  around = NOTHING,
): number[] {
  const writer = new Writer();
  writer.add([BOS], false);
  ask(writer, images, { question, learned: false, around });
  return writer.ids;
}

/** A prompt to draw: the caption, and the token that begins an image. */
export function drawingRow(caption: string): number[] {
  return [...promptRow({ question: caption }, 0), ...JANUS_AROUND.before];
}

/** One picture with several questions, and their answers. */
export function conversationRow(
  turns: readonly Pick<WorldSample, "question" | "answer">[],
  images: number,
  learned: Learned,
  around = NOTHING,
): Row {
  const writer = new Writer();
  writer.add([BOS], false);
  turns.forEach(({ question, answer }, i) => {
    ask(writer, i === 0 ? images : 0, { question, learned: learned === "text", around });
    writer.add([...worldIds(answer), EOS], true);
  });
  return writer;
}

/** A text that is learned as it is, to its end. */
export function plainRow(text: string): Row {
  const ids = [BOS, ...worldIds(text), EOS];
  return { ids, learned: ids.map((_, i) => i > 0) };
}

/** Rows below each other, padded on the right: inputs and targets `[B, T]`, and how many of these are to be learned. */
export function stackRows(rows: readonly Row[]) {
  const length = Math.max(...rows.map(({ ids }) => ids.length)) - 1;
  const ids = new Int32Array(rows.length * length).fill(PAD);
  const targets = new Int32Array(rows.length * length).fill(-1);
  let weight = 0;
  rows.forEach((row, r) => {
    for (let t = 0; t + 1 < row.ids.length; t++) {
      ids[r * length + t] = row.ids[t];
      if (!row.learned[t + 1]) continue;
      targets[r * length + t] = row.ids[t + 1];
      weight++;
    }
  });
  return { sequences: rows.length, length, ids, targets, weight };
}

/** Fills cells of a layout where nothing stands. */
export const FILLER = ".";
/** Ends rows, and stands between two views. */
const [ROW_END, VIEW_END] = ["\n", "+"];

/**
 * Lines of letters laid out in cells of text, twice over as DeepSeek-VL2 sees a picture of one tile, and a question about one of
 * them: how a language model learns from text alone to find and read what stands somewhere.
 */
export function layoutRow(random: WorldRandom): Row {
  const side = 4;
  const count = 1 + random.int(3);
  const rows = random.distinct(side, count).sort((a, b) => a - b);
  const lines = rows.map((row) => {
    const length = 1 + random.int(side);
    const column = random.int(side - length + 1);
    return { row, column, text: Array.from({ length }, () => ALPHABET[random.int(ALPHABET.length)]) };
  });
  const cells = Array.from({ length: side }, (_, row) => {
    const line = lines.find((each) => each.row === row);
    return Array.from({ length: side }, (_, column) => line?.text[column - line.column] ?? FILLER);
  });
  const view = cells.flatMap((row) => [...row.map(idOf), idOf(ROW_END)]);
  const asked = random.int(count);
  const question = count === 1 ? "read the text ." : `read line ${asked + 1} .`;
  const writer = new Writer();
  writer.add([BOS, USER, COLON, ...view, idOf(VIEW_END), ...view, ...worldIds(question)], false);
  writer.add([NEWLINE, NEWLINE, ASSISTANT, COLON], false);
  writer.add([...lines[asked].text.map(idOf), EOS], true);
  return writer;
}
