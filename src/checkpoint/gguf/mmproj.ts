/**
 * What Janus sees with as a GGUF file of its own, which llama.cpp reads beside that of the language model (`--mmproj`): tower and
 * aligner under the names of its `clip` files, with the projector type `janus_pro`. Drawing has no place there. llama.cpp
 * computes the tower's GELU by the formula with tanh, the originals by the error function.
 */
import type { VisionLanguageConfig } from "../../models/vision-config.ts";
import { type NamedShape, RenamedSource, type Renaming } from "../../nn/renamed-source.ts";
import type { WeightSource } from "../../nn/weight-source.ts";
import { ConfigError } from "../../tensor/errors.ts";
import type { SiglipConfig } from "../../vision/tower-config.ts";
import type { ByteSink } from "../byte-source.ts";
import { encoded, FILE_TYPES, inOrder } from "./encode.ts";
import { EXPORT_MARK, type ExportProgress } from "./export.ts";
import type { WritableType } from "./quantize.ts";
import { bool, f32, type GgufMetadata, type GgufValue, ggmlTypes, text, u32 } from "./types.ts";
import { type GgufEntry, ggufEntryBytes, writeGguf } from "./writer.ts";

export interface MmprojModel {
  /** Tower and aligner under official names, among others. */
  readonly weights: WeightSource;
  readonly config: VisionLanguageConfig;
  /** Subtracted from values in [0, 1], then divided by; one for each channel. */
  readonly mean: readonly number[];
  readonly std: readonly number[];
  /** `general.name`. */
  readonly name?: string;
}

export interface MmprojOptions {
  /** Storage of matrices. Rows that are not a multiple of 32 are stored as F16 if this is Q8_0 or Q4_0. */
  readonly type: WritableType;
  readonly onProgress?: (progress: ExportProgress) => void;
}

const TOWER = "vision_model.vision_tower";
/** Layers of the projector that llama.cpp computes. */
const ALIGNER_LAYERS = 2;
const EPSILON = 1e-6;

function refuse(name: string, expected: unknown, found: unknown, hint?: string): never {
  throw new ConfigError("llama.cpp has no projector for the model", {
    ...{ where: "exportMmproj", name, expected, found, hint },
  });
}

/** The tower of a model that llama.cpp sees with. @throws ConfigError */
function towerOf({ modelType, tower, projector, generation }: VisionLanguageConfig): SiglipConfig {
  if (generation?.kind !== "codes" || tower.kind !== "siglip") {
    const hint = "Its language part alone can be written: convert MODEL language.gguf --part language.";
    return refuse("model_type", "Janus or Janus-Pro", modelType, hint);
  }
  if (projector.kind !== "mlp_gelu") refuse("aligner_config", "mlp_gelu", projector.kind);
  else if (projector.depth !== ALIGNER_LAYERS) {
    refuse("aligner_config.depth", ALIGNER_LAYERS, projector.depth);
  }
  return tower;
}

/** How official tensors become those of the file; queries, keys and values, one tensor there, are three here. */
function renamings(
  { layers, width, mlpWidth, patchSize, imageSize }: SiglipConfig,
  hidden: number,
): Renaming[] {
  const both = (from: string, to: string, rows: number, columns: number | null): Renaming[] => {
    const pair = (what: string, shape: readonly number[]): Renaming => ({
      from: [{ name: `${from}.${what}`, shape }],
      to: [{ name: `${to}.${what}`, shape }],
    });
    // Norms have no columns.
    return [pair("weight", columns === null ? [rows] : [rows, columns]), pair("bias", [rows])];
  };
  const thirds = (block: number, what: string, rest: readonly number[]): Renaming => ({
    from: [{ name: `${TOWER}.blocks.${block}.attn.qkv.${what}`, shape: [3 * width, ...rest] }],
    to: ["q", "k", "v"].map((each): NamedShape => {
      return { name: `v.blk.${block}.attn_${each}.${what}`, shape: [width, ...rest] };
    }),
  });
  const positions = Math.floor(imageSize / patchSize) ** 2;
  const patch = [width, 3, patchSize, patchSize];
  const all: Renaming[] = [
    {
      from: [{ name: `${TOWER}.patch_embed.proj.weight`, shape: patch }],
      to: [{ name: "v.patch_embd.weight", shape: patch }],
    },
    {
      from: [{ name: `${TOWER}.patch_embed.proj.bias`, shape: [width] }],
      to: [{ name: "v.patch_embd.bias", shape: [width] }],
    },
    {
      from: [{ name: `${TOWER}.pos_embed`, shape: [1, positions, width] }],
      to: [{ name: "v.position_embd.weight", shape: [positions, width] }],
    },
    ...both(`${TOWER}.norm`, "v.post_ln", width, null),
  ];
  for (let i = 0; i < layers; i++) {
    const [from, to] = [`${TOWER}.blocks.${i}`, `v.blk.${i}`];
    all.push(
      ...both(`${from}.norm1`, `${to}.ln1`, width, null),
      ...both(`${from}.norm2`, `${to}.ln2`, width, null),
      thirds(i, "weight", [width]),
      thirds(i, "bias", []),
      ...both(`${from}.attn.proj`, `${to}.attn_out`, width, width),
      ...both(`${from}.mlp.fc1`, `${to}.ffn_up`, mlpWidth, width),
      ...both(`${from}.mlp.fc2`, `${to}.ffn_down`, width, mlpWidth),
    );
  }
  // In the reference's sequence GELUs count.
  for (let layer = 0; layer < ALIGNER_LAYERS; layer++) {
    all.push(...both(`aligner.layers.${2 * layer}`, `mm.${layer}`, hidden, layer === 0 ? width : hidden));
  }
  return all;
}

