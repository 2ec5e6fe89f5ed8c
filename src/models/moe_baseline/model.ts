/**
 * Research models: the mixtures of experts that DeepSeekMoE was compared with (arXiv 2401.06066 section 4), whole
 * language models with Llama's attention in which every feed-forward layer is replaced. Nobody has released any.
 */
import type { Architecture } from "../language-config.ts";
import { parse, write } from "./config.ts";

export const moeBaseline: Architecture = {
  modelType: "moe_baseline",
  className: "MoeBaselineForCausalLM",
  parse,
  write,
};
