/** What a checkpoint draws with: that of Janus, or that of JanusFlow. */
import type { FileTree } from "../checkpoint/byte-source.ts";
import type { CodeGeneration } from "../models/janus/generation.ts";
import type { FlowGeneration } from "../models/janusflow/generation.ts";
import type { VisionLanguageModel } from "../models/vision-language.ts";
import { ConfigError } from "../tensor/errors.ts";
import type { Device } from "../tensor/tensor.ts";
import { TOKEN } from "../tokenizer/families.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import type { VaeModel } from "../vision/vae.ts";
import type { ProcessorFiles } from "./load-vision.ts";

/** The autoencoder that the released JanusFlow was trained with. */
export const SDXL_VAE = "stabilityai/sdxl-vae";

/** What a model draws with. */
export interface LoadedDrawing {
  /** All of it; its `language` is the loaded `model`. */
  readonly model: VisionLanguageModel;
  /** `codes`: it draws ids of an image tokenizer. `flow`: it moves latents. */
  readonly generation: CodeGeneration | FlowGeneration;
  /** What Janus reads in place of a prompt to draw without one; null if the vocabulary has no such token. */
  readonly padId: number | null;
  /** JanusFlow: the autoencoder that makes images of latents; null where none was found (see `autoencoderOf`), and for Janus. */
  readonly vae: LoadedVae | null;
}

export interface LoadedVae {
  readonly model: VaeModel;
  /** Where its files are. */
  readonly name: string;
}

/** Where an autoencoder is looked for: a folder of its own, or what finds it when it is wanted. */
export type VaeSource = FileTree | (() => Promise<FileTree | null>);

/** Loads the autoencoder for a model; null if none is found. @throws ConfigError for a model that draws without one */
export async function loadedVae(
  { generation }: VisionLanguageModel,
  source: VaeSource,
  device: Device,
): Promise<LoadedVae | null> {
  if (generation?.kind !== "flow") {
    if (typeof source === "function") return null;
    throw new ConfigError("only JanusFlow draws with an autoencoder", {
      where: source.name,
      found: generation === null ? "a model that is opened without what it draws with" : "a model of Janus",
      hint: "Leave it out.",
    });
  }
  const tree = typeof source === "function" ? await source() : source;
  if (tree === null) return null;
  const { loadVae } = await import("../checkpoint/vae.ts");
  return { model: await loadVae(tree, device), name: tree.name };
}

/** The autoencoder of a model that draws by flow. @throws ConfigError with what to do where there is none */
export function autoencoderOf({ vae }: Pick<LoadedDrawing, "vae">): VaeModel {
  if (vae !== null) return vae.model;
  throw new ConfigError("JanusFlow draws with the autoencoder of Stable Diffusion XL, which is not here", {
    where: "draw",
    expected: "a folder vae beside the model, or one that is named",
    hint: `Run \`deepseek-ts download ${SDXL_VAE}\` once; it is found then.`,
  });
}

/** Null for a model without what draws. @param onNotice is told what the files lack, in one line each */
export function drawingOf(
  model: VisionLanguageModel,
  files: Pick<ProcessorFiles, "tokenizer">,
  tokenizer: Tokenizer | null,
  onNotice: (text: string) => void,
  vae: LoadedVae | null,
): LoadedDrawing | null {
  const { generation } = model;
  if (generation === null) return null;
  const padId = tokenizer?.idOf(TOKEN.pad) ?? null;
  if (generation.kind === "codes" && tokenizer !== null) {
    const named = files.tokenizer?.pad_token ?? null;
    if (padId === null) {
      onNotice(`tokenizer.json has no ${TOKEN.pad}: the model draws with guidance 1 only`);
    } else if (named === null) {
      onNotice(`tokenizer_config.json names no pad_token: it is ${TOKEN.pad}, token ${padId}`);
    }
  }
  return { model, generation, padId, vae };
}
