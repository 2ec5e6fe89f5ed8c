/**
 * From a folder of text to what a training run reads. `selectTexts` selects files, removes duplicates and sets a part
 * aside; `prepareRun` makes tokenizer and tokens of them. Both read the folder file by file, the training part project
 * by project, so a corpus may be larger than memory: paths, hashes and duplicate signatures are what is held.
 */

import { join } from "node:path";
import type { Corpus, Tokenizer as DataTokenizer } from "../data/corpus.ts";
import { encodeCorpus } from "../data/fim.ts";
import { buildDataset } from "../data/node-dataset.ts";
import { folderCorpus } from "../data/node-files.ts";
import { prepareStream, type TextStream, type TrainingStream } from "../data/prepare-stream.ts";
import { leftOutText, type SelectionReport } from "../data/select.ts";
import { stageFolder } from "../files/folder-sink.ts";
import { makeFolder } from "../files/temporary.ts";
import { ConfigError, FormatError } from "../tensor/errors.ts";
import { formatBytes, formatCount, plural } from "../text/units.ts";
import { loadTokenizer, type Tokenizer } from "../tokenizer/tokenizer.ts";
import { trainBpe, trainedTokenizerConfig } from "../tokenizer/train-bpe.ts";
import type { RunConfig } from "./config.ts";
import { writeJson } from "./json-file.ts";

/** One line of progress while data are prepared. */
export type Progress = (stage: "select" | "tokenizer" | "tokens", message: string) => void;

export interface PreparedRun {
  readonly vocabSize: number;
  readonly trainTokens: number;
  readonly heldOutTokens: number;
  /** Files left out because they changed or vanished after they were selected. */
  readonly skipped: number;
}

/** The tokenizer as the data pipeline asks for it. @throws FormatError if it has no end-of-text token */
export function dataTokenizer(tokenizer: Tokenizer): DataTokenizer {
  const { eos, bos, fimBegin, fimHole, fimEnd } = tokenizer.specialIds;
  if (eos === undefined)
    throw new FormatError("the tokenizer has no end-of-text token", { where: "tokenizer" });
  const whole = fimBegin !== undefined && fimHole !== undefined && fimEnd !== undefined;
  return {
    encode: (text) => tokenizer.encode(text, { addSpecialTokens: false, parseSpecial: false }),
    eosId: eos,
    bosId: bos,
    fim: whole ? { begin: fimBegin, hole: fimHole, end: fimEnd } : undefined,
  };
}

/** The texts of a run, read from the folder each time they are iterated. */
export interface RunTexts {
  readonly folder: string;
  readonly train: TrainingStream;
  readonly heldOut: TextStream;
  readonly selection: SelectionReport;
  readonly duplicates: number;
  /** UTF-8 bytes of the training part. */
  readonly trainBytes: number;
  /** Files left out so far because they changed or vanished after they were selected. */
  readonly skipped: number;
}

const splitSeedOf = ({ data, seed }: RunConfig): number => data.splitSeed ?? seed;

/**
 * Selects the text below `folder`, removes duplicates and sets a part aside; the same every time for the same files.
 * @throws ConfigError if the folder holds too little text, the signal's reason
 */
export async function selectTexts(
  folder: string,
  config: RunConfig,
  progress: Progress = () => {},
  signal?: AbortSignal,
): Promise<RunTexts> {
  const { data } = config;
  const seed = splitSeedOf(config);
  progress("select", `listing ${folder}`);
  const corpus = await folderCorpus(folder, {
    extensions: data.extensions,
    include: data.include,
    includeNodeModules: data.includeNodeModules,
    filters: data.filters,
    maxFileBytes: data.maxFileBytes ?? undefined,
    maxBytes: data.maxBytes ?? undefined,
    sampleSeed: seed,
  });
  progress("select", `reading ${folder}`);
  signal?.throwIfAborted();
  const prepared = await prepareStream(corpus, {
    signal,
    dedupe: data.nearDuplicates === null ? false : { threshold: data.nearDuplicates },
    split: { fraction: data.heldOut, seed },
    repository: { manifests: corpus.manifests, pathComment: true },
    onProgress: (p) =>
      progress(
        "select",
        `reading ${folder}: ${formatCount(p.files)} of ${plural(corpus.candidates, "file")}, ${formatBytes(p.bytes)}`,
      ),
  });
  const { train, heldOut, dedupe, dividedFiles, dividedProjects } = prepared;
  // Another pass over the corpus would count afresh.
  const selection = structuredClone(corpus.report);
  const duplicates = dedupe.exact + dedupe.near;
  const divided = dividedProjects.length;
  const left = leftOutText(selection);
  const held = dividedFiles === 0 ? formatCount(heldOut.files) : formatBytes(heldOut.bytes);
  progress(
    "select",
    `${formatCount(selection.kept)} of ${plural(selection.seen, "file")} kept, ${plural(duplicates, "duplicate")} removed, ` +
      `${plural(train.files, "file")} for training (${formatBytes(train.bytes)}), ${held} held out` +
      (dividedFiles > 0 ? ` (from the end of ${plural(dividedFiles, "long file")})` : "") +
      (divided > 0 ? `; projects too large to be ordered as a whole, read in parts: ${divided}` : "") +
      (left === "" ? "" : `; left out: ${left}`),
  );
  if (train.files === 0 || heldOut.files === 0) {
    throw new ConfigError(selection.kept === 0 ? "no text to train on" : "too little text to train on", {
      where: folder,
      expected: "one long text file, or several files",
      found: `${selection.kept} of ${selection.seen} files; left out: ${JSON.stringify(selection.dropped)}`,
      hint: `Are its files among the extensions ${JSON.stringify(data.extensions)}? See --extensions.`,
    });
  }
  return {
    folder,
    train,
    heldOut,
    selection,
    duplicates,
    trainBytes: train.bytes,
    get skipped() {
      return prepared.skipped;
    },
  };
}

