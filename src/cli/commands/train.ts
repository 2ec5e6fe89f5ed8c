/** `deepseek-ts train`: trains a model on a folder of text or on conversations with images, or continues a run. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { Command, Option } from "commander";
import { EXTENSION_PRESETS } from "../../data/select.ts";
import { checkFolderPlace, realPlace } from "../../files/place.ts";
import { isAbandoned, isTaken, ownedTarget } from "../../files/temporary.ts";
import { parseVisionConfig } from "../../models/vision-architectures.ts";
import {
  configFrom,
  mergeConfig,
  PRESET_NOTES,
  presets,
  type RunConfig,
  savedConfig,
} from "../../runs/config.ts";
import { type ExampleTexts, exampleTexts } from "../../runs/example-texts.ts";
import { readJson } from "../../runs/json-file.ts";
import { isPolicyRun } from "../../runs/policy/config.ts";
import type { RunResult } from "../../runs/run.ts";
import { FROZEN_FORMATS, isStaged, savedStaged } from "../../runs/staged/config.ts";
import { folderConfig } from "../../runs/staged/model.ts";
import { stagedMemory } from "../../runs/staged/preparation.ts";
import { StagedRun } from "../../runs/staged/run.ts";
import { checkMemory } from "../../runs/training-memory.ts";
import { isTuned } from "../../runs/tuned/config.ts";
import { createCpuDevice } from "../../tensor/cpu/backend.ts";
import { ConfigError } from "../../tensor/errors.ts";
import { suggesting } from "../completion.ts";
import { flowing } from "../help.ts";
import { evaluationText } from "../live-view.ts";
import { type StagesFlags, stagedConfig } from "../stages-options.ts";
import { prepare, prepareStages, quote, trainWithView } from "../training-session.ts";
import {
  collect,
  fraction,
  naturalNumber,
  positiveInteger,
  positiveNumber,
  usageError,
  withThreads,
} from "./options.ts";

interface TrainFlags extends StagesFlags {
  readonly preset?: string;
  readonly config?: string;
  readonly out?: string;
  readonly extensions?: string;
  readonly steps?: number;
  readonly seconds?: number;
  readonly seed?: number;
  readonly resume?: string;
  readonly writeModel?: string;
  readonly ignoreMemory?: boolean;
  readonly threads?: number;
}

const examples = `
Presets:
${Object.entries(PRESET_NOTES)
  .map(([name, note]) => `  ${name.padEnd(9)}  ${note}`)
  .join("\n")}

Examples:
  deepseek-ts train src --preset v3-small --seconds 600
  deepseek-ts train notes --extensions md,txt --out runs/notes --steps 500
  deepseek-ts train src --config my.json            my.json: {"preset": "v2-small", "training": {"steps": 300}}
  deepseek-ts train --resume runs/v3-small-1

Models that see, trained on conversations (JSON lines: {"image": "a.png", "conversations": [..]} or {"messages": [..]}):
  deepseek-ts train --data pictures.jsonl --model deepseek-ai/deepseek-vl2-tiny --freeze vision,language
  deepseek-ts train --data pictures.jsonl --model my-model --freeze vision --batch 4 --rate 1e-5 --steps 500
  deepseek-ts train --stages stages.json --init my-config      my-config: config.json, tokenizer and processor, no weights
  deepseek-ts train --resume runs/vision-1 --write-model so-far            the model of a run that is not over
  stages.json: [{"name": "all", "rates": {"vision": 0.1}, "steps": 900, "mixture": [..]}], see docs/training.md`;

/** The first of `runs/<name>-1`, `runs/<name>-2`, .. that does not exist and that no process prepares. */
export async function freeRunFolder(name: string): Promise<string> {
  const names: string[] = await readdir("runs").catch(() => []);
  const taken = new Set(names);
  for (const name of names) {
    const target = ownedTarget(name);
    // What another process prepares has its name already.
    if (target !== null && !(await isAbandoned(join("runs", name)))) taken.add(target);
  }
  let n = 1;
  while (taken.has(`${name}-${n}`)) n++;
  return join("runs", `${name}-${n}`);
}

/** Refuses to prepare a run over something else. @throws ConfigError, FileError */
export async function checkFree(out: string): Promise<void> {
  if (await isTaken(join(out, "run.json"))) {
    throw new ConfigError("the run folder already exists", {
      where: out,
      hint: `Continue it with --resume ${quote(out)}, or choose another --out.`,
    });
  }
  await checkFolderPlace(await realPlace(out), {});
}

