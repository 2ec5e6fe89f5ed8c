/** Generating text as a job (`src/jobs`): a completion or a middle, over one model or an engine. */
import type { JobContext, JobQueue } from "../jobs/job.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import {
  completeText,
  fillText,
  type TextChunk,
  type TextOptions,
  type TextSource,
  type TextStats,
} from "./text.ts";

/** Options that are plain data; the job's own signal ends the generation. */
export type PlainTextOptions = Omit<TextOptions, "signal" | "cache" | "constraint">;

/** What to write: what follows `prompt`, or what belongs between `prefix` and `suffix`. */
export type TextTask = (
  | { readonly prompt: string | readonly number[] }
  | { readonly prefix: string; readonly suffix: string }
) & { readonly options: PlainTextOptions };

export interface TextResult {
  readonly text: string;
  readonly stats: TextStats;
}

/**
 * Lets `queue` generate text: jobs of the kind `generate` take a `TextTask`, tell every `TextChunk` and give a
 * `TextResult`. A model writes one text at a time, an engine several.
 */
export function processText(queue: JobQueue, source: TextSource, tokenizer: Tokenizer): void {
  const generate = async (task: TextTask, { emit, signal }: JobContext<TextChunk>): Promise<TextResult> => {
    const options = { ...task.options, signal };
    const chunks =
      "prompt" in task
        ? completeText(source, tokenizer, task.prompt, options)
        : fillText(source, tokenizer, task.prefix, task.suffix, options);
    let text = "";
    for (;;) {
      // The signal ends the chunks, which then have freed what they held.
      const next = await chunks.next();
      if (next.done) {
        signal.throwIfAborted();
        return { text, stats: next.value };
      }
      text += next.value.text;
      emit(next.value);
    }
  };
  const concurrency = "maxBatch" in source ? source.maxBatch : 1;
  queue.process("generate", generate, { concurrency });
}
