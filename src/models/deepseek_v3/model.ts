/** DeepSeek-V3 (arXiv 2412.19437): latent attention, loss-free balanced experts, multi-token prediction. */
import type { Architecture } from "../language-config.ts";
import { parse, write } from "./config.ts";

export const deepseekV3: Architecture = {
  modelType: "deepseek_v3",
  className: "DeepseekV3ForCausalLM",
  parse,
  write,
};