/** Preset, configuration file and options, in that order. @throws ConfigError, FormatError */
export async function runConfig(flags: TrainFlags): Promise<{ name: string; config: RunConfig }> {
  const file = flags.config === undefined ? {} : await readJson(flags.config, "--config takes a JSON file.");
  const from = configFrom(file, flags.config, flags.preset);
  const { name } = from;
  let { config } = from;
  const { steps, seconds, seed, extensions } = flags;
  if (extensions !== undefined) {
    const known = ["code", "typescript", "text", "all"].includes(extensions);
    const list = known ? extensions : extensions.split(",");
    config = mergeConfig(config, { data: { extensions: list } }, "--extensions");
  }
  if (seed !== undefined) config = mergeConfig(config, { seed }, "--seed");
  if (steps !== undefined) config = mergeConfig(config, { training: { steps } }, "--steps");
  if (seconds !== undefined) config = mergeConfig(config, { training: { seconds } }, "--seconds");
  return { name, config };
}

/** Where the model is, how good it is, and commands to try it. */
export function nextSteps(
  folder: string,
  { modelFolder, evaluation }: Pick<RunResult, "modelFolder" | "evaluation">,
  { prompt, fill }: ExampleTexts,
): string {
  const held = evaluation ? `, held-out loss ${evaluationText(evaluation)}` : "";
  const run = quote(folder);
  return [
    `saved     ${modelFolder}${held}`,
    "Try:",
    `  npx deepseek-ts complete ${run} ${quote(prompt ?? "TEXT")} --temperature 0.6`,
    ...(fill === null
      ? []
      : [
          `  npx deepseek-ts fill ${run} --prefix ${quote(fill.prefix)} --suffix ${quote(fill.suffix)} --whole`,
        ]),
    "",
  ].join("\n");
}

/** Where a model that sees is, and commands to try it. */
async function seenSteps(
  folder: string,
  { modelFolder, evaluation }: Pick<RunResult, "modelFolder" | "evaluation">,
): Promise<string> {
  const held = evaluation ? `, held-out loss ${evaluationText(evaluation)}` : "";
  const commands = [`npx deepseek-ts ask ${quote(folder)} --image PICTURE "QUESTION"`];
  const config = modelFolder === null ? null : parseVisionConfig(await folderConfig(modelFolder));
  if (config?.generation) commands.push(`npx deepseek-ts draw ${quote(folder)} "CAPTION"`);
  return `saved     ${modelFolder}${held}\nTry:\n${commands.map((each) => `  ${each}\n`).join("")}`;
}

/** Writes the model of a run in stages at its newest state. @returns the state's step */
async function writeStandingModel(run: string, folder: string, threads?: number): Promise<number> {
  await using device = await createCpuDevice({ threads });
  await using opened = await StagedRun.open(run, device, { onNotice: (text) => console.error(text) });
  await opened.saveModel(folder);
  return opened.trainer.step;
}

/** The settings of a run in stages, without what stands beside them in its file. */
function savedSettings(json: unknown, path: string) {
  const { fingerprints: _, ...saved } = json as Record<string, unknown>;
  return savedStaged(saved, path);
}

const asksForStages = ({ data, stages, model, init }: StagesFlags) =>
  [data, stages, model, init].some((flag) => flag !== undefined);

/** The options of models that see. */
function withStages(command: Command): void {
  command
    .option(
      "--data <file>",
      "conversations, or pictures with captions, to train a model that sees or draws on, JSON lines; may be given several times",
      collect,
    )
    .option("--images <folder>", "what paths of images are relative to (default: the data's folder)")
    .option("--allow-absolute", "let images lie outside the data's folder")
    .option("--model <model>", "model that sees to go on with: a folder or a name on the Hugging Face hub")
    .option(
      "--init <folder>",
      "model that sees to begin with random weights: config.json, tokenizer, processor",
    )
    .option(
      "--vae <name>",
      "autoencoder of JanusFlow: a folder, a file or a name on the hub (default: vae in the model's folder)",
    )
    .option("--stages <file>", "stages of training, JSON (docs/training.md)")
    .option(
      "--freeze <parts>",
      "parts to leave as they are: vision, projector, language, or names of weights",
    )
    .addOption(
      new Option(
        "--frozen <dtype>",
        "storage of what is never trained (default: auto, as in the files)",
      ).choices([...FROZEN_FORMATS]),
    )
    .addOption(new Option("--loss <what>", "what is learned (default: answers)").choices(["answers", "all"]))
    .option("--batch <n>", "samples of a step (default: 8)", positiveInteger)
    .option("--rate <r>", "peak learning rate (default: 2e-5, with --init 5e-4)", positiveNumber)
    .option("--length <n>", "most tokens of a sample (default: 2048)", positiveInteger)
    .option("--at-once <n>", "most tokens that run at once; larger batches run in pieces", positiveInteger)
    .option(
      "--held-out <n>",
      "samples of each source that are scored, not learned (default: 32, a tenth at most)",
      naturalNumber,
    )
    .option("--save-every <n>", "steps between saved states (default: 200)", positiveInteger)
    .option("--text-share <f>", "share of steps of text alone, 0 to 1 (default: as in the data)", fraction);
}

