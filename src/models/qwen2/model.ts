/** Qwen2 (arXiv 2407.10671), into which R1 was distilled: Llama blocks with biases on queries, keys and values. */
import type { Architecture } from "../language-config.ts";
import { parse, write } from "./config.ts";

export const qwen2: Architecture = { modelType: "qwen2", className: "Qwen2ForCausalLM", parse, write };
