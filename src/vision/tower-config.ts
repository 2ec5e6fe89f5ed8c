/** Sizes of the vision towers and projectors, as modules are built from them; `models/` reads them from `config.json`. */
import type { Activation } from "../tensor/ops/gelu.ts";
import type { PerChannel } from "./pixels.ts";

/** A SigLIP tower in timm's layout (`siglip.ts`). */
export interface SiglipConfig {
  readonly kind: "siglip";
  /** Side of its images, and of a patch; what remains at the right and bottom is not read. In pixels. */
  readonly imageSize: number;
  readonly patchSize: number;
  readonly width: number;
  /** Blocks that run. */
  readonly layers: number;
  readonly heads: number;
  /** Inner width of the feed-forward layers. */
  readonly mlpWidth: number;
  readonly activation: Activation;
  /** Whether there is an attention pool after the tower, which no DeepSeek model runs. */
  readonly pool: boolean;
}

/** SAM's image encoder as DeepSeek-VL ends it (`sam.ts`). */
export interface SamConfig {
  readonly imageSize: number;
  readonly patchSize: number;
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  readonly mlpWidth: number;
  /** Side of a window of attention, in patches. */
  readonly windowSize: number;
  /** Blocks whose attention sees the whole image; the first of them feeds the detail branch. */
  readonly globalLayers: readonly number[];
  /** Channels of the neck, and of the two convolutions that halve the grid. */
  readonly neckWidth: number;
  /** Side that the neck's grid is resized to before it is halved twice: released models have 96. */
  readonly resizedSide: number;
  readonly outputWidths: readonly [number, number];
}

/** Subtracted from values in [0, 1], then divided by. */
export interface MeanAndStd {
  readonly mean: PerChannel;
  readonly std: PerChannel;
}

/** SAM on the whole image beside SigLIP on a small one (`hybrid.ts`). */
export interface HybridConfig {
  readonly kind: "hybrid";
  readonly high: SamConfig;
  readonly highPixels: MeanAndStd;
  readonly low: SiglipConfig;
  readonly lowPixels: MeanAndStd;
  /** Whether there is a layer norm after each tower, which the model does not run. */
  readonly norms: boolean;
}

export type TowerConfig = SiglipConfig | HybridConfig;

/** What stands between a tower and the language model (`projector.ts`). */
export type ProjectorConfig =
  | { readonly kind: "identity"; readonly inputs: number; readonly outputs: number }
  | ({ readonly kind: "linear" | "mlp_gelu"; readonly inputs: number; readonly outputs: number } & {
      /** Linear layers; 1 for `linear`. */
      readonly depth: number;
      /** Whether four neighboring tokens are joined to one before. */
      readonly pooled: boolean;
      /** Whether a linear layer's tensors have no name between the projector's and their own (JanusFlow). */
      readonly bare?: boolean;
    })
  | {
      readonly kind: "downsample_mlp_gelu";
      readonly inputs: number;
      readonly outputs: number;
      readonly depth: number;
      /** Inner width in units of `outputs`. */
      readonly mlpRatio: number;
      /** Tokens along each side that are joined to one. */
      readonly ratio: number;
    }
  | {
      readonly kind: "low_high_hybrid_split_mlp_gelu";
      readonly inputs: number;
      readonly outputs: number;
      readonly depth: number;
    };

/** Side of the grid that released models resize the neck of SAM to. */
export const SAM_RESIZED = 96;

/** Tokens along each side of what SAM gives: two convolutions halve the resized grid. */
export const samSide = ({ resizedSide }: Pick<SamConfig, "resizedSide">): number => resizedSide / 4;

/** Patches along each side. */
export const gridSide = ({ imageSize, patchSize }: { imageSize: number; patchSize: number }): number =>
  Math.floor(imageSize / patchSize);

/** Width of a tower's tokens. */
export const towerWidth = (tower: TowerConfig): number =>
  tower.kind === "siglip" ? tower.width : tower.low.width;

/** Tokens along each side of a view's grid as the tower gives them. */
export const towerSide = (tower: TowerConfig): number =>
  gridSide(tower.kind === "siglip" ? tower : tower.low);

/** Tokens along each side after the projector. */
export function projectedSide(projector: ProjectorConfig, side: number): number {
  if (projector.kind === "downsample_mlp_gelu") return Math.ceil(side / projector.ratio);
  return "pooled" in projector && projector.pooled ? Math.floor(side / 2) : side;
}