export function trainCommand(): Command {
  const command = new Command("train")
    .summary("train a model on a folder of text, or on pictures and conversations")
    .description(
      "Trains a tokenizer and a model on the text files of a folder. Everything goes into one run folder: settings, " +
        "tokens, metrics.jsonl, checkpoints, and finally the model in the Hugging Face layout. Ctrl-C saves and exits " +
        "with status 130. A run continued by --resume is bit-identical to one that was never interrupted, on any " +
        "number of threads (but processors with and without relaxed SIMD round differently).",
    )
    .argument("[folder]", "folder to train on; .gitignore files are honored")
    .addOption(
      suggesting(
        new Option(
          "--preset <name>",
          `starting point: ${Object.keys(presets).join(", ")} (default: v3-small)`,
        ),
        Object.keys(presets),
      ),
    )
    .option("--config <file>", "JSON file with settings that override the preset")
    .option("--out <folder>", "run folder (default: runs/<preset>-<n>)")
    .addOption(
      suggesting(
        new Option(
          "--extensions <list>",
          `files to include: ${EXTENSION_PRESETS.join(", ")}, or a list such as md,txt`,
        ),
        EXTENSION_PRESETS,
      ),
    )
    .option("--steps <n>", "number of optimizer steps", positiveInteger)
    .option(
      "--seconds <s>",
      "training time; sets the number of steps from the measured speed",
      positiveNumber,
    )
    .option("--seed <n>", "seed for data order, split and weights", naturalNumber)
    .option("--ignore-memory", "train even if the estimate exceeds this machine's memory")
    .option("--resume <folder>", "continue the run in this folder")
    .option(
      "--write-model <folder>",
      "with --resume, of a run on pictures: write the model as it stands, and train no further",
    );
  withStages(command);
  return withThreads(command)
    .addHelpText("after", flowing(examples))
    .action(async (folder: string | undefined, flags: TrainFlags) => {
      const { stdout } = process;
      let out: string;
      if (flags.resume !== undefined) {
        const { resume: _resume, threads, ignoreMemory, writeModel, ...others } = flags;
        const extra = Object.keys(others)[0];
        if (folder !== undefined || extra !== undefined) {
          usageError(command, `--resume uses the run's own settings; remove ${extra ?? folder}`);
        }
        out = flags.resume;
        const path = join(out, "run.json");
        const json = await readJson(path);
        if (isTuned(json)) {
          const { kind } = json as { kind: string };
          usageError(command, `the run is one of \`deepseek-ts ${kind}\`: continue it with that`);
        }
        if (isPolicyRun(json))
          usageError(command, "the run is one of `deepseek-ts grpo`: continue it with that");
        if (isStaged(json)) await stagedMemory(savedSettings(json, path), ignoreMemory);
        else checkMemory(savedConfig(json, path).config, ignoreMemory);
        if (writeModel !== undefined) {
          if (!isStaged(json)) usageError(command, `a run on text answers as it is: remove --write-model`);
          await checkFolderPlace(await realPlace(writeModel), {});
          const step = await writeStandingModel(out, writeModel, threads);
          stdout.write(`saved     ${writeModel}, after step ${step}\n`);
          return;
        }
      } else if (flags.writeModel !== undefined) {
        usageError(command, "--write-model needs --resume: it writes the model of a run as it stands");
      } else if (asksForStages(flags)) {
        const wrong =
          folder ?? (["preset", "config", "extensions"] as const).find((name) => flags[name] !== undefined);
        if (wrong !== undefined) {
          usageError(command, `models that see are trained on --data or --stages; remove ${wrong}`);
        }
        if (flags.steps !== undefined && flags.seconds !== undefined) {
          usageError(command, "--steps and --seconds are mutually exclusive");
        }
        const config = await stagedConfig(flags);
        out = flags.out ?? (await freeRunFolder("vision"));
        await checkFree(out);
        stdout.write(`memory    ${await stagedMemory(config, flags.ignoreMemory)}\n`);
        const stopped = await prepareStages(out, config, stdout);
        if (stopped !== 0) {
          process.exitCode = stopped;
          return;
        }
        stdout.write(`run       ${out}\n`);
      } else {
        if (folder === undefined) usageError(command, "no folder given");
        if (flags.steps !== undefined && flags.seconds !== undefined) {
          usageError(command, "--steps and --seconds are mutually exclusive");
        }
        const { name, config } = await runConfig(flags);
        out = flags.out ?? (await freeRunFolder(name));
        await checkFree(out);
        stdout.write(`memory    ${checkMemory(config, flags.ignoreMemory)}\n`);
        const stopped = await prepare(folder, out, config, stdout);
        if (stopped !== 0) {
          process.exitCode = stopped;
          return;
        }
        stdout.write(`run       ${out}\n`);
      }
      const result = await trainWithView({ folder: out, threads: flags.threads }, stdout);
      if (result.finished) {
        const seen = isStaged(await readJson(join(out, "run.json")));
        stdout.write(seen ? await seenSteps(out, result) : nextSteps(out, result, await exampleTexts(out)));
      }
      process.exitCode = result.exitCode;
    });
}
