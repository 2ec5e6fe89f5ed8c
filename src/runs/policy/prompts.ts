/** Prompts of a run: rows as the model reads them, on disk in the run's folder. */
import { join } from "node:path";
import type { Message, Tool } from "../../chat/messages.ts";
import type { ChatTemplate } from "../../chat/template.ts";
import { nodeFileSource } from "../../checkpoint/node-files.ts";
import { lineJson, lineName, linesOf, lineText } from "../../data/conversations/json-lines.ts";
import { ConfigError, FormatError } from "../../tensor/errors.ts";
import { withOpening } from "../../tokenizer/opening.ts";
import type { Tokenizer } from "../../tokenizer/tokenizer.ts";
import { checkRow, type RewardName } from "../../train/policy/named-rewards.ts";
import type { PolicyPrompt } from "../../train/policy/prompts.ts";
import { writeText } from "../json-file.ts";
import type { BaseReader } from "../tuned/base-model.ts";

/** A prompt as its data has it. */
export interface PromptSource {
  /** Text that the model goes on with, or messages that it answers. */
  readonly prompt: string | readonly Message[];
  readonly tools?: readonly Tool[];
  /** Of a text: whether BOS comes first wherever there is one, and control tokens in it are plain characters, as provers read. */
  readonly plain?: boolean;
  readonly key: string | null;
  /** What rewards see of the row. */
  readonly row: unknown;
  /** Names its place in errors. */
  readonly where: string;
  /** In [0, 1): which side of a split it is on. */
  readonly hash: number;
}

/** Prompts are held in memory, with their rows. */
export const MOST_PROMPTS = 1_000_000;
const MOST_CHARACTERS = 1 << 28;
const MOST_LINE = 64 << 20;

export interface EncodeLimits {
  /** Tokens that the model reads, and most tokens of a completion. */
  readonly maxPositions: number;
  readonly maxTokens: number;
}

/** Encodes a prompt. @throws ConfigError naming its place: for one that leaves no room, or lacks what the rewards need */
export function encodePrompt(
  { prompt, tools, plain = false, key, row, where }: PromptSource,
  { tokenizer, template }: Pick<BaseReader, "tokenizer" | "template">,
  { maxPositions, maxTokens }: EncodeLimits,
  rewards: readonly RewardName[],
): PolicyPrompt {
  for (const name of rewards) checkRow(name, where, { key, row });
  const encoded =
    typeof prompt === "string"
      ? textPrompt(prompt, tokenizer, plain)
      : messagesPrompt(prompt, template, tools, where);
  if (encoded.ids.length + maxTokens > maxPositions) {
    throw new ConfigError("a prompt leaves no room for its completion", {
      ...{ where, expected: `at most ${maxPositions - maxTokens} tokens`, found: encoded.ids.length },
      hint: `The model reads ${maxPositions} tokens, of which completions may have ${maxTokens}.`,
    });
  }
  return { ids: encoded.ids, prompt: encoded.text, row, ...(key !== null && { key }) };
}

function messagesPrompt(
  messages: readonly Message[],
  template: ChatTemplate | null,
  tools: readonly Tool[] | undefined,
  where: string,
) {
  if (template !== null) return template.prompt(messages, { ...(tools && { tools }) });
  throw new ConfigError("the model has no chat template, and none that is built in fits", {
    ...{ where, name: "prompt", expected: "a text", found: "messages" },
    hint: "Choose one with --template: llm, coder, v3, .., or a Jinja file.",
  });
}

function textPrompt(text: string, tokenizer: Tokenizer, plain: boolean) {
  const ids = tokenizer.encode(text, { addSpecialTokens: false, parseSpecial: !plain });
  const { bos } = tokenizer.specialIds;
  return { text, ids: withOpening(tokenizer, ids, plain && bos !== undefined ? [bos] : undefined) };
}

export const TRAIN_PROMPTS = "prompts.jsonl";
export const HELD_OUT_PROMPTS = "held-out.jsonl";

/** Writes prompts into `folder`. @throws ConfigError for more than are held in memory */
export async function writePrompts(
  folder: string,
  name: string,
  prompts: readonly PolicyPrompt[],
): Promise<void> {
  const lines = prompts.map((prompt) => `${JSON.stringify(prompt)}\n`);
  const characters = lines.reduce((sum, line) => sum + line.length, 0);
  if (characters > MOST_CHARACTERS) {
    throw new ConfigError("too many prompts", {
      ...{
        where: "data",
        expected: `at most ${MOST_CHARACTERS} characters with their rows`,
        found: characters,
      },
      hint: "Take a part of the data, or leave out fields that no reward reads.",
    });
  }
  await writeText(join(folder, name), lines.join(""));
}

/** The prompts of a run. @throws FormatError naming the damaged line */
export async function readPrompts(folder: string, name: string): Promise<PolicyPrompt[]> {
  const path = join(folder, name);
  const source = await nodeFileSource(path);
  const prompts: PolicyPrompt[] = [];
  try {
    for await (const line of linesOf(source, MOST_LINE)) {
      const value = lineJson(path, line.number, lineText(path, line)) as Partial<PolicyPrompt> | null;
      const ids = value?.ids;
      if (
        !Array.isArray(ids) ||
        ids.length === 0 ||
        !ids.every((id) => Number.isSafeInteger(id) && id >= 0)
      ) {
        throw new FormatError("not a prompt of a run", {
          ...{ where: lineName(path, line.number), name: "ids", expected: "token ids, one or more" },
          hint: "The file is damaged: restore it, or begin a new run.",
        });
      }
      prompts.push(value as PolicyPrompt);
    }
  } finally {
    await source.close?.();
  }
  return prompts;
}
