/** What `chat` and `ask` share: settings of replies, the template, one message and its reply. */
import { basename } from "node:path";
import type { Command } from "commander";
import { BUILTIN_TEMPLATES } from "../../chat/builtin.ts";
import type { MessagePart } from "../../chat/messages.ts";
import { modelTemplate } from "../../chat/model-template.ts";
import { builtinTemplate, type ChatTemplate, chatTemplate } from "../../chat/template.ts";
import type { Conversation, Reply, ReplyEvent } from "../../engine/conversation.ts";
import { processReplies, type ReplyTask } from "../../engine/reply-job.ts";
import { readTextFile } from "../../files/text-file.ts";
import { withoutMark } from "../../files/utf8.ts";
import type { GenerationConfig } from "../../pretrained/generation-config.ts";
import { type ChatSettings, replySettings } from "../chat-settings.ts";
import { imageProgressText } from "../image-files.ts";
import { runJob } from "../job-session.ts";
import { ProgressLine } from "../progress-line.ts";
import { type GenerationFlags, withGeneration } from "./generation.ts";
import type { OpenedModel } from "./open-model.ts";

const ADVISED = new Set(["--temperature", "--top-p", "--top-k", "--min-p", "--repetition-penalty"]);

/** Adds the options of generation as they are for replies. */
export function withReplies(command: Command): Command {
  withGeneration(command);
  for (const option of command.options) {
    if (option.long === "--max-tokens") {
      option.description = "maximum number of tokens per reply (default: up to the context limit)";
    }
    if (ADVISED.has(option.long ?? "")) {
      option.defaultValueDescription = `as the model recommends, else ${option.defaultValue}`;
    }
    // The template decides how a text begins.
    if (option.long === "--bos" || option.long === "--no-bos") option.hideHelp();
  }
  return command;
}

/** Of a reply that may reason. */
interface ReplyFlags extends GenerationFlags {
  readonly thinking?: boolean;
}

/** The flags, with the model's recommended settings for those that were not given. */
export function settingsOf(command: Command, flags: ReplyFlags, advised: GenerationConfig): ChatSettings {
  const { maxTokens, seed, stop, speculative, thinking } = flags;
  const pick = (name: "temperature" | "topP" | "topK" | "minP" | "repetitionPenalty") => {
    const given = command.getOptionValueSource(name) !== "default";
    return given ? flags[name] : (advised[name] ?? flags[name]);
  };
  const greedy = advised.doSample === false && command.getOptionValueSource("temperature") === "default";
  return {
    temperature: greedy ? 0 : pick("temperature"),
    topP: pick("topP"),
    topK: pick("topK"),
    minP: pick("minP"),
    repetitionPenalty: pick("repetitionPenalty"),
    ...{ seed, stop, speculative },
    maxTokens: maxTokens ?? null,
    thinking: thinking ?? null,
  };
}

/** The file or built-in template that `asked` names, the model's own, or the built-in one that fits. @throws ConfigError */
export async function openTemplate(opened: OpenedModel, asked: string | undefined): Promise<ChatTemplate> {
  const { tokenizer } = opened;
  if (asked === undefined) return modelTemplate(opened, tokenizer);
  if (Object.hasOwn(BUILTIN_TEMPLATES, asked)) return builtinTemplate(tokenizer, asked);
  return chatTemplate(tokenizer, { [basename(asked)]: withoutMark(await readTextFile(asked)) });
}

/**
 * One message and its reply as a job that Ctrl-C ends; null if it gave nothing. While pictures are encoded, a line on
 * standard error says so.
 */
export async function replyTo(
  conversation: Conversation,
  content: string | readonly MessagePart[],
  settings: ChatSettings,
  onEvent: (piece: Exclude<ReplyEvent, { kind: "image" }>) => void,
): Promise<Reply | null> {
  const line = new ProgressLine(process.stderr);
  const { result, exitCode } = await runJob(
    (queue) => {
      processReplies(queue, conversation);
      const task: ReplyTask = { ask: "send", content, settings: replySettings(settings, 0) };
      return queue.add<ReplyTask, ReplyEvent, Reply>("reply", task);
    },
    {
      onEvent(piece) {
        if (piece.kind === "image") return line.tell(imageProgressText(piece));
        line.clear();
        onEvent(piece);
      },
      outlivesReader: true,
    },
  );
  line.clear();
  if (exitCode !== 0) process.exitCode = exitCode;
  return result;
}
