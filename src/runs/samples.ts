/**
 * `samples.jsonl` of a run on text: how its model goes on from a beginning that held-out text has, once for each evaluation. The same
 * weights write the same text; nothing of the training depends on it.
 */
import { join } from "node:path";
import { completeText } from "../engine/text.ts";
import type { CausalLM } from "../models/causal-lm.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { exampleTexts } from "./example-texts.ts";
import { MetricsLog } from "./metrics-log.ts";

export const SAMPLES_FILE = "samples.jsonl";
const MOST_TOKENS = 64;
/** Characters of a beginning, and of what is written. */
const MOST_PROMPT = 200;
const MOST_TEXT = 2000;
const SAMPLING = { temperature: 0.6, topP: 0.95, seed: 1 } as const;

export class RunSamples {
  readonly #folder: string;
  readonly #log: MetricsLog;
  #prompt: Promise<string> | null = null;

  /** @param folder of the run, prepared */
  constructor(folder: string) {
    this.#folder = folder;
    this.#log = new MetricsLog(join(folder, SAMPLES_FILE));
  }

  /** Drops what was written after a step: it will be written again. Returns a sentence about damage, or null. */
  trim(step: number): Promise<string | null> {
    return this.#log.trim(step);
  }

  /** Writes a sample of the model as it is after a step; nothing for a model too short for its beginning. */
  async write(step: number, model: CausalLM, tokenizer: Tokenizer): Promise<void> {
    this.#prompt ??= exampleTexts(this.#folder).then(({ prompt }) => (prompt ?? "").slice(0, MOST_PROMPT));
    const prompt = await this.#prompt;
    // With the token that may open it.
    const room = model.config.maxPositions - tokenizer.encode(prompt).length - 1;
    if (room < 1) return;
    let text = "";
    for await (const piece of completeText(model, tokenizer, prompt, {
      ...SAMPLING,
      maxTokens: Math.min(MOST_TOKENS, room),
      parseSpecial: false,
    })) {
      text += piece.text;
    }
    await this.#log.append({ kind: "sample", step, prompt, text: text.slice(0, MOST_TEXT) });
  }
}