const f32s = (values: readonly number[]): GgufValue => ({
  ...{ type: "array", of: "f32", items: Float32Array.from(values) },
});

function metadataOf(
  { config, mean, std, name }: MmprojModel,
  tower: SiglipConfig,
  type: WritableType,
): GgufMetadata {
  const vision = (key: string, value: GgufValue) => [`clip.vision.${key}`, value] as const;
  return new Map<string, GgufValue>([
    ["general.architecture", text("clip")],
    ["general.type", text("mmproj")],
    ["general.name", text(name ?? config.modelType)],
    ["general.file_type", u32(FILE_TYPES[type])],
    ...(ggmlTypes[type].values > 1 ? ([["general.quantization_version", u32(2)]] as const) : []),
    [EXPORT_MARK, u32(1)],
    ["clip.has_vision_encoder", bool(true)],
    ["clip.projector_type", text("janus_pro")],
    ["clip.use_gelu", bool(true)],
    vision("image_size", u32(tower.imageSize)),
    vision("patch_size", u32(tower.patchSize)),
    vision("embedding_length", u32(tower.width)),
    vision("feed_forward_length", u32(tower.mlpWidth)),
    vision("block_count", u32(tower.layers)),
    vision("attention.head_count", u32(tower.heads)),
    vision("attention.layer_norm_epsilon", f32(EPSILON)),
    vision("projection_dim", u32(config.language.hiddenSize)),
    vision("image_mean", f32s(mean)),
    vision("image_std", f32s(std)),
  ]);
}

/** Convolutions, positions and vectors keep floats. */
function typeOf(name: string, shape: readonly number[], type: WritableType): WritableType {
  if (shape.length === 1 || name === "v.position_embd.weight") return "F32";
  // llama.cpp convolves with f16 and f32 alone.
  if (name === "v.patch_embd.weight") return type === "F32" ? "F32" : "F16";
  return shape[1] % ggmlTypes[type].values === 0 ? type : "F16";
}

/**
 * Writes tower and aligner as one GGUF file and commits the sink; on any error aborts it. Returns the file's size in bytes.
 * @throws ConfigError for a model that llama.cpp does not see with, FormatError for missing tensors and values that the type
 * cannot hold, ShapeError for tensors of other sizes
 */
export async function exportMmproj(
  sink: ByteSink,
  model: MmprojModel,
  { type, onProgress }: MmprojOptions,
): Promise<number> {
  let tensors: GgufEntry[];
  let metadata: GgufMetadata;
  try {
    const tower = towerOf(model.config);
    metadata = metadataOf(model, tower, type);
    const all = renamings(tower, model.config.language.hiddenSize);
    const source = new RenamedSource(model.weights, all);
    source.check();
    const planned = all
      .flatMap(({ to }) => to)
      .map(({ name, shape }) => ({ name, shape, type: typeOf(name, shape, type) }));
    const total = planned.reduce((sum, entry) => sum + ggufEntryBytes(entry), 0);
    let written = 0;
    tensors = planned.map((entry) => ({
      ...entry,
      async *data() {
        for await (const piece of encoded(inOrder(source, entry.name), entry.type, entry.name)) {
          yield piece;
          written += piece.length;
          onProgress?.({ tensor: entry.name, written, total });
        }
      },
    }));
  } catch (error) {
    await sink.abort();
    throw error;
  }
  return writeGguf(sink, { metadata, tensors });
}
