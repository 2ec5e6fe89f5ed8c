/** The configuration of a model that sees: a tower, a projector and a language model, read by its architecture. */
import type { ProjectorConfig, TowerConfig } from "../vision/tower-config.ts";
import type { UvitDecoderConfig, UvitEncoderConfig } from "../vision/uvit.ts";
import type { VqConfig } from "../vision/vq.ts";
import type { ConfigReader, Json } from "./config-reader.ts";
import type { LanguageConfig, WeightDtype } from "./language-config.ts";

export type VisionModelType =
  | "multi_modality"
  | "deepseek_vl"
  | "deepseek_vl_hybrid"
  | "deepseek_vl_v2"
  | "janus";

/** How the views of an image follow one another in DeepSeek-VL2. */
export interface TilingConfig {
  /** Whether the view of the whole image comes before the tiles. */
  readonly globalFirst: boolean;
  /** Sizes of the tiled view, width first, in pixels. */
  readonly resolutions: readonly (readonly [width: number, height: number])[];
}

/** How Janus draws: the language model predicts ids of an image tokenizer. */
export interface CodeGenerationConfig {
  readonly kind: "codes";
  readonly vq: VqConfig;
  /** Linear layers between the embedding of an id and the language model. */
  readonly alignerDepth: number;
  /** Width inside the head. */
  readonly headWidth: number;
}

/** How JanusFlow draws: the language model predicts velocities of latents. */
export interface FlowGenerationConfig {
  readonly kind: "flow";
  readonly encoder: UvitEncoderConfig;
  readonly decoder: UvitDecoderConfig;
}

export type GenerationConfig = CodeGenerationConfig | FlowGenerationConfig;

export interface VisionLanguageConfig {
  readonly modelType: VisionModelType;
  readonly tower: TowerConfig;
  readonly projector: ProjectorConfig;
  readonly language: LanguageConfig;
  /** Null where each image has one view. */
  readonly tiling: TilingConfig | null;
  /** Null for models that only see. */
  readonly generation: GenerationConfig | null;
  /** Id of the token that stands for an image, where the file says it; else its text is looked up in the vocabulary. */
  readonly imageTokenId: number | null;
}

/** What the parts are called in a checkpoint. */
export interface PartNames {
  readonly tower: string;
  readonly projector: string;
  readonly language: string;
}

/** One `model_type` of models that see. */
export interface VisionArchitecture {
  readonly modelType: VisionModelType;
  /** How its models draw: three systems share a `model_type`. */
  readonly generation: GenerationConfig["kind"] | null;
  /** A section of `config.json` that only this one has. */
  readonly section?: string;
  /** Names that the model declares its parameters by; those of the transformers ports are mapped to them. */
  readonly parts: PartNames;
  parse(reader: ConfigReader): VisionLanguageConfig;
  /** An official-style `config.json`. */
  write(config: VisionLanguageConfig, dtype: WeightDtype): Json;
}
