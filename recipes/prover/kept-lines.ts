/** Results of a long exam, kept as they come: a line of JSON for each item, so that one that was stopped goes on behind them. */
import { existsSync, readFileSync } from "node:fs";
import { appendFile, mkdir, readFile, rename, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { hashHex } from "../../src/data/hash.ts";
import { concurrently } from "../../src/prove/pipeline/sides.ts";
import { ConfigError } from "../../src/tensor/errors.ts";
import type { StageContext } from "../shared/stage.ts";

export interface KeptExam<Item, Result> {
  /** Of the file, and in what is printed. */
  readonly name: string;
  /** Everything that decides the results: those of another identity are in another file. */
  readonly identity: unknown;
  readonly items: readonly Item[];
  /** Items that are worked on at the same time. */
  readonly atOnce: number;
  readonly work: (item: Item, index: number) => Promise<Result>;
  readonly solved: (result: Result) => boolean;
}

const TOLD = 20;

/** Results of all items, in order: read, and where there is none yet, worked out and appended. @throws what `work` throws */
export async function keptLines<Item extends { readonly name: string }, Result>(
  { folder, print }: Pick<StageContext, "folder" | "print">,
  { name, identity, items, atOnce, work, solved }: KeptExam<Item, Result>,
): Promise<Result[]> {
  await mkdir(folder, { recursive: true });
  const file = join(folder, `${name}-${hashHex(JSON.stringify(identity))}.jsonl`);
  const done = new Map(await readLines<readonly [string, Result]>(file));
  const left = items.filter((item) => !done.has(item.name));
  let writing: Promise<void> = Promise.resolve();
  await concurrently(atOnce, left, async (item) => {
    const result = await work(item, items.indexOf(item));
    writing = writing.then(() => appendFile(file, `${JSON.stringify([item.name, result])}\n`));
    await writing;
    done.set(item.name, result);
    if (done.size % TOLD === 0 || done.size === items.length) {
      const right = [...done.values()].filter(solved).length;
      print(`${name}: ${done.size} of ${items.length}, ${right} solved`);
    }
  });
  return items.map((item) => done.get(item.name)!);
}

/** The whole lines; what a kill left of one is cut off. */
async function readLines<T>(file: string): Promise<T[]> {
  if (!existsSync(file)) return [];
  const bytes = readFileSync(file);
  const end = bytes.lastIndexOf("\n") + 1;
  if (end < bytes.length) await truncate(file, end);
  return bytes
    .subarray(0, end)
    .toString("utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as T);
}

/**
 * Makes a folder whose results are those of these settings; later calls must have the same.
 * @throws ConfigError naming the settings that differ
 */
export async function ofSettings(folder: string, settings: Readonly<Record<string, unknown>>): Promise<void> {
  await mkdir(folder, { recursive: true });
  const kept = await keptIn(join(folder, "settings.json"), async () => settings);
  const different = Object.keys({ ...kept, ...settings }).filter(
    (name) => JSON.stringify(kept[name]) !== JSON.stringify(settings[name]),
  );
  if (different.length === 0) return;
  const list = (of: Readonly<Record<string, unknown>>) =>
    different.map((name) => `${name} ${JSON.stringify(of[name])}`).join(", ");
  throw new ConfigError("the results here are of other settings", {
    ...{ where: folder, expected: list(kept), found: list(settings) },
    hint: "Use another folder (--state), or remove this one.",
  });
}

/** What a file holds, or what `make` gives, kept there. */
export async function keptIn<T>(file: string, make: () => Promise<T>): Promise<T> {
  if (existsSync(file)) return JSON.parse(await readFile(file, "utf8")) as T;
  const made = await make();
  await writeFile(`${file}.part`, JSON.stringify(made));
  await rename(`${file}.part`, file);
  return made;
}
