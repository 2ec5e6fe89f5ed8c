/** `deepseek-ts chat`: a conversation at the terminal, or one message from a pipe. */

import { Command, Option } from "commander";
import { BUILTIN_TEMPLATES } from "../../chat/builtin.ts";
import type { MessagePart } from "../../chat/messages.ts";
import type { ChatTemplate } from "../../chat/template.ts";
import { Conversation } from "../../engine/conversation.ts";
import { countParameters } from "../../models/count.ts";
import { ConfigError } from "../../tensor/errors.ts";
import { formatCompact, formatCount, plural } from "../../text/units.ts";
import { chatDrawing } from "../chat-drawing.ts";
import { chatLoop } from "../chat-loop.ts";
import { recoverConversation } from "../chat-recovery.ts";
import { type ChatSettings, replyStats } from "../chat-settings.ts";
import { openTerminal } from "../chat-terminal.ts";
import { suggesting } from "../completion.ts";
import { flowing } from "../help.ts";
import {
  type ImageFlags,
  imageEncoder,
  readImageFiles,
  refuseUnseen,
  withImageParts,
  withImages,
} from "../image-files.ts";
import type { GenerationFlags } from "./generation.ts";
import { MODEL_ARGUMENT, openModel } from "./open-model.ts";
import { openDevice, readStdin, usageError } from "./options.ts";
import { openTemplate, replyTo, settingsOf, withReplies } from "./reply.ts";

interface ChatFlags extends GenerationFlags, ImageFlags {
  readonly image: readonly string[];
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
  deepseek-ts chat ./DeepSeek-V2-Lite-Chat --dtype q4 --adapter ./my-adapter
  deepseek-ts chat deepseek-ai/deepseek-vl2-tiny --image page.png
  deepseek-ts chat deepseek-ai/Janus-Pro-1B                        sees pictures, and draws them on /draw
  git diff | deepseek-ts chat ./DeepSeek-Coder-V2-Lite-Instruct --system "Summarize this change." > summary.txt

Type /help in a conversation for its commands: undo, retry, edit, image, draw, save and others. Replies are limited only by the
context, which is never truncated silently.`;

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
  message: string | readonly MessagePart[],
  settings: ChatSettings,
  flags: ChatFlags,
): Promise<void> {
  const { stdout, stderr } = process;
  let thinking = false;
  const result = await replyTo(conversation, message, settings, (piece) => {
    if (flags.json) return;
    if (piece.kind === "reasoning") stderr.write(piece.text);
    else if (thinking) stderr.write("\n");
    thinking = piece.kind === "reasoning";
    if (piece.kind === "content") stdout.write(piece.text);
  });
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
  withImages(withReplies(command), "the first message");
  return command.addHelpText("after", flowing(examples)).action(async (path: string, flags: ChatFlags) => {
    if (flags.bos !== undefined)
      usageError(command, "the chat template decides about BOS; leave out --bos and --no-bos");
    const talking = flags.prompt === undefined && process.stdin.isTTY;
    if (talking && flags.json) usageError(command, "--json requires --prompt or a message from a pipe");
    if (talking && !process.stdout.isTTY)
      usageError(command, "--prompt is required if the output is not a terminal");
    const message = talking ? "" : (flags.prompt ?? (await readStdin()));
    const images = await readImageFiles(flags.image, flags);
    if (!talking && message.trim() === "") throw new ConfigError("the message is empty", { where: "chat" });
    await using device = await openDevice(flags);
    await using opened = await openModel(path, device, flags, undefined, { drawing: talking });
    if (images.length > 0) refuseUnseen(opened, plural(images.length, "picture"));
    const { model, vision } = opened;
    const { config } = model;
    const template = await openTemplate(opened, flags.template);
    checkThinking(template, flags.thinking);
    const settings = settingsOf(command, flags, opened.generationConfig);
    using encoder = imageEncoder(opened, flags);
    using conversation = new Conversation(model, opened.tokenizer, template, {
      system: flags.system,
      images: encoder,
    });
    if (!talking) {
      await answerOnce(conversation, withImageParts(images, message), settings, flags);
      return;
    }
    using terminal = openTerminal(undefined, flags);
    const sees = vision === null ? [] : [vision.model.config.modelType, "sees pictures (/image FILE)"];
    const draws = opened.drawing === null ? [] : ["draws some (/draw PROMPT)"];
    const parts = [
      `${opened.name}: ${vision === null ? config.modelType : [...sees, ...draws].join(", ")}`,
      `${formatCompact(vision?.model.parameters.count ?? countParameters(config).total)} parameters`,
      `context ${formatCount(config.maxPositions)} tokens`,
      `${template.builtin === null ? "" : "built-in "}template ${template.name}`,
    ];
    const unsaved = await chatLoop(conversation, terminal, settings, {
      greeting: `${parts.join(", ")}. /help lists the commands.`,
      stats: flags.stats,
      images,
      checkSees: () => refuseUnseen(opened, "/image"),
      draw: chatDrawing(opened, { dtype: flags.dtype, screen: process.stdout }),
    });
    // A user who quits had the choice to save.
    if (terminal.exitCode === 0) return;
    process.exitCode = terminal.exitCode;
    if (unsaved !== null) await recoverConversation(unsaved, (line) => process.stderr.write(line));
  });
}
