/** `deepseek-ts draw`: pictures of a prompt, or of every line of a file, as PNG files that say what they were drawn from. */
import { randomInt } from "node:crypto";
import { existsSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { Command, Option } from "commander";
import { parseJsonObject } from "../../checkpoint/strict-json.ts";
import { codeGrid } from "../../engine/draw/code-sampler.ts";
import { draw } from "../../engine/draw/draw.ts";
import { MOST_IMAGES } from "../../engine/draw/events.ts";
import { type FlowSolver, flowSolvers, MOST_FLOW_STEPS } from "../../engine/draw/flow-sampler.ts";
import { makeFolders } from "../../files/temporary.ts";
import { isVisionConfig, parseVisionConfig } from "../../models/vision-architectures.ts";
import { autoencoderOf } from "../../pretrained/load-drawing.ts";
import { locateVae } from "../../pretrained/node-vae.ts";
import { ConfigError, DeepseekError } from "../../tensor/errors.ts";
import { plural } from "../../text/units.ts";
import {
  checkPictureFolder,
  clearLeftovers,
  type DrawnWith,
  type Surveyed,
  surveyBatch,
  surveyPrompt,
} from "../draw-files.ts";
import {
  type DrawJob,
  type DrawJobEvent,
  type DrawTotals,
  drawHandler,
  drawProgressText,
} from "../draw-job.ts";
import { openPreview, type PreviewChoice, previewChoices } from "../draw-preview.ts";
import { type DrawSettings, type DrawTask, plannedPictures, readTasks, requestOf } from "../draw-tasks.ts";
import { flowing } from "../help.ts";
import { runJob } from "../job-session.ts";
import { lockOutput } from "../output-lock.ts";
import { ProgressLine } from "../progress-line.ts";
import {
  hubFlags,
  MODEL_ARGUMENT,
  type ModelFlags,
  type OpenedModel,
  openModel,
  openPlace,
  withModel,
} from "./open-model.ts";
import {
  given,
  naturalNumber,
  numberThat,
  openDevice,
  readStdin,
  usageError,
  withThreads,
} from "./options.ts";

interface DrawFlags extends ModelFlags, DrawSettings {
  readonly from?: string;
  readonly out: string;
  readonly count: number;
  readonly seed?: number;
  readonly vae?: string;
  readonly preview: PreviewChoice;
  readonly json?: boolean;
  readonly threads?: number;
}

const examples = `
Examples:
  deepseek-ts draw deepseek-ai/Janus-Pro-1B "a red cube on a blue sphere" --dtype q4
  deepseek-ts draw deepseek-ai/JanusFlow-1.3B "a lighthouse at night" --count 4 --seed 7 --out lighthouse
  deepseek-ts draw ./Janus-Pro-1B --from prompts.jsonl --out pictures
  deepseek-ts download stabilityai/sdxl-vae                        the autoencoder that JanusFlow draws with

Standard output gets the path of each picture. A picture keeps prompt, model, seed and settings in its text chunks, and
the same ones give it again. With --from each line is an object such as {"prompt": "a red cube", "seed": 3, "count": 2};
fields that it leaves out are those of the command line. A run that was stopped goes on when the same command is given
again. What is in the folder is never replaced.`;

/** A model that draws, as far as its configuration tells. @throws ConfigError for others, and where an autoencoder is missing */
async function checkDraws(path: string, flags: DrawFlags): Promise<void> {
  const { tree, gguf, name } = await openPlace(path, flags);
  const config =
    gguf === null && (await tree.has("config.json"))
      ? parseJsonObject(await tree.readText("config.json"), `${tree.name}/config.json`)
      : null;
  const generation = config !== null && isVisionConfig(config) ? parseVisionConfig(config).generation : null;
  if (generation === null) {
    throw new ConfigError("the model does not draw", {
      where: name,
      expected: "a model of Janus or JanusFlow",
      hint: "Use deepseek-ai/Janus-Pro-1B or deepseek-ai/JanusFlow-1.3B.",
    });
  }
  if (generation.kind === "codes") {
    const own = (["steps", "solver", "vae"] as const).find((option) => flags[option] !== undefined);
    if (own !== undefined) refuseOption(name, `--${own}`, "JanusFlow", "Janus");
    return;
  }
  for (const [key, option] of Object.entries({
    temperature: "--temperature",
    topK: "--top-k",
    topP: "--top-p",
  })) {
    if (flags[key as keyof DrawFlags] !== undefined) refuseOption(name, option, "Janus", "JanusFlow");
  }
  if (flags.vae !== undefined) return;
  // Nothing that is large has been read yet.
  const found = await locateVae(tree, undefined, hubFlags(flags));
  if (found === null) autoencoderOf({ vae: null });
}

function refuseOption(where: string, name: string, own: string, found: string): never {
  throw new ConfigError(`this is a setting of ${own}`, {
    where,
    name,
    found: `a model of ${found}`,
    hint: "Leave it out.",
  });
}

/** Finds out before the first picture that the model can draw the last. @throws ConfigError naming the line */
function checkTasks(opened: OpenedModel, tasks: readonly DrawTask[], from: string | undefined): void {
  for (const task of tasks) {
    try {
      // What a request has wrong is thrown at once; nothing is drawn until the first event is asked for.
      draw(opened, requestOf(task));
    } catch (error) {
      if (from === undefined || !(error instanceof DeepseekError)) throw error;
      throw new ConfigError(error.message, { where: `${from}: line ${task.line}`, cause: error });
    }
  }
}

/** What is drawn, and what earlier runs left. */
interface Drawing {
  readonly opened: OpenedModel;
  readonly made: DrawnWith;
  readonly surveyed: Surveyed;
  /** How to go on. */
  readonly again: string;
}

async function drawAll({ opened, made, surveyed, again }: Drawing, flags: DrawFlags): Promise<void> {
  const { stdout, stderr } = process;
  const { there, missing } = surveyed;
  const tell = (picture: Readonly<Record<string, unknown>>) =>
    stdout.write(flags.json ? `${JSON.stringify(picture)}\n` : `${picture.path}\n`);
  for (const { path, task, image } of there) {
    tell({ path, prompt: task.prompt, seed: task.seed, image: image + 1, earlier: true });
  }
  const line = new ProgressLine(stderr, 0);
  let drawn = 0;
  // Pictures in a terminal move the cursor: the line goes before them.
  const screen = {
    isTTY: stderr.isTTY,
    rows: stderr.rows,
    write: (text: string) => {
      line.clear();
      stderr.write(text);
    },
  };
  const preview = openPreview(flags.preview, screen, process.env, (path) => line.note(`preview: ${path}`));
  const { result, exitCode } = await runJob(
    (queue) => {
      queue.process(
        "draw",
        drawHandler((request) => draw(opened, request), preview, codeGrid(opened.drawing!.model)),
      );
      return queue.add<DrawJob, DrawJobEvent, DrawTotals>("draw", { pictures: missing, made });
    },
    {
      onEvent(event) {
        if (event.kind === "progress") return line.tell(drawProgressText(event));
        drawn++;
        line.clear();
        const { kind: _, ...picture } = event;
        tell(picture);
      },
      outlivesReader: true,
    },
  );
  line.clear();
  if (exitCode !== 0) process.exitCode = exitCode;
  const total = there.length + missing.length;
  const before = there.length === 0 ? "" : ` (${there.length} of them before)`;
  if (result === null) {
    stderr.write(
      `stopped; ${there.length + drawn} of ${plural(total, "picture")} drawn${before}; ${again}\n`,
    );
  } else if (stderr.isTTY || there.length > 0) {
    const { promptTokens, imageTokens } = result;
    const tokens = `${plural(promptTokens, "prompt token")}, ${plural(imageTokens, "image token")}`;
    stderr.write(`${plural(total, "picture")} drawn${before}${result.pictures > 0 ? `; ${tokens}` : ""}\n`);
  }
}

const settingsOf = ({ guidance, temperature, topK, topP, steps, solver }: DrawFlags): DrawSettings =>
  given({ guidance, temperature, topK, topP, steps, solver });

function withSettings(command: Command): Command {
  return command
    .option(
      "--count <n>",
      `pictures of each prompt, up to ${MOST_IMAGES}`,
      numberThat(`an integer, 1 to ${MOST_IMAGES}`, (n) => Number.isInteger(n) && n >= 1 && n <= MOST_IMAGES),
      1,
    )
    .option(
      "--seed <n>",
      "the same seed gives the same pictures (default: another one each time, with --from 0)",
      naturalNumber,
    )
    .option(
      "--guidance <w>",
      "weight of the prompt; 1 is fastest and follows it least (default: the model's, else 5, JanusFlow 2)",
      numberThat("a number", () => true),
    )
    .option(
      "--temperature <t>",
      "Janus: of the choice of each part; 0 takes the likeliest (default: 1)",
      numberThat("0 or more", (n) => n >= 0),
    )
    .option(
      "--top-k <k>",
      "Janus: choose among the k likeliest only; 0 among all (default: 0)",
      naturalNumber,
    )
    .option(
      "--top-p <p>",
      "Janus: choose among the likeliest up to this total probability (default: 1)",
      numberThat("above 0, at most 1", (n) => n > 0 && n <= 1),
    )
    .option(
      "--steps <n>",
      "JanusFlow: steps from noise to picture (default: 30, with midpoint 15)",
      numberThat(
        `an integer, 1 to ${MOST_FLOW_STEPS}`,
        (n) => Number.isInteger(n) && n >= 1 && n <= MOST_FLOW_STEPS,
      ),
    )
    .addOption(
      new Option(
        "--solver <name>",
        "JanusFlow: how steps are taken; midpoint needs two evaluations for each (default: euler)",
      ).choices(Object.keys(flowSolvers) as FlowSolver[]),
    )
    .option(
      "--vae <path>",
      "JanusFlow: the autoencoder, a folder, a .safetensors file or org/name on the hub",
    );
}

export function drawCommand(): Command {
  const command = new Command("draw")
    .summary("draw pictures of a prompt")
    .description("Draws pictures with a model of Janus or JanusFlow and writes them as PNG files.")
    .argument("<model>", MODEL_ARGUMENT)
    .argument("[prompt]", "what to draw; if -, read from standard input")
    .option("--from <file>", "draw the prompts of this JSON Lines file")
    .option("--out <folder>", "folder for the pictures; made if it is missing", ".");
  withThreads(withModel(withSettings(command)));
  return command
    .addOption(
      new Option(
        "--preview <how>",
        "show pictures while they grow; auto: in a terminal that can, else as a file, where a person watches",
      )
        .choices(previewChoices)
        .default("auto"),
    )
    .option("--json", "print an object for each picture instead of its path")
    .addHelpText("after", flowing(examples))
    .action(async (path: string, argument: string | undefined, flags: DrawFlags) => {
      const { from, out, count } = flags;
      if (from !== undefined && argument !== undefined)
        usageError(command, "give a prompt or --from, not both");
      if (from === undefined && argument === undefined) usageError(command, "no prompt given");
      const prompt = argument === "-" ? (await readStdin()).trimEnd() : (argument ?? "");
      if (from === undefined && prompt.trim() === "")
        throw new ConfigError("the prompt is empty", { where: "draw" });
      const seed = flags.seed ?? (from === undefined ? randomInt(2 ** 32) : 0);
      const defaults = { seed, count, ...settingsOf(flags) };
      const tasks: DrawTask[] =
        from === undefined ? [{ prompt, ...defaults, line: null }] : await readTasks(from, defaults);
      const pictures = plannedPictures(out, tasks);
      // What is wrong with files and model is told before the weights are read.
      if (from !== undefined) await surveyBatch(pictures, null);
      await checkDraws(path, flags);
      await makeFolders(out);
      await checkPictureFolder(out);
      await using device = await openDevice(flags);
      await using _lock =
        from === undefined
          ? null
          : await lockOutput(out, join(out, ".deepseek-ts-draw.lock"), "these pictures");
      if (from !== undefined) await clearLeftovers(out, pictures);
      await using opened = await openModel(path, device, flags, undefined, { drawing: true, vae: flags.vae });
      const { vae, generation } = opened.drawing!;
      const made: DrawnWith = {
        ...{ model: opened.source.repo ?? opened.name, dtype: flags.dtype, kind: generation.kind },
        guidance: opened.generationConfig.guidanceScale,
        // By name only: where it lies on this machine is nobody's business.
        ...(flags.vae !== undefined && {
          vae: existsSync(flags.vae) ? basename(resolve(flags.vae)) : flags.vae,
        }),
      };
      if (vae !== null && process.stderr.isTTY) {
        process.stderr.write(`autoencoder ${vae.name}, scaling factor ${vae.model.config.scalingFactor}\n`);
      }
      checkTasks(opened, tasks, from);
      const surveyed = await (from === undefined
        ? surveyPrompt(pictures, made)
        : surveyBatch(pictures, made));
      const again = `the same command${from === undefined ? ` with --seed ${seed}` : ""} goes on`;
      await drawAll({ opened, made, surveyed, again }, flags);
    });
}
