/** Scaling laws: ladders of models by FLOPs a token, fits with intervals, and statistics over seeds. */

export type { Interval } from "../statistics/sample.ts";
export { studentQuantile, studentTwoSided } from "../statistics/student.ts";
export { type Bootstrap, type BootstrapOptions, bootstrapIsoflop } from "./bootstrap.ts";
export { type FitOptions, fitProfiles, type ProfilesFit } from "./fit-profiles.ts";
export { denseFlopsPerToken, type ModelMeasures, measureModel } from "./flops.ts";
export {
  fitHyperparameters,
  type Grid,
  type GridFit,
  type GridRun,
  type HyperparameterFit,
  NEAR_OPTIMAL,
  PUBLISHED,
} from "./hyperparameters.ts";
export {
  type AllocationLaws,
  type BudgetFit,
  fitAllocation,
  fitProfile,
  type IsoflopProfile,
  type IsoflopRun,
  type Optimum,
  optimaOf,
} from "./isoflop.ts";
export { type DenseShape, denseModel, type LadderOptions, ladder } from "./ladder.ts";
export {
  fitLine,
  fitParabola,
  fitPowerLaw,
  type Line,
  type Parabola,
  type PowerLaw,
  powerLawAt,
  type Verdict,
} from "./least-squares.ts";
export { fitLossLaw, type LossLaw, lossAt } from "./loss-law.ts";
export { bitsPerByte, meanInterval, type PairedDifference, pairedDifference } from "./statistics.ts";
export { fitSurface, type Surface, type SurfaceRun, surfaceOptimum } from "./surface.ts";
