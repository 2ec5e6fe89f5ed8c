/**
 * Names of tensors in GGUF files of the architectures llama, qwen2, deepseek and deepseek2 against the official ones, and
 * the order of rotary rows: llama.cpp pairs adjacent rows for all but qwen2, so its converter interleaves the halves of
 * query and key heads of llama and deepseek (gguf.md section 2).
 */
import type { PartSpec } from "../../nn/parameter-group.ts";

/** What the tensors of a layer are called: after `model.layers.{i}.` without experts' numbers, and after `blk.{i}.`. */
const layerNames: Readonly<Record<string, string>> = {
  "input_layernorm.weight": "attn_norm.weight",
  "post_attention_layernorm.weight": "ffn_norm.weight",
  "self_attn.q_proj.weight": "attn_q.weight",
  "self_attn.k_proj.weight": "attn_k.weight",
  "self_attn.v_proj.weight": "attn_v.weight",
  "self_attn.o_proj.weight": "attn_output.weight",
  "self_attn.q_proj.bias": "attn_q.bias",
  "self_attn.k_proj.bias": "attn_k.bias",
  "self_attn.v_proj.bias": "attn_v.bias",
  "self_attn.q_a_proj.weight": "attn_q_a.weight",
  "self_attn.q_a_layernorm.weight": "attn_q_a_norm.weight",
  "self_attn.q_b_proj.weight": "attn_q_b.weight",
  "self_attn.kv_a_proj_with_mqa.weight": "attn_kv_a_mqa.weight",
  "self_attn.kv_a_layernorm.weight": "attn_kv_a_norm.weight",
  "self_attn.kv_b_proj.weight": "attn_kv_b.weight",
  "self_attn.k_b_proj.weight": "attn_k_b.weight",
  "self_attn.v_b_proj.weight": "attn_v_b.weight",
  "mlp.gate_proj.weight": "ffn_gate.weight",
  "mlp.up_proj.weight": "ffn_up.weight",
  "mlp.down_proj.weight": "ffn_down.weight",
  "mlp.experts.gate_proj.weight": "ffn_gate_exps.weight",
  "mlp.experts.up_proj.weight": "ffn_up_exps.weight",
  "mlp.experts.down_proj.weight": "ffn_down_exps.weight",
  "mlp.gate.weight": "ffn_gate_inp.weight",
  "mlp.gate.e_score_correction_bias": "exp_probs_b.bias",
  "mlp.shared_experts.gate_proj.weight": "ffn_gate_shexp.weight",
  "mlp.shared_experts.up_proj.weight": "ffn_up_shexp.weight",
  "mlp.shared_experts.down_proj.weight": "ffn_down_shexp.weight",
};

const globalNames: Readonly<Record<string, string>> = {
  "model.embed_tokens.weight": "token_embd.weight",
  "model.norm.weight": "output_norm.weight",
  "lm_head.weight": "output.weight",
};

/** What llama.cpp divides the rotary frequencies by, `[dim / 2]`. */
export const ROPE_FACTORS = "rope_freqs.weight";

/** What files call gate and up of all experts if they hold them as one tensor. */
const MERGED = "ffn_gate_up_exps.weight";

/** The GGUF tensor that holds an official one; of experts the stack of all. Null if GGUF has no place for it. */
export function ggufName({ name, expert }: Pick<PartSpec, "name" | "expert">): string | null {
  if (Object.hasOwn(globalNames, name)) return globalNames[name];
  const [, layer, rest] = /^model\.layers\.(\d+)\.(.*)$/.exec(name) ?? [];
  if (layer === undefined) return null;
  const key = expert === undefined ? rest : rest.replace(`.experts.${expert}.`, ".experts.");
  return Object.hasOwn(layerNames, key) ? `blk.${layer}.${layerNames[key]}` : null;
}

/** The tensor in which newer files hold gate and up of all experts, if `tensor` is one of these; else null. */
export function mergedExperts(tensor: string): { readonly name: string; readonly half: 0 | 1 } | null {
  const [, block, which] = /^(blk\.\d+\.)ffn_(gate|up)_exps\.weight$/.exec(tensor) ?? [];
  return block === undefined ? null : { name: block + MERGED, half: which === "gate" ? 0 : 1 };
}

/**
 * Rows of a head whose halves files of `architecture` interleave in an official tensor, else 0. llama.cpp pairs
 * adjacent rows in all architectures but qwen2.
 */
export function interleavedRows(architecture: string, { rotaryRows = 0 }: PartSpec): number {
  return architecture === "llama" || architecture === "deepseek" ? rotaryRows : 0;
}

/**
 * Reorders the rows of whole heads: `to` "gguf" puts row j of the first half at 2j and row j of the second at 2j + 1,
 * "official" undoes it. `data` holds rows of `width` elements; heads are of `headRows` rows.
 */
export function reorderHeads<T extends Uint8Array | Float32Array>(
  data: T,
  width: number,
  headRows: number,
  to: "gguf" | "official",
): T {
  const out = (data instanceof Float32Array ? new Float32Array(data) : new Uint8Array(data)) as T;
  const half = headRows / 2;
  for (let head = 0; head * width < data.length; head += headRows) {
    for (let j = 0; j < headRows; j++) {
      const paired = j < half ? 2 * j : 2 * (j - half) + 1;
      const [from, at] = to === "gguf" ? [j, paired] : [paired, j];
      const start = (head + from) * width;
      out.set(data.subarray(start, start + width), (head + at) * width);
    }
  }
  return out;
}