/**
 * Trains a tokenizer on the training part (a sample of `data.tokenizerBytes` if it is larger) and writes both parts
 * as tokens into the run's folder `out`, which appears when it is ready to train.
 * @throws ConfigError if something is at `out`, FormatError if all files of a part changed or vanished after they
 * were selected, the signal's reason: then nothing is left in `out`
 */
export async function prepareRun(
  texts: RunTexts,
  out: string,
  config: RunConfig,
  progress: Progress = () => {},
  signal?: AbortSignal,
): Promise<PreparedRun> {
  const staged = await stageFolder(out, { kind: "run" });
  try {
    const prepared = await writeRun(texts, staged.path, config, progress, signal);
    await staged.commit();
    return prepared;
  } catch (error) {
    await staged.abort();
    throw error;
  }
}

async function writeRun(
  texts: RunTexts,
  out: string,
  config: RunConfig,
  progress: Progress,
  signal: AbortSignal | undefined,
): Promise<PreparedRun> {
  const { folder, train, heldOut } = texts;
  const { data, seed, vocabSize } = config;
  const sample = train.sample(data.tokenizerBytes, splitSeedOf(config));
  const of = sample.files < train.files ? `a sample of ${formatBytes(sample.bytes)}, ` : "";
  const json = await trainBpe(textsOf(sample), {
    vocabSize,
    signal,
    onProgress: (p) =>
      progress(
        "tokenizer",
        p.stage === "count"
          ? `${of}count: ${formatCount(p.texts)} of ${plural(sample.files, "file")}, ${plural(p.pieces, "piece")}`
          : `${of}${p.stage}: ${plural(p.pieces, "piece")}, ${plural(p.merges, "merge")}`,
      ),
  });
  const length = config.model.max_position_embeddings;
  const tokenizerConfig = trainedTokenizerConfig(typeof length === "number" ? length : 2048);
  const tokenizer = loadTokenizer(json, tokenizerConfig);
  await makeFolder(join(out, "tokenizer"));
  await writeJson(join(out, "tokenizer", "tokenizer.json"), json);
  await writeJson(join(out, "tokenizer", "tokenizer_config.json"), tokenizerConfig);

  const encoder = dataTokenizer(tokenizer);
  const build = async (name: string, files: TextStream, fimRate: number) => {
    const encoded = encodeCorpus(files, encoder, { fim: { rate: fimRate, seed } });
    const index = await buildDataset(join(out, "data", name), encoded, {
      vocabSize: tokenizer.vocabSize,
      eosId: encoder.eosId,
      signal,
      onProgress: (p) => {
        const skipped = texts.skipped > 0 ? `, ${plural(texts.skipped, "changed file")} skipped` : "";
        progress(
          "tokens",
          `${name}: ${formatCount(p.documents)} of ${plural(files.files, "document")}, ${plural(p.tokens, "token")}${skipped}`,
        );
      },
    });
    if (index.documents === 0) {
      throw new FormatError("all files changed or vanished after they were selected", {
        where: folder,
        name,
        expected: `${files.files} files`,
        found: 0,
        hint: "Try again when no other program writes to the folder.",
      });
    }
    return index;
  };
  const trained = await build("train", train, data.fimRate);
  const held = await build("held-out", heldOut, 0);
  const { sequenceLength, batch } = config.training;
  if (trained.tokens <= sequenceLength || held.tokens < 2) {
    throw new ConfigError("too little text for one sequence", {
      where: folder,
      name: "training.sequenceLength",
      expected: `more than ${sequenceLength} tokens for training and 2 held out`,
      found: `${trained.tokens} and ${held.tokens}`,
      hint: "Use more text, or a shorter sequence.",
    });
  }
  const sequences = Math.floor((trained.tokens - 1) / sequenceLength);
  if (batch.size > sequences) {
    throw new ConfigError("a batch would hold the same text several times", {
      where: folder,
      name: "training.batch.size",
      expected: `at most ${sequences}: so many sequences of ${sequenceLength} tokens are in ${trained.tokens} tokens`,
      found: batch.size,
      hint: "Use a smaller batch, more text, or a shorter sequence.",
    });
  }
  await writeJson(join(out, "run.json"), { folder, ...config });
  return {
    vocabSize: tokenizer.vocabSize,
    trainTokens: trained.tokens,
    heldOutTokens: held.tokens,
    skipped: texts.skipped,
  };
}

async function* textsOf(files: Corpus): AsyncGenerator<string> {
  for await (const { text } of files) yield text;
}
