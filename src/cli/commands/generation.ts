/** What `complete` and `fill` share: sampling options, streaming to standard output, statistics. */

import type { Command } from "commander";
import type { TextChunk, TextOptions, TextStats } from "../../engine/text.ts";
import { processText, type TextResult, type TextTask } from "../../engine/text-job.ts";
import type { CausalLM } from "../../models/causal-lm.ts";
import { formatPercent, formatRate, plural } from "../../text/units.ts";
import type { Tokenizer } from "../../tokenizer/tokenizer.ts";
import { runJob } from "../job-session.ts";
import { type ModelFlags, withModel } from "./open-model.ts";
import { naturalNumber, numberThat, positiveInteger, positiveNumber, withThreads } from "./options.ts";

export interface GenerationFlags extends ModelFlags {
  readonly maxTokens?: number;
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
  readonly stop: readonly string[];
  readonly seed: number;
  readonly speculative: boolean;
  readonly bos?: boolean;
  readonly stats?: boolean;
  readonly json?: boolean;
  readonly threads?: number;
}

/** Tokens to generate if `--max-tokens` does not say. */
const DEFAULT_TOKENS = 200;

const unescaped = (text: string) =>
  text.replace(/\\([nt\\])/g, (_, c: string) => (c === "n" ? "\n" : c === "t" ? "\t" : "\\"));

/** Adds the options of generation to a command. */
export function withGeneration(command: Command): Command {
  command
    .option(
      "--max-tokens <n>",
      `maximum number of tokens to generate (default: ${DEFAULT_TOKENS}, or up to the context limit)`,
      positiveInteger,
    )
    .option(
      "--temperature <t>",
      "sampling temperature; 0 is greedy",
      numberThat("0 or more", (n) => n >= 0),
      0,
    )
    .option(
      "--top-p <p>",
      "nucleus sampling: keep the most likely tokens up to this total probability",
      positiveNumber,
      1,
    )
    .option("--top-k <k>", "keep only the k most likely tokens; 0 keeps all", naturalNumber, 0)
    .option(
      "--min-p <p>",
      "drop tokens below this fraction of the highest probability",
      numberThat("0 to 1", (n) => n >= 0 && n <= 1),
      0,
    )
    .option(
      "--repetition-penalty <r>",
      "above 1: makes tokens less likely that already occur",
      positiveNumber,
      1,
    )
    .option(
      "--stop <text>",
      "stop before this text (\\n and \\t are escapes); may be repeated",
      (text: string, all: string[]) => [...all, unescaped(text)],
      [] as string[],
    )
    .option("--seed <n>", "sampling seed; the same seed gives the same text", naturalNumber, 0)
    .option("--speculative", "speculative decoding with the model's multi-token-prediction module")
    .option("--no-speculative", "decode one token at a time (default)")
    .option("--bos", "start with the beginning-of-text token (default: as the tokenizer is configured)")
    .option("--no-bos", "start without it")
    .option("--stats", "print token counts and speeds to standard error")
    .option("--json", "print one JSON object (text, stopReason, stats) at the end instead of the text");
  command.setOptionValueWithSource("speculative", false, "default");
  command.setOptionValueWithSource("bos", undefined, "default");
  return withThreads(withModel(command));
}

/** The flags as options of generation; the token limit is fitted to the context unless it was given. */
export function textOptions(flags: GenerationFlags, model: CausalLM, promptTokens: number): TextOptions {
  const room = model.config.maxPositions - promptTokens;
  const { temperature, topP, topK, minP, repetitionPenalty, stop, seed, speculative, bos } = flags;
  return {
    maxTokens: flags.maxTokens ?? Math.max(1, Math.min(DEFAULT_TOKENS, room)),
    ...{ temperature, topP, topK, minP, repetitionPenalty, stop, seed, speculative, bos },
  };
}

/** One line of figures. */
export function statsText(stats: TextStats): string {
  const { promptTokens, generatedTokens, prefillMs, decodeMs, speculative: drafts } = stats;
  const reason = stats.stopString === null ? stats.stopReason : `stop ${JSON.stringify(stats.stopString)}`;
  const parts = [
    `prompt: ${plural(promptTokens, "token")} at ${formatRate(promptTokens, prefillMs / 1000)} tokens/s`,
    // The first token comes with the prompt.
    `output: ${plural(generatedTokens, "token")} at ${formatRate(Math.max(0, generatedTokens - 1), decodeMs / 1000)} tokens/s`,
    `finish reason: ${reason}`,
  ];
  if (drafts) {
    const rate = formatPercent(drafts.acceptanceRate);
    parts.push(`drafts accepted: ${drafts.accepted} of ${drafts.drafted} (${rate})`);
  }
  return parts.join(", ");
}

/** Reads a generation to its end, giving every piece to `write` as it comes. */
export async function readAll(
  pieces: AsyncGenerator<TextChunk, TextStats>,
  write: (text: string) => void = () => {},
): Promise<TextResult> {
  let text = "";
  for (;;) {
    const next = await pieces.next();
    if (next.done) return { text, stats: next.value };
    text += next.value.text;
    write(next.value.text);
  }
}

/**
 * Generates as a job and streams to standard output between `before` and `after`, or writes it as JSON. Ctrl-C cancels:
 * what was written stays, and the process exits with the signal's status.
 */
export async function writeOut(
  model: CausalLM,
  tokenizer: Tokenizer,
  task: TextTask,
  flags: GenerationFlags,
  before = "",
  after = "",
): Promise<void> {
  const { stdout, stderr } = process;
  if (!flags.json) stdout.write(before);
  const { result, exitCode } = await runJob(
    (queue) => {
      processText(queue, model, tokenizer);
      return queue.add<TextTask, TextChunk, TextResult>("generate", task);
    },
    {
      onEvent: ({ text }) => {
        if (!flags.json) stdout.write(text);
      },
    },
  );
  process.exitCode = exitCode;
  if (result === null) return;
  const { text, stats } = result;
  if (flags.json) {
    const { stopReason, stopString, ...figures } = stats;
    stdout.write(`${JSON.stringify({ text, stopReason, stopString, stats: figures })}\n`);
  } else {
    stdout.write(after);
    const whole = before + text + after;
    if (stdout.isTTY && !whole.endsWith("\n")) stdout.write("\n");
  }
  if (flags.stats) stderr.write(`${statsText(stats)}\n`);
}
