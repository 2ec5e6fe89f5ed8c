/** The procedural corpus `corelean` for Lean without libraries: statements with proofs, informal problems, baselines, tracks. */

export {
  type BaselineName,
  type BaselineProblem,
  type BaselineProofs,
  baselineProofs,
  deniedTactic,
  type Track,
} from "./automation.ts";
export { automated, type BaselineOptions, type BaselineResult, runBaselines } from "./automation-run.ts";
export { type BenchmarkRow, benchmarkRow, benchmarkText } from "./benchmark.ts";
export { CORPUS_FAMILIES } from "./families.ts";
export type { Level as CorpusLevel } from "./family.ts";
export { type Defect, HiddenTruth, type ProblemTruth } from "./hidden.ts";
export { type InformalProblem, type ProblemRow, problemRow } from "./problems.ts";
export { CORPUS_HEADER, type CorpusItem, type CorpusOptions, corpusItem } from "./sample.ts";
export { type CorpusSplit, type Novelty, type Place, placeOf } from "./split.ts";
export { PROVER_VOCABULARY, proverTexts, trainProverTokenizer } from "./vocabulary.ts";
