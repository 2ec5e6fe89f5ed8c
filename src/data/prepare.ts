/**
 * The usual pipeline in one call: texts in, duplicates out, a held-out part set aside by file, the training part
 * in repository order. Holds all texts in memory; `prepare-stream.ts` does the same for corpora of any size.
 */

import { type Corpus, collect, type TextFile } from "./corpus.ts";
import { type DedupeOptions, type DedupeReport, Deduplicator, dedupe } from "./dedupe.ts";
import { type RepositoryOptions, repositoryDocuments } from "./repository-order.ts";
import { type SplitOptions, splitFiles } from "./split.ts";

export interface PrepareOptions {
  /** False keeps duplicates. */
  readonly dedupe?: DedupeOptions | false;
  readonly split?: SplitOptions;
  /** Repository order of the training part; false keeps the corpus' order. */
  readonly repository?: RepositoryOptions | false;
}

export interface PreparedCorpus {
  readonly train: TextFile[];
  readonly heldOut: TextFile[];
  /** Counts of the removal of duplicates; all 0 if it was switched off. */
  readonly dedupe: DedupeReport;
}

/** Removes duplicates, splits by file, then orders the training files by their imports. */
export async function prepareCorpus(corpus: Corpus, options: PrepareOptions = {}): Promise<PreparedCorpus> {
  const deduplicator = new Deduplicator(options.dedupe || {});
  const unique = options.dedupe === false ? corpus : dedupe(corpus, deduplicator);
  const { train, heldOut } = splitFiles(await collect(unique), options.split);
  return {
    train: options.repository === false ? train : repositoryDocuments(train, options.repository),
    heldOut,
    dedupe: deduplicator.report,
  };
}
