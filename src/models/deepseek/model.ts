/** DeepSeekMoE (arXiv 2401.06066): Llama attention, dense first layers, then fine-grained and shared experts. */
import type { Architecture } from "../language-config.ts";
import { parse, write } from "./config.ts";

export const deepseek: Architecture = {
  modelType: "deepseek",
  className: "DeepseekForCausalLM",
  parse,
  write,
};
