/** `deepseek-ts chat`: a conversation at the terminal, or one message from a pipe. */

import { basename } from "node:path";
import { Command, Option } from "commander";
import { BUILTIN_TEMPLATES } from "../../chat/builtin.ts";
import type { ReplyPiece } from "../../chat/reply-pieces.ts";
import { builtinTemplate, type ChatTemplate, chatTemplate } from "../../chat/template.ts";
import { Conversation, type Reply } from "../../engine/conversation.ts";
import { processReplies, type ReplyTask } from "../../engine/reply-job.ts";
import { readTextFile } from "../../files/text-file.ts";
import { withoutMark } from "../../files/utf8.ts";
import { countParameters } from "../../models/count.ts";
import type { GenerationConfig } from "../../pretrained/generation-config.ts";
import { ConfigError } from "../../tensor/errors.ts";
import { formatCompact, formatCount } from "../../text/units.ts";
import { chatLoop } from "../chat-loop.ts";
import { recoverConversation } from "../chat-recovery.ts";
import { type ChatSettings, replySettings, replyStats } from "../chat-settings.ts";
import { openTerminal } from "../chat-terminal.ts";
import { suggesting } from "../completion.ts";
import { flowing } from "../help.ts";
import { runJob } from "../job-session.ts";
import { type GenerationFlags, withGeneration } from "./generation.ts";
import { MODEL_ARGUMENT, type OpenedModel, openModel } from "./open-model.ts";
import { openDevice, readStdin, usageError } from "./options.ts";

interface ChatFlags extends GenerationFlags {
  readonly system?: string;
  readonly template?: string;
  readonly prompt?: string;
  readonly thinking?: boolean;
}

const examples = `
Examples:
  deepseek-ts chat ./DeepSeek-V2-Lite-Chat
  deepseek-ts chat ./DeepSeek-V3 --system "Answer in one sentence." --temperature 0.7 --top-p 0.95
  deepseek-ts chat ./DeepSeek-V2-Lite-Chat --prompt "What is a monad?" --stats
  git diff | deepseek-ts chat ./DeepSeek-Coder-V2-Lite-Instruct --system "Summarize this change." > summary.txt

Type /help in a conversation for its commands: undo, retry, edit, save and others. Replies are limited only by the
context, which is never truncated silently.`;

const ADVISED = new Set(["--temperature", "--top-p", "--top-k", "--min-p", "--repetition-penalty"]);

