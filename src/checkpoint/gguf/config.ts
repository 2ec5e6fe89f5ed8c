/**
 * From the metadata of a GGUF file to an official `config.json` (gguf.md section 3), for the architectures llama,
 * qwen2, deepseek and deepseek2. What the file says is taken at its word: without group counts experts are chosen from all,
 * as llama.cpp does, even if the original model groups them. Metadata that would change the result and have no
 * counterpart are refused by name.
 */
import { parseConfig, toConfigJson } from "../../models/config.ts";
import { yarnMscale } from "../../nn/rotary.ts";
import { ConfigError, FormatError } from "../../tensor/errors.ts";
import type { JsonObject } from "../strict-json.ts";
import { ROPE_FACTORS } from "./names.ts";
import type { GgufFile } from "./reader.ts";
import { ropeScalingOf } from "./rope-factors.ts";
import { MetadataReader } from "./types.ts";

export type GgufArchitecture = "llama" | "qwen2" | "deepseek" | "deepseek2";

const architectures: readonly GgufArchitecture[] = ["llama", "qwen2", "deepseek", "deepseek2"];

/** Keys, after the architecture, that would change what is computed, with the value that does not. */
const NEUTRAL: Readonly<Record<string, number>> = {
  "attention.sliding_window": 0,
  "attention.clamp_kqv": 0,
  "attention.max_alibi_bias": 0,
  "attention.scale": 0,
  attn_logit_softcapping: 0,
  final_logit_softcapping: 0,
  logit_scale: 0,
  residual_scale: 0,
  embedding_scale: 0,
  "rope.scaling.yarn_ext_factor": 1,
  "rope.scaling.yarn_attn_factor": 1,
};

/** The architecture of a file. @throws ConfigError for one that is not supported */
export function architectureOf(file: Pick<GgufFile, "name" | "metadata">): GgufArchitecture {
  const reader = new MetadataReader(file.metadata, file.name);
  const name = reader.text("general.architecture");
  if (!architectures.includes(name as GgufArchitecture)) {
    reader.refuse(
      "general.architecture",
      architectures.join(" | "),
      "Other models of llama.cpp are not DeepSeek's",
    );
  }
  return name as GgufArchitecture;
}

/** The keys of one architecture. */
class ArchitectureReader {
  readonly reader: MetadataReader;
  readonly architecture: GgufArchitecture;

  constructor(file: GgufFile) {
    this.architecture = architectureOf(file);
    this.reader = new MetadataReader(file.metadata, file.name);
  }

