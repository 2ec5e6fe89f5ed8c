/** DeepSeek-V2 (arXiv 2405.04434) and Coder-V2: latent attention and group-limited or greedy softmax routing. */
import type { Architecture } from "../language-config.ts";
import { parse, write } from "./config.ts";

export const deepseekV2: Architecture = {
  modelType: "deepseek_v2",
  className: "DeepseekV2ForCausalLM",
  parse,
  write,
};
