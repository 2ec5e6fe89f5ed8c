/**
 * One question about every picture of a folder, as a job: an answer is a line of a JSON Lines file. A run that was cut
 * short goes on where it ended: whole lines stay, one that was begun is written again.
 */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { ImagePart } from "../chat/messages.ts";
import type { Conversation, Reply, ReplySettings } from "../engine/conversation.ts";
import type { ImageProgress } from "../engine/image-encoder.ts";
import { explained, isMissing } from "../files/file-error.ts";
import { writeTextFile } from "../files/file-sink.ts";
import { appendToOwnFile, truncateOwnFile } from "../files/owned.ts";
import { checkFilePlace, realPlace } from "../files/place.ts";
import { readTextFile } from "../files/text-file.ts";
import type { JobContext } from "../jobs/job.ts";
import { ConfigError, DeepseekError } from "../tensor/errors.ts";
import { usageOf } from "./answer-usage.ts";
import { withImageParts } from "./image-files.ts";
import { lockOutput } from "./output-lock.ts";

/** What answers depend on: a file of other answers is not continued. */
export type AskedSettings = Readonly<Record<string, unknown>>;

export interface FolderTask {
  readonly folder: string;
  /** Names of its pictures, in order. */
  readonly names: readonly string[];
  readonly question: string;
  readonly out: string;
  readonly asked: AskedSettings;
}

export type FolderEvent =
  | { readonly kind: "begin"; readonly done: number; readonly total: number; readonly name: string }
  | ({ readonly kind: "image"; readonly done: number; readonly total: number } & ImageProgress)
  | { readonly kind: "error"; readonly name: string; readonly message: string };

export interface FolderResult {
  /** Pictures with an answer, with an error, and of both those that earlier runs had. */
  readonly answered: number;
  readonly faulty: number;
  readonly earlier: number;
}

/** A line's fields, beside those of `AskedSettings` under `asked`. */
interface Line {
  readonly image: string;
  readonly error?: string;
  readonly asked: AskedSettings;
}

function lineOf(text: string): Line | null {
  try {
    const value = JSON.parse(text) as Partial<Line> | null;
    const ours = typeof value?.image === "string" && typeof value.asked === "object" && value.asked !== null;
    return ours ? (value as Line) : null;
  } catch {
    return null;
  }
}

/** What an earlier run wrote. */
interface EarlierAnswers {
  readonly lines: readonly Line[];
  /** Bytes of whole lines; what comes after them was cut off. */
  readonly wholeBytes: number;
  readonly cut: boolean;
}

/**
 * The lines that an earlier run wrote, whose settings must be those of `asked`.
 * @throws ConfigError for a file that this program did not write, or with other settings
 */
export async function earlierAnswers(out: string, asked: AskedSettings): Promise<EarlierAnswers> {
  const path = await realPlace(out);
  const info = await stat(path).catch((error: unknown) => {
    if (isMissing(error)) return null;
    throw error;
  });
  if (info === null) {
    await checkFilePlace(path, {});
    return { lines: [], wholeBytes: 0, cut: false };
  }
  const text = await readTextFile(path);
  const end = text.lastIndexOf("\n") + 1;
  const lines = text.slice(0, end).split("\n").slice(0, -1);
  const found: Line[] = [];
  for (const [index, line] of lines.entries()) {
    const read = lineOf(line);
    if (read === null) {
      throw new ConfigError("the file holds something else than answers, and is not continued", {
        where: `${out}: line ${index + 1}`,
        expected: "answers that `deepseek-ts ask --folder` wrote",
        found: line.slice(0, 60),
        hint: "Choose another name.",
      });
    }
    const same = (name: string) => JSON.stringify(read.asked[name]) === JSON.stringify(asked[name]);
    const other = Object.keys(asked).find((name) => !same(name));
    if (other !== undefined) {
      throw new ConfigError("the file holds answers that were asked for in another way", {
        where: `${out}: line ${index + 1}`,
        name: other,
        expected: JSON.stringify(asked[other]),
        found: JSON.stringify(read.asked[other]),
        hint: "Choose another name, or ask as before to go on.",
      });
    }
    found.push(read);
  }
  const cut = end < text.length;
  // The first line is written whole or not at all, so that a file without one is not ours.
  if (cut && found.length === 0) {
    throw new ConfigError("the existing file was not written by this program", {
      where: out,
      found: text.slice(0, 60),
      hint: "Choose another name, or move it away.",
    });
  }
  return { lines: found, wholeBytes: Buffer.byteLength(text.slice(0, end)), cut };
}