/** The flags, with the model's recommended settings for those that were not given. */
function settingsOf(command: Command, flags: ChatFlags, advised: GenerationConfig): ChatSettings {
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
async function openTemplate(opened: OpenedModel, asked: string | undefined): Promise<ChatTemplate> {
  const { tokenizer, chatTemplate: own, model, name } = opened;
  if (asked === undefined) return chatTemplate(tokenizer, own, { modelType: model.config.modelType, name });
  if (Object.hasOwn(BUILTIN_TEMPLATES, asked)) return builtinTemplate(tokenizer, asked);
  return chatTemplate(tokenizer, { [basename(asked)]: withoutMark(await readTextFile(asked)) });
}

/** Refuses a choice that the template does not offer. @throws ConfigError */
function checkThinking(template: ChatTemplate, thinking: boolean | undefined): void {
  if (thinking === undefined) return;
  const message = [{ role: "user", content: "a" }] as const;
  const [on, off] = [true, false].map((choice) => template.render(message, { thinking: choice }));
  if (on !== off) return;
  throw new ConfigError("the template does not support switching reasoning on or off", {
    where: `chat template "${template.name}"`,
    name: thinking ? "--thinking" : "--no-thinking",
    hint: "Leave the option out.",
  });
}

/** One message and its reply: the answer to standard output, thought to standard error. */
async function answerOnce(
  conversation: Conversation,
  message: string,
  settings: ChatSettings,
  flags: ChatFlags,
): Promise<void> {
  const { stdout, stderr } = process;
  let thinking = false;
  const { result, exitCode } = await runJob(
    (queue) => {
      processReplies(queue, conversation);
      const task: ReplyTask = { ask: "send", content: message, settings: replySettings(settings, 0) };
      return queue.add<ReplyTask, ReplyPiece, Reply>("reply", task);
    },
    {
      onEvent(piece) {
        if (flags.json) return;
        if (piece.kind === "reasoning") stderr.write(piece.text);
        else if (thinking) stderr.write("\n");
        thinking = piece.kind === "reasoning";
        if (piece.kind === "content") stdout.write(piece.text);
      },
      outlivesReader: true,
    },
  );
  if (exitCode !== 0) process.exitCode = exitCode;
  if (result === null) return;
  const { stats, message: written, ...text } = result;
  if (thinking) stderr.write("\n");
  if (flags.json) {
    const { stopReason, stopString, ...figures } = stats;
    stdout.write(`${JSON.stringify({ ...text, stopReason, stopString, stats: figures })}\n`);
  } else {
    for (const call of text.calls) {
      stdout.write(`[${call.function.name} ${call.function.arguments}]\n`);
    }
    if (stdout.isTTY && !text.content.endsWith("\n")) stdout.write("\n");
  }
  if (flags.stats) stderr.write(`${replyStats(result)}\n`);
}

export function chatCommand(): Command {
  const command = new Command("chat")
    .summary("chat with a model")
    .description(
      "Starts a conversation in the terminal; /help lists its commands. If standard input is a pipe, it is read as one " +
        "message and only the reply is written to standard output.",
    )
    .argument("<model>", MODEL_ARGUMENT)
    .option("--system <text>", "system message")
    .option("-p, --prompt <text>", "send this one message and exit")
    .addOption(
      suggesting(
        new Option(
          "--template <template>",
          `chat template: a Jinja file, or ${Object.keys(BUILTIN_TEMPLATES).join(", ")} (default: the model's own, or one that fits)`,
        ),
        Object.keys(BUILTIN_TEMPLATES),
        "files",
      ),
    )
    .option("--thinking", "reason before answering, if the template supports it")
    .option("--no-thinking", "answer without reasoning (default: as the template decides)");
  command.setOptionValueWithSource("thinking", undefined, "default");
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
  return command.addHelpText("after", flowing(examples)).action(async (path: string, flags: ChatFlags) => {
    if (flags.bos !== undefined)
      usageError(command, "the chat template decides about BOS; leave out --bos and --no-bos");
    const talking = flags.prompt === undefined && process.stdin.isTTY;
    if (talking && flags.json) usageError(command, "--json requires --prompt or a message from a pipe");
    if (talking && !process.stdout.isTTY)
      usageError(command, "--prompt is required if the output is not a terminal");
    const message = talking ? "" : (flags.prompt ?? (await readStdin()));
    if (!talking && message.trim() === "") throw new ConfigError("the message is empty", { where: "chat" });
    await using device = await openDevice(flags);
    const opened = await openModel(path, device, flags);
    using model = opened.model;
    const { config } = model;
    const template = await openTemplate(opened, flags.template);
    checkThinking(template, flags.thinking);
    const settings = settingsOf(command, flags, opened.generationConfig);
    using conversation = new Conversation(model, opened.tokenizer, template, { system: flags.system });
    if (!talking) {
      await answerOnce(conversation, message, settings, flags);
      return;
    }
    using terminal = openTerminal();
    const parts = [
      `${opened.name}: ${config.modelType}`,
      `${formatCompact(countParameters(config).total)} parameters`,
      `context ${formatCount(config.maxPositions)} tokens`,
      `${template.builtin === null ? "" : "built-in "}template ${template.name}`,
    ];
    const unsaved = await chatLoop(conversation, terminal, settings, {
      greeting: `${parts.join(", ")}. /help lists the commands.`,
      stats: flags.stats,
    });
    // A user who quits had the choice to save.
    if (terminal.exitCode === 0) return;
    process.exitCode = terminal.exitCode;
    if (unsaved !== null) await recoverConversation(unsaved, (line) => process.stderr.write(line));
  });
}
