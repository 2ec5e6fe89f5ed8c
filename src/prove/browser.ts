/** What of proving runs in a page too: prompts, texts, formats, search, rounds of the pipeline, Lean in a worker. */
export { passAtK } from "../train/policy/pass-at-k.ts";
export type { BenchmarkResult, BenchmarkScore, FamilyScore, Measure } from "./benchmark/score.ts";
export * from "./corpus/index.ts";
export { EngineGenerator, type EngineGeneratorOptions } from "./engine-generator.ts";
export {
  type Benchmark,
  type BenchmarkProblem,
  benchmarkTask,
  promptStatement,
  readBenchmark,
  writeBenchmark,
} from "./formats/benchmark.ts";
export type { LineColumn, ReadLimits } from "./formats/fields.ts";
export {
  type DojoPosition,
  type DojoPremise,
  type DojoTactic,
  type DojoTheorem,
  readDojo,
  tracedTactics,
  writeDojo,
} from "./formats/leandojo.ts";
export { fencedCode } from "./formats/model-answers.ts";
export {
  type KiminaRequest,
  type KiminaResult,
  type KiminaSnippet,
  type KiminaStatus,
  kiminaResult,
  kiminaStatus,
  type ReplResponse,
  readKiminaRequest,
  replResponse,
  splitKiminaHeader,
} from "./formats/repl.ts";
export {
  type BrokenAnswer,
  readVerifierAnswer,
  type VerifierAnswer,
  type VerifierMessage,
  verifierAnswer,
} from "./formats/verifier-answer.ts";
export { LeanError } from "./lean/lean-error.ts";
export { type LeanFile, readLeanFile } from "./lean/lean-file.ts";
export type { FetchOptions as PageFetchOptions, PageProgress } from "./lean/page/files.ts";
export { openPageLean, type PageLeanOptions } from "./lean/page/open.ts";
export { type ProofLine, readProofLines } from "./lean/proof-lines.ts";
export type * from "./lean/session.ts";
export { DETERMINISTIC } from "./lean/session.ts";
export type { PoolOptions } from "./lean/wasm/pool.ts";
export {
  type FilterQuality,
  type Funnel,
  type FunnelLine,
  funnelOf,
  funnelText,
  type Truth,
} from "./pipeline/funnel.ts";
export { type RoundEvent, type RoundOptions, type RoundParts, runRound } from "./pipeline/round.ts";
export type { Sampling } from "./pipeline/sides.ts";
export type { Outcome as StageOutcome, StageVerdict } from "./pipeline/stages.ts";
export { type Attempt, attemptSeed, type GenerationEnd, type Outcome } from "./search/attempt.ts";
export type { GeneratedText, TextGenerator, TextOptions } from "./search/generator.ts";
export type { Lease, Progress, ProofPlace, SearchPolicy, SearchSegment } from "./search/policy.ts";
export {
  type ProofTask,
  type SearchCost,
  type SearchEvent,
  type SearchTools,
  search,
} from "./search/search.ts";
export { searchIdentity } from "./search/search-identity.ts";
export type { SearchKind, SearchOptions } from "./search/search-options.ts";
export { type Arm, ProofTree, type TreeNode, type TreeStep } from "./search/tree.ts";
export type { TreeJson } from "./search/tree-json.ts";
export type { TreeOptions } from "./search/tree-options.ts";
export {
  findContradiction,
  findContradictions,
  type VacuityFinding,
  type VacuityOptions,
} from "./search/vacuity.ts";
export type {
  PipelineProof,
  PipelineRows,
  ProblemRow as StoredProblem,
  StatementRow,
  VerdictRow,
} from "./store/pipeline-rows.ts";
export type { NewProof } from "./store/proof.ts";
export { canonicalForm, canonicalHash, templateKey } from "./text/canonical.ts";
export {
  formalizedStatement,
  formalizePrompt,
  GRADES,
  type Grade,
  type GradedStatement,
  type GradingPromptOptions,
  gradeOf,
  gradingAnswer,
  gradingPrompt,
  KEPT_GRADES,
} from "./text/formalize.ts";
export { TextPositions } from "./text/positions.ts";
export { leanProblem, withSorry } from "./text/problem.ts";
export {
  answerOf,
  type PromptOptions,
  type PromptProblem,
  type PromptStyle,
  type ProofMode,
  proofMode,
  proofPrompt,
  proofText,
  resumePrompt,
  type Shot,
  shotText,
} from "./text/prompts.ts";
export { type Segment, type SegmentOptions, type SegmentRule, segment } from "./text/segments.ts";
export {
  type Declaration,
  declarationsOf,
  fillSorries,
  findSorries,
  indentProof,
  type Sorry,
} from "./text/sorries.ts";
export { falseGoal, type NegationForm, negate, parseStatement, type Statement } from "./text/statements.ts";
export { NO_GOALS, normalizeState, stateComment, stateText } from "./text/states.ts";
export { type CheckedProof, keptEnd } from "./text/truncate.ts";
export {
  type CutProof,
  exampleLesson,
  type LessonEncoding,
  PROOF_FORMS,
  type ProofExample,
  type ProofExampleOptions,
  type ProofForm,
  proofExamples,
} from "./train/forms.ts";
export { proofReward, rowTask } from "./train/proof-reward.ts";