/** The answer to one picture, as far as the signal lets it come; null where it was stopped. @throws what its file has wrong */
async function answer(
  conversation: Conversation,
  part: ImagePart,
  question: string,
  settings: ReplySettings,
  onImage: (progress: ImageProgress) => void,
): Promise<Reply | null> {
  conversation.reset();
  const stream = conversation.send(withImageParts([part], question), settings);
  for (;;) {
    const { done, value } = await stream.next();
    if (done) return value.stats.stopReason === "aborted" ? null : value;
    if (value.kind === "image") onImage(value);
  }
}

/**
 * What a queue runs for a folder. @param read the picture of a file
 * @throws ConfigError for the file of answers, FileError if it cannot be written
 */
export function folderHandler(
  conversation: Conversation,
  settings: ReplySettings,
  read: (path: string) => Promise<ImagePart>,
) {
  return async (task: FolderTask, { emit, signal }: JobContext<FolderEvent>): Promise<FolderResult> => {
    const { folder, names, question, out, asked } = task;
    const path = await realPlace(out);
    await using _lock = await lockOutput(path, `${path}.lock`, "the answers");
    const earlier = await earlierAnswers(out, asked);
    if (earlier.cut) await truncateOwnFile(path, earlier.wholeBytes);
    const known = new Map(earlier.lines.map((line) => [line.image, line]));
    const had = names.filter((name) => known.has(name));
    let faulty = had.filter((name) => known.get(name)!.error !== undefined).length;
    let answered = had.length - faulty;
    const write = async (line: object) => {
      const text = `${JSON.stringify(line)}\n`;
      if (known.size > 0) await appendToOwnFile(path, text);
      else await writeTextFile(out, text);
      known.set((line as Line).image, line as Line);
    };
    const total = names.length;
    for (const name of names) {
      if (known.has(name)) continue;
      signal.throwIfAborted();
      const place = { done: answered + faulty, total };
      emit({ kind: "begin", ...place, name });
      const began = performance.now();
      let line: object;
      try {
        const part = await read(join(folder, name));
        const reply = await answer(conversation, part, question, { ...settings, signal }, (progress) =>
          emit({ kind: "image", ...place, ...progress }),
        );
        if (reply === null) break;
        const { stopReason } = reply.stats;
        const seconds = Math.round(performance.now() - began) / 1000;
        // What was cached depends on the pictures before it.
        const { cachedTokens: _, ...usage } = usageOf(reply);
        line = { image: name, answer: reply.content, stopReason, usage, seconds, asked };
        answered++;
      } catch (error) {
        // Faults of one picture: the next ones may be whole.
        if (!(error instanceof DeepseekError)) throw error;
        line = { image: name, error: error.message, asked };
        emit({ kind: "error", name, message: error.message });
        faulty++;
      }
      await write(line);
    }
    signal.throwIfAborted();
    return { answered, faulty, earlier: had.length };
  };
}

/** Names of the pictures directly in a folder, by their endings, in the order of their characters. @throws FileError */
export async function picturesIn(
  folder: string,
  list: (folder: string) => Promise<string[]>,
): Promise<string[]> {
  const names = await explained(folder, "read", () => list(folder));
  const pictures = names.filter((name) => /\.(png|jpe?g|webp|gif)$/i.test(name) && !name.startsWith("."));
  return pictures.sort((a, b) => (a < b ? -1 : 1));
}