  #key(key: string): string {
    return `${this.architecture}.${key}`;
  }

  has(key: string): boolean {
    return this.reader.has(this.#key(key));
  }

  /** Where files give a list, one value for each layer, all are equal. */
  integer(key: string, fallback?: number, min = 0): number {
    return this.reader.layerInteger(this.#key(key), fallback, min);
  }

  number(key: string, fallback?: number): number {
    return this.reader.number(this.#key(key), fallback);
  }

  text(key: string, fallback?: string): string {
    return this.reader.text(this.#key(key), fallback);
  }

  boolean(key: string, fallback: boolean): boolean {
    return this.reader.boolean(this.#key(key), fallback);
  }

  refuse(key: string, expected: unknown, hint?: string): never {
    return this.reader.refuse(this.#key(key), expected, hint);
  }

  /** Refuses any number but `value`; missing counts as it. */
  only(key: string, value: number): void {
    if (this.number(key, value) !== value) this.refuse(key, value);
  }
}

/** Product of a stored decimal and another number, without the noise of binary fractions. */
const scaled = (decimal: number, by: number) => Number((decimal * by).toPrecision(12));

function ropeScaling(a: ArchitectureReader, { ropeFactors: factors }: GgufFile): JsonObject | null {
  const old = a.number("rope.scale_linear", 1);
  const type = a.text("rope.scaling.type", old === 1 ? "none" : "linear");
  if (type !== "yarn") a.only("rope.scaling.attn_factor", 1);
  if (factors !== null && a.architecture === "llama") {
    if (type !== "none") a.refuse("rope.scaling.type", `none, beside ${ROPE_FACTORS}`);
    return ropeScalingOf(
      factors,
      a.number("rope.freq_base", 10000),
      a.integer("context_length", undefined, 1),
    );
  }
  if (type === "none") return null;
  const factor = a.number("rope.scaling.factor", a.has("rope.scaling.factor") ? undefined : old);
  if (type === "linear") return { type, factor };
  if (type !== "yarn" || a.architecture === "deepseek") a.refuse("rope.scaling.type", "none | linear | yarn");
  const yarn = {
    type,
    factor,
    original_max_position_embeddings: a.integer("rope.scaling.original_context_length", undefined, 1),
    beta_fast: a.number("rope.scaling.yarn_beta_fast", 32),
    beta_slow: a.number("rope.scaling.yarn_beta_slow", 1),
  };
  if (a.architecture === "llama" || a.architecture === "qwen2") {
    const more = a.number("rope.scaling.attn_factor", 1);
    // llama.cpp multiplies the paper's temperature by it, a config.json gives the product.
    return { ...yarn, ...(more !== 1 && { attention_factor: scaled(yarnMscale(factor, 1), more) }) };
  }
  a.only("rope.scaling.attn_factor", 1);
  // llama.cpp assumes the two factors of YaRN's temperature to be equal; without one, its versions differ.
  const mscale = scaled(a.number("rope.scaling.yarn_log_multiplier", 0), 10);
  if (mscale === 0) a.refuse("rope.scaling.yarn_log_multiplier", "0.1 times mscale_all_dim");
  return { ...yarn, mscale, mscale_all_dim: mscale };
}

function plainAttention(a: ArchitectureReader, hidden: number): JsonObject {
  const heads = a.integer("attention.head_count", undefined, 1);
  const headDim = a.integer("attention.key_length", Math.floor(hidden / heads), 1);
  a.only("attention.value_length", headDim);
  a.only("rope.dimension_count", headDim);
  return {
    num_attention_heads: heads,
    num_key_value_heads: a.integer("attention.head_count_kv", heads, 1),
    ...(headDim * heads !== hidden && { head_dim: headDim }),
  };
}

function latentAttention(a: ArchitectureReader): JsonObject {
  const heads = a.integer("attention.head_count", undefined, 1);
  const latent = a.integer("attention.kv_lora_rank", undefined, 1);
  const rope = a.integer("rope.dimension_count", undefined, 1);
  const absorbed = a.has("attention.key_length_mla") && a.has("attention.value_length_mla");
  const [key, value] = absorbed
    ? ["attention.key_length_mla", "attention.value_length_mla"]
    : ["attention.key_length", "attention.value_length"];
  const width = a.integer(key, undefined, 1);
  if (width <= rope) a.refuse(key, `more than the ${rope} rotated channels`);
  if (absorbed) {
    a.only("attention.key_length", latent + rope);
    a.only("attention.value_length", latent);
  }
  return {
    num_attention_heads: heads,
    num_key_value_heads: heads,
    q_lora_rank: a.integer("attention.q_lora_rank", 0) || null,
    kv_lora_rank: latent,
    qk_nope_head_dim: width - rope,
    qk_rope_head_dim: rope,
    v_head_dim: a.integer(value, undefined, 1),
  };
}

/** Experts of both MoE architectures, without what their routers do. */
function expertCounts(a: ArchitectureReader, experts: number): JsonObject {
  return {
    n_routed_experts: experts,
    num_experts_per_tok: a.integer("expert_used_count", undefined, 1),
    n_shared_experts: a.integer("expert_shared_count", 0) || null,
    moe_intermediate_size: a.integer("expert_feed_forward_length", undefined, 1),
    first_k_dense_replace: a.integer("leading_dense_block_count", 0),
    moe_layer_freq: 1,
  };
}

function expertsV1(a: ArchitectureReader): JsonObject {
  a.only("expert_weights_scale", 1);
  a.only("expert_gating_func", 1);
  if (a.boolean("expert_weights_norm", false)) a.refuse("expert_weights_norm", false);
  return {
    ...expertCounts(a, a.integer("expert_count", undefined, 1)),
    scoring_func: "softmax",
    norm_topk_prob: false,
  };
}

function expertsV2(a: ArchitectureReader, file: GgufFile): JsonObject {
  const experts = a.integer("expert_count", 0);
  if (experts === 0) return { model_type: "deepseek_v2" };
  const counts = expertCounts(a, experts);
  const gating = a.integer("expert_gating_func", 0);
  // Absent or 0 in files from before V3: softmax.
  if (gating > 2) a.refuse("expert_gating_func", "1 (softmax) or 2 (sigmoid)");
  const scoring = gating === 2 ? "sigmoid" : "softmax";
  const bias = file.tensors.has(`blk.${counts.first_k_dense_replace}.exp_probs_b.bias`);
  const groups = a.integer("expert_group_count", 1) || 1;
  const used = a.integer("expert_group_used_count", groups) || groups;
  const common = {
    ...counts,
    scoring_func: scoring,
    norm_topk_prob: a.boolean("expert_weights_norm", false),
    routed_scaling_factor: a.number("expert_weights_scale", 1),
    n_group: groups,
    topk_group: used,
  };
  if (gating === 2 && bias) return { ...common, model_type: "deepseek_v3", topk_method: "noaux_tc" };
  if (groups > 1 && (gating === 2 || bias)) {
    a.refuse("expert_group_count", "1 without the sigmoid router and bias of V3");
  }
  const method = bias ? "noaux_tc" : groups > 1 ? "group_limited_greedy" : "greedy";
  return { ...common, model_type: "deepseek_v2", topk_method: method };
}

/** `rows` are those of the embedding: ids beyond stand for no token, which only BOS and EOS must not. */
function tokenIds(reader: MetadataReader, rows: number): JsonObject {
  const key = (name: string) => `tokenizer.ggml.${name}_token_id`;
  const required = (name: string) => {
    const id = reader.tokenId(key(name));
    if (id !== null && id >= rows) reader.refuse(key(name), `an id below ${rows}`);
    return id;
  };
  const [bos, eos] = [required("bos"), required("eos")];
  const optional = ["eot", "eom"].map((name) => reader.tokenId(key(name)));
  const further = optional.filter((id) => id !== null && id < rows);
  const ends = [...new Set([eos, ...further].filter((id) => id !== null))];
  return { bos_token_id: bos, eos_token_id: ends.length > 1 ? ends : (ends[0] ?? null) };
}

/** Refuses metadata that name more of something than the file has tensors of. @throws FormatError */
function checkCount(a: ArchitectureReader, what: string, key: string, said: number, stored: number): void {
  if (said <= stored) return;
  const plural = stored === 1 ? what : `${what}s`;
  throw new FormatError(`the file has ${stored} ${plural}, its metadata say ${said}`, {
    where: a.reader.where,
    name: `${a.architecture}.${key}`,
  });
}

/** The main layers, no more than there are. */
function layerCount(a: ArchitectureReader, file: GgufFile): number {
  const stored = new Set<string>();
  for (const name of file.tensors.keys()) {
    const block = /^blk\.(\d+)\./.exec(name)?.[1];
    if (block !== undefined) stored.add(block);
  }
  const blocks = a.integer("block_count", undefined, 1);
  checkCount(a, "layer", "block_count", blocks - a.integer("nextn_predict_layers", 0), stored.size);
  return blocks - a.integer("nextn_predict_layers", 0);
}

/** Refuses more experts than the largest stack of them has. */
function checkExperts(a: ArchitectureReader, file: GgufFile): void {
  let stored = 0;
  for (const [name, { ne }] of file.tensors) {
    if (/\.ffn_\w+_exps\.weight$/.test(name)) stored = Math.max(stored, ne[2] ?? 1);
  }
  checkCount(a, "expert", "expert_count", a.integer("expert_count", 0), stored);
}

/** How saved weights of this file are best declared. */
function dtypeOf(file: GgufFile): "float32" | "float16" | "bfloat16" {
  const types = new Set([...file.tensors.values()].filter(({ ne }) => ne.length > 1).map(({ type }) => type));
  if (types.has("BF16")) return "bfloat16";
  return types.has("F16") && !types.has("F32") ? "float16" : "float32";
}

/**
 * The official `config.json` of a GGUF file, complete and accepted by `parseConfig`. @throws ConfigError naming the
 * key that is missing, malformed or without counterpart
 */
export function ggufConfig(file: GgufFile): JsonObject {
  const a = new ArchitectureReader(file);
  for (const [key, value] of Object.entries(NEUTRAL)) a.only(key, value);
  const hidden = a.integer("embedding_length", undefined, 1);
  const rows = file.tensor("token_embd.weight").ne[1] ?? 1;
  const common = {
    vocab_size: rows,
    hidden_size: hidden,
    intermediate_size: a.integer("feed_forward_length", undefined, 1),
    num_hidden_layers: layerCount(a, file),
    max_position_embeddings: a.integer("context_length", undefined, 1),
    rms_norm_eps: a.number("attention.layer_norm_rms_epsilon"),
    rope_theta: a.number("rope.freq_base", 10000),
    rope_scaling: ropeScaling(a, file),
    tie_word_embeddings: !file.tensors.has("output.weight"),
    ...tokenIds(a.reader, rows),
  };
  let own: JsonObject;
  if (a.architecture === "llama") {
    if (a.integer("expert_count", 0) > 0) a.refuse("expert_count", "none: Mixtral is not a DeepSeek model");
    own = { model_type: "llama", ...plainAttention(a, hidden) };
  } else if (a.architecture === "qwen2") {
    own = { model_type: "qwen2", ...plainAttention(a, hidden) };
  } else if (a.architecture === "deepseek") {
    own = { model_type: "deepseek", ...plainAttention(a, hidden), ...expertsV1(a) };
  } else {
    own = { ...latentAttention(a), ...expertsV2(a, file) };
  }
  checkExperts(a, file);
  try {
    return toConfigJson(parseConfig({ ...common, ...own }), dtypeOf(file));
  } catch (cause) {
    if (!(cause instanceof ConfigError)) throw cause;
    const { name, expected, found } = cause.detail;
    throw new ConfigError("the metadata do not describe a model", {
      where: file.name,
      name,
      expected,
      found,
      cause,
    });
  }
}
