/** Lean verifiers, proof search, the pipeline of synthetic data. Node only; `browser.ts` is the part for pages. */

export {
  type BenchmarkEvent,
  type BenchmarkOptions,
  type BenchmarkReport,
  reportText,
  runBenchmark,
  type UnusableRow,
} from "./benchmark/run.ts";
export * from "./browser.ts";
export {
  type FilePlan,
  type FillEvent,
  type FilledUnit,
  type FillOptions,
  type FillResult,
  type FillTools,
  type FillUnit,
  fillFile,
  type TriedText,
  type UnitEnd,
} from "./fill/fill.ts";
export { type KnownTruth, readProblems, type WordProblem } from "./formats/problems.ts";
export { type KiminaLeanOptions, openKimina } from "./lean/kimina.ts";
export { type NativeLeanOptions, openNative } from "./lean/native.ts";
export { leanChoice, type OpenLeanOptions, openLean } from "./lean/open.ts";
export type { PageFile, PageManifest } from "./lean/page/manifest.ts";
export type { KiminaServer } from "./lean/repl/kimina-client.ts";
export type { LeanHost } from "./lean/wasm/node-hosts.ts";
export { openWasmLean, type WasmLeanOptions } from "./lean/wasm/open.ts";
export { type PageFolderOptions, writePageFolder } from "./lean/wasm/page-folder.ts";
export {
  type PreparedLean,
  type PrepareOptions,
  type PrepareProgress,
  preparedLean,
  prepareLean,
} from "./lean/wasm/prepare.ts";
export { FilledFile } from "./prover/filled-file.ts";
export {
  createProver,
  type FillFileOptions,
  type ProveOptions,
  Prover,
  type ProverModel,
  type ProverOptions,
  type ProverParts,
  type ProveSettings,
} from "./prover/prover.ts";
export { defaultProver, type ProverSettings, proverSettings } from "./prover/settings.ts";
export { CheckedLean } from "./store/checked-lean.ts";
export type { Database, Row as StoredRow, StoreOptions, Value as StoredValue } from "./store/database.ts";
export {
  ProofStore,
  type SearchIdentity,
  type SearchStatus,
  type StoredAttempt,
  type StoredProof,
  type StoredSearch,
  type WrittenText,
} from "./store/store.ts";
export {
  SearchMeetingError,
  type StoredSearchOptions,
  storedAttempts,
  storedSearch,
  taskHash,
} from "./store/stored-search.ts";
export type { FineTuneStep, FineTuning } from "./synthesis/fine-tune.ts";
export { type SynthesisEvent, type SynthesisOptions, synthesize } from "./synthesis/synthesize.ts";
export {
  type GenerateJob,
  jobKind,
  type LeanSays,
  type ModelSays,
  type SearchJob,
  type VerifyDone,
  type VerifyJob,
  type WorkerKind,
} from "./workers/jobs.ts";
export { QueuedGenerator } from "./workers/queued-generator.ts";
export { QueuedLean } from "./workers/queued-lean.ts";
export { QueuedProver, queuedTools } from "./workers/queued-prover.ts";
export {
  type SearchQuestion,
  type ServeGenerateOptions,
  serveGenerate,
  serveSearch,
  serveVerify,
} from "./workers/serve.ts";
