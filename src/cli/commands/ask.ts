/** `deepseek-ts ask`: one question, one answer; about pictures if some are given, or about each picture of a folder. */
import { readdir } from "node:fs/promises";
import { resolve } from "node:path";
import { Command } from "commander";
import type { ImagePart } from "../../chat/messages.ts";
import { Conversation } from "../../engine/conversation.ts";
import { ConfigError } from "../../tensor/errors.ts";
import { plural } from "../../text/units.ts";
import { usageOf } from "../answer-usage.ts";
import {
  type AskedSettings,
  earlierAnswers,
  type FolderEvent,
  type FolderResult,
  type FolderTask,
  folderHandler,
  picturesIn,
} from "../ask-folder.ts";
import { type ChatSettings, replySettings, replyStats } from "../chat-settings.ts";
import { flowing } from "../help.ts";
import {
  type ImageFlags,
  imageEncoder,
  imageProgressText,
  readImageFile,
  readImageFiles,
  refuseUnseen,
  withImageParts,
  withImages,
} from "../image-files.ts";
import { runJob } from "../job-session.ts";
import { ProgressLine } from "../progress-line.ts";
import type { GenerationFlags } from "./generation.ts";
import { MODEL_ARGUMENT, type OpenedModel, openModel } from "./open-model.ts";
import { openDevice, readStdin, usageError } from "./options.ts";
import { openTemplate, replyTo, settingsOf, withReplies } from "./reply.ts";

interface AskFlags extends GenerationFlags, ImageFlags {
  readonly image: readonly string[];
  readonly folder?: string;
  readonly out?: string;
  readonly system?: string;
}

const examples = `
Examples:
  deepseek-ts ask deepseek-ai/deepseek-vl2-tiny --image page.png "What does the page say?"
  deepseek-ts ask ./deepseek-vl2-small --image before.png --image after.png "What has changed?" --json
  deepseek-ts ask ./deepseek-vl-7b-chat --folder photos --out photos.jsonl "Describe the picture." --rotate
  deepseek-ts ask ./DeepSeek-V2-Lite-Chat "What is a monad?"
  git diff | deepseek-ts ask ./DeepSeek-V2-Lite-Chat --system "Summarize this change."

With --folder each picture gets a line in the file: image, answer, usage, or image and error. A run that was stopped goes
on when the same command is given again.`;

/** What the command works with. */
interface Asking {
  readonly opened: OpenedModel;
  readonly conversation: Conversation;
  readonly settings: ChatSettings;
  readonly question: string;
}

async function askOnce(
  { opened, conversation, settings, question }: Asking,
  images: readonly ImagePart[],
  flags: AskFlags,
): Promise<void> {
  if (images.length > 0) refuseUnseen(opened, plural(images.length, "picture"));
  const { stdout, stderr } = process;
  const reply = await replyTo(conversation, withImageParts(images, question), settings, (piece) => {
    if (!flags.json && piece.kind === "content") stdout.write(piece.text);
  });
  if (reply === null) return;
  if (flags.json) {
    const { stopReason } = reply.stats;
    const asked = { images: flags.image, question };
    stdout.write(
      `${JSON.stringify({ ...asked, answer: reply.content, stopReason, usage: usageOf(reply) })}\n`,
    );
  } else if (!reply.content.endsWith("\n")) stdout.write("\n");
  if (flags.stats) stderr.write(`${replyStats(reply)}\n`);
}

/** A folder and its file of answers, as far as they are known without a model. */
interface FolderPlan {
  readonly folder: string;
  readonly names: readonly string[];
  readonly out: string;
  readonly asked: AskedSettings;
}

/** @throws ConfigError, FileError */
async function planFolder(
  folder: string,
  out: string,
  question: string,
  { dtype, system, rotate = false }: AskFlags,
): Promise<FolderPlan> {
  const names = await picturesIn(folder, readdir);
  if (names.length === 0) {
    throw new ConfigError("the folder holds no pictures", {
      where: folder,
      expected: "files that end in .png, .jpg, .jpeg, .webp or .gif",
    });
  }
  const asked = { question, folder: resolve(folder), dtype, system: system ?? null, rotate };
  await earlierAnswers(out, asked);
  return { folder, names, out, asked };
}

