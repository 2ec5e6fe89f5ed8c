/**
 * Examples of what to ask a trained model, taken from the text that was held out from it: how its lines usually begin,
 * and a line with a word left out that the text often has.
 */
import { join, resolve } from "node:path";
import { openDataset } from "../data/node-dataset.ts";
import { readTextFile } from "../files/text-file.ts";
import { loadTokenizer } from "../tokenizer/tokenizer.ts";
import { savedConfig } from "./config.ts";
import { readJson } from "./json-file.ts";

export interface ExampleTexts {
  /** A beginning to complete, without a space at its end: tokens begin with theirs. */
  readonly prompt: string | null;
  readonly fill: { readonly prefix: string; readonly suffix: string } | null;
}

const WORD = /^[\p{L}_][\p{L}\p{N}_]*$/u;

/** The text with the highest count; of several the first. */
function commonest(texts: Iterable<string>): { text: string; count: number } | null {
  const counts = new Map<string, number>();
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1);
  let best: { text: string; count: number } | null = null;
  for (const [text, count] of counts) if (best === null || count > best.count) best = { text, count };
  return best;
}

/** The one or two words with which lines begin most often, else the first words of the first line. */
function promptOf(lines: readonly string[]): string | null {
  const begun = lines.map((line) => line.split(/[ \t]+/)).filter(([first]) => WORD.test(first));
  const one = commonest(begun.map(([first]) => first));
  if (one !== null && one.count > 1) {
    const pairs = begun.filter(([first, second = ""]) => first === one.text && WORD.test(second));
    const two = commonest(pairs.map((words) => words.slice(0, 2).join(" ")));
    return two !== null && two.count > 1 && two.count >= 0.4 * one.count ? two.text : one.text;
  }
  // A dash would begin an option.
  const line = lines
    .map((each) => each.trim())
    .find((each) => each.length >= 4 && /^[\p{L}\p{N}]/u.test(each));
  if (line === undefined) return null;
  const words = line.split(/\s+/);
  // Scripts without spaces: some characters.
  return words.length > 1
    ? words.slice(0, Math.min(2, words.length - 1)).join(" ")
    : [...line].slice(0, Math.ceil(line.length / 3)).join("");
}

/** A line of ordinary length around the word in its middle that the text has most often. */
function fillOf(lines: readonly string[]): ExampleTexts["fill"] {
  const counts = new Map<string, number>();
  for (const line of lines) {
    for (const [word] of line.matchAll(/[\p{L}_][\p{L}\p{N}_]{2,}/gu))
      counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  let best: { count: number; prefix: string; suffix: string } | null = null;
  for (const line of lines) {
    const text = line.trim();
    if (text.length < 16 || text.length > 72) continue;
    for (const { 0: word, index } of text.matchAll(/[\p{L}_][\p{L}\p{N}_]{2,}/gu)) {
      const inMiddle = index > text.length / 4 && index + word.length < 0.8 * text.length;
      const count = counts.get(word)!;
      const [prefix, suffix] = [text.slice(0, index).trimEnd(), text.slice(index + word.length)];
      // With an @ the command line reads a file.
      const isFile = prefix.startsWith("@") || suffix.startsWith("@");
      if (!inMiddle || isFile || (best !== null && count <= best.count)) continue;
      best = { count, prefix, suffix };
    }
  }
  return best && { prefix: best.prefix, suffix: best.suffix };
}

/** Examples out of a text. */
export function examplesOf(text: string): ExampleTexts {
  // The last line may be cut off; what a terminal would obey is not an example.
  const lines = text
    .split(/\r?\n/)
    .slice(0, -1)
    .filter((line) => !/[\p{Cc}\ufffd]/u.test(line.replaceAll("\t", "")));
  return { prompt: promptOf(lines), fill: fillOf(lines) };
}

/** Tokens that are looked at. */
const TOKENS = 16_384;

/** Examples for the run in `folder`; no text to fill in if it did not learn that. @throws FormatError, FileError */
export async function exampleTexts(folder: string): Promise<ExampleTexts> {
  const path = join(folder, "run.json");
  const { config, links } = savedConfig(await readJson(path), path);
  const prepared = resolve(folder, links.prepared ?? ".");
  const [tokenizerJson, settings] = await Promise.all(
    ["tokenizer.json", "tokenizer_config.json"].map((name) =>
      readTextFile(join(prepared, "tokenizer", name)),
    ),
  );
  const tokenizer = loadTokenizer(tokenizerJson, settings);
  const heldOut = await openDataset(join(prepared, "data", "held-out"));
  const ids = new Int32Array(Math.min(TOKENS, heldOut.tokenCount));
  try {
    await heldOut.readInto(0, ids.length - 1, ids, 0);
  } finally {
    await heldOut.close();
  }
  const parts: number[][] = [[]];
  for (const id of ids) {
    if (tokenizer.specialTokens.has(id)) parts.push([]);
    else parts[parts.length - 1].push(id);
  }
  const { prompt, fill } = examplesOf(parts.map((part) => tokenizer.decode(part)).join("\n"));
  const learned = config.data.fimRate > 0 && tokenizer.specialIds.fimHole !== undefined;
  return { prompt, fill: learned ? fill : null };
}
