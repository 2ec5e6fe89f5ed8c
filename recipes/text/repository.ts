/**
 * A corpus of several projects in orders of its files: as DeepSeek-Coder concatenates repositories (arXiv 2401.14196, section 2.2), and
 * as it is compared with. Whole projects are held out. A file is a document whose first line is a comment with its path.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { TextFile } from "../../src/data/corpus.ts";
import { comparePaths } from "../../src/data/corpus.ts";
import type { TextStream, TrainingStream } from "../../src/data/prepare-stream.ts";
import { groupByProject } from "../../src/data/project.ts";
import { dependencyOrder, withPathComment } from "../../src/data/repository-order.ts";
import { newReport } from "../../src/data/select.ts";
import type { RunTexts } from "../../src/runs/preparation.ts";
import { Random } from "../../src/tensor/random.ts";
import type { Corpus } from "../corpora.ts";

/** Files of a project behind what they import; those of a project in random order; those of all projects mixed. */
export type FileOrder = "dependencies" | "random" | "mixed";

/** Streams of the numbers that files, and projects, are shuffled with. */
const [FILE_STREAM, PROJECT_STREAM] = [83, 84];

const byPath = (a: TextFile, b: TextFile) => comparePaths(a.path, b.path);

/** Files of these projects in an order; that of the projects is one of the seed's too. */
export function inOrder(files: readonly TextFile[], order: FileOrder, seed: number): TextFile[] {
  const sorted = [...files].sort(byPath);
  const random = new Random(seed, FILE_STREAM);
  if (order === "mixed") return random.shuffle(sorted);
  const projects = new Random(seed, PROJECT_STREAM).shuffle(groupByProject(sorted));
  return projects.flatMap(({ project, items }) =>
    order === "random" ? random.shuffle([...items]) : dependencyOrder(items, project),
  );
}

const shown = ({ path, text }: TextFile): TextFile => ({ path, text: withPathComment(path, text) });

/** The path in a document's first line; null if there is none. */
export const pathOf = (document: string): string | null => /^\/\/ (\S+)\n/.exec(document)?.[1] ?? null;

function stream(files: readonly TextFile[]): TextStream {
  return {
    ...{ files: files.length, bytes: files.reduce((sum, { text }) => sum + Buffer.byteLength(text), 0) },
    async *[Symbol.asyncIterator]() {
      yield* files;
    },
  };
}

/** What a run reads of a corpus. @param heldOut projects that are only asked about, in the order of paths */
export async function repositoryTexts(
  { folder, manifest }: Corpus,
  heldOut: readonly string[],
  order: FileOrder,
  seed: number,
): Promise<RunTexts> {
  const files: TextFile[] = [];
  for (const { path } of manifest.files)
    files.push({ path, text: await readFile(join(folder, path), "utf8") });
  const isHeld = ({ path }: TextFile) => heldOut.includes(path.split("/", 1)[0]);
  const train = inOrder(
    files.filter((file) => !isHeld(file)),
    order,
    seed,
  ).map(shown);
  // The tokenizer learns from the same texts in the same order in all arms.
  const sorted = stream([...train].sort(byPath));
  const training: TrainingStream = { ...stream(train), sample: () => sorted };
  return {
    ...{ folder, train: training, selection: newReport(), duplicates: 0, skipped: 0 },
    heldOut: stream(files.filter(isHeld).sort(byPath).map(shown)),
    trainBytes: training.bytes,
  };
}
