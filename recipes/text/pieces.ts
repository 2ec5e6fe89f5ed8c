/** Documents of a length that fits into a sequence: files are cut at ends of lines, after they were split into parts. */
import type { TextFile } from "../../src/data/corpus.ts";
import type { TextStream } from "../../src/data/prepare-stream.ts";
import type { RunTexts } from "../../src/runs/preparation.ts";

/** Whole lines of a text, as many as fit into so many characters at a time; a longer line is a piece of its own. */
export function piecesOf(text: string, most: number): string[] {
  const pieces: string[] = [];
  let piece = "";
  for (const line of text.split(/(?<=\n)/)) {
    if (piece.length > 0 && piece.length + line.length > most) {
      pieces.push(piece);
      piece = "";
    }
    piece += line;
  }
  if (piece !== "") pieces.push(piece);
  return pieces;
}

async function* cut(stream: AsyncIterable<TextFile>, most: number): AsyncGenerator<TextFile> {
  for await (const file of stream) {
    for (const [i, text] of piecesOf(file.text, most).entries())
      yield { ...file, path: `${file.path}#${i}`, text };
  }
}

const cutStream = <S extends TextStream>(stream: S, most: number): TextStream => ({
  ...{ files: stream.files, bytes: stream.bytes },
  [Symbol.asyncIterator]: () => cut(stream, most),
});

/** The same texts in pieces of at most `most` characters; the tokenizer learns from whole files. */
export const inPieces = (texts: RunTexts, most: number): RunTexts => ({
  ...texts,
  train: { ...cutStream(texts.train, most), sample: (bytes, seed) => texts.train.sample(bytes, seed) },
  heldOut: cutStream(texts.heldOut, most),
  get skipped() {
    return texts.skipped;
  },
});
