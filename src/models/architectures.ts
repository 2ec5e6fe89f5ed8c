/** The list of supported `model_type`s: adding a model adds its folder and a line here. */

import { deepseek } from "./deepseek/model.ts";
import { deepseekV2 } from "./deepseek_v2/model.ts";
import { deepseekV3 } from "./deepseek_v3/model.ts";
import type { Architecture } from "./language-config.ts";
import { llama } from "./llama/model.ts";
import { moeBaseline } from "./moe_baseline/model.ts";
import { qwen2 } from "./qwen2/model.ts";

export const architectures: readonly Architecture[] = [
  llama,
  qwen2,
  deepseek,
  deepseekV2,
  deepseekV3,
  moeBaseline,
];
