/** DeepSeek LLM (arXiv 2401.02954) and DeepSeek-Coder: dense Llama blocks with multi-head or grouped attention. */
import type { Architecture } from "../language-config.ts";
import { parse, write } from "./config.ts";

export const llama: Architecture = { modelType: "llama", className: "LlamaForCausalLM", parse, write };