async function askFolder(
  { opened, conversation, settings, question }: Asking,
  { folder, names, out, asked: begun }: FolderPlan,
  flags: AskFlags,
): Promise<void> {
  refuseUnseen(opened, "--folder");
  const asked = { ...begun, model: opened.source.repo ?? opened.name, ...settings };
  const line = new ProgressLine(process.stderr, 0);
  const { result, exitCode } = await runJob(
    (queue) => {
      const replies = replySettings(settings, 0);
      queue.process(
        "folder",
        folderHandler(conversation, replies, (path) => readImageFile(path, flags)),
      );
      const task: FolderTask = { folder, names, question, out, asked };
      return queue.add<FolderTask, FolderEvent, FolderResult>("folder", task);
    },
    {
      onEvent(event) {
        if (event.kind === "error") line.note(`error: ${event.message}`);
        else {
          const what = event.kind === "begin" ? event.name : imageProgressText(event);
          line.tell(`${event.done + 1} of ${event.total}: ${what}`);
        }
      },
      outlivesReader: true,
    },
  );
  line.clear();
  if (exitCode !== 0) process.exitCode = exitCode;
  if (result === null) {
    process.stderr.write(`stopped; the same command goes on with ${out}\n`);
    return;
  }
  const { answered, faulty, earlier } = result;
  const before = earlier === 0 ? "" : ` (${earlier} of them before)`;
  const faults = faulty === 0 ? "" : `, ${plural(faulty, "picture")} with an error`;
  process.stderr.write(`${plural(answered, "answer")}${faults} in ${out}${before}\n`);
}

export function askCommand(): Command {
  const command = new Command("ask")
    .summary("ask a model one question, about pictures too")
    .description("Asks one question and writes the answer to standard output.")
    .argument("<model>", MODEL_ARGUMENT)
    .argument("[question]", "if absent or -, read from standard input")
    .option("--system <text>", "system message")
    .option("--folder <folder>", "ask about every picture in this folder, in the order of their names")
    .option("--out <file>", "with --folder: file for the answers, a JSON object a line");
  withImages(withReplies(command), "the question");
  return command
    .addHelpText("after", flowing(examples))
    .action(async (path: string, argument: string | undefined, flags: AskFlags) => {
      if (flags.bos !== undefined)
        usageError(command, "the chat template decides about BOS; leave out --bos and --no-bos");
      const { folder, out } = flags;
      if (folder !== undefined && out === undefined) usageError(command, "--folder requires --out");
      if (folder === undefined && out !== undefined) usageError(command, "--out requires --folder");
      if (folder !== undefined && flags.image.length > 0)
        usageError(command, "--folder and --image are mutually exclusive");
      if (folder !== undefined && flags.json)
        usageError(command, "--json is what --out always gets; leave it out");
      if (argument === undefined && process.stdin.isTTY) usageError(command, "no question given");
      const question = argument === undefined || argument === "-" ? await readStdin() : argument;
      if (question.trim() === "") throw new ConfigError("the question is empty", { where: "ask" });
      // What is wrong with the files is told before the model is loaded.
      const parts = await readImageFiles(flags.image, flags);
      const plan = folder === undefined ? null : await planFolder(folder, out!, question, flags);
      await using device = await openDevice(flags);
      await using opened = await openModel(path, device, flags);
      const template = await openTemplate(opened, undefined);
      const settings = settingsOf(command, flags, opened.generationConfig);
      using images = imageEncoder(opened, flags);
      using conversation = new Conversation(opened.model, opened.tokenizer, template, {
        ...{ system: flags.system, images },
      });
      const asking = { opened, conversation, settings, question };
      if (plan === null) await askOnce(asking, parts, flags);
      else await askFolder(asking, plan, flags);
    });
}
