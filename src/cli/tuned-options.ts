/** What `deepseek-ts sft` and `dpo` share: options, settings that follow from them, and the way from a model's name to a run. */
import { basename, dirname, resolve } from "node:path";
import { type Command, Option } from "commander";
import { BUILTIN_TEMPLATES } from "../chat/builtin.ts";
import { readTextFile } from "../files/text-file.ts";
import { countParameters } from "../models/count.ts";
import { locateModel } from "../pretrained/node-load.ts";
import { checkAdapterMemory } from "../runs/adapter-memory.ts";
import { readJson } from "../runs/json-file.ts";
import { modelPath } from "../runs/model-path.ts";
import type { RunResult } from "../runs/run.ts";
import { checkMemory } from "../runs/training-memory.ts";
import { type BasePlace, basePath, type DescribedBase, describeBase } from "../runs/tuned/base-model.ts";
import { savedTuned, type TunedAdapter, type TunedConfig } from "../runs/tuned/config.ts";
import type { TunedRows } from "../runs/tuned/preparation.ts";
import { ConfigError } from "../tensor/errors.ts";
import { formatCompact, formatCount, plural } from "../text/units.ts";
import type { LearningRateSchedule } from "../train/schedule.ts";
import { SHAPES } from "../train/schedule.ts";
import { hubFlags, type ModelFlags, noticeOnStderr, withHub, withoutAdapter } from "./commands/open-model.ts";
import {
  collect,
  naturalNumber,
  notNegative,
  numberThat,
  positiveInteger,
  positiveNumber,
  withThreads,
} from "./commands/options.ts";
import { suggesting } from "./completion.ts";
import { evaluationText } from "./live-view.ts";
import { ADAPTER_RATE, loraOption } from "./lora-option.ts";
import { ProgressLine } from "./progress-line.ts";
import { quote } from "./training-session.ts";

export interface TunedFlags extends Omit<ModelFlags, "dtype"> {
  readonly data?: readonly string[];
  readonly split?: string;
  readonly subset?: string;
  readonly out?: string;
  readonly template?: string;
  readonly length?: number;
  readonly overlong?: "cut" | "drop";
  readonly batch?: number;
  readonly atOnce?: number;
  readonly rate?: number;
  readonly schedule?: LearningRateSchedule["shape"];
  readonly warmup?: number;
  readonly weightDecay?: number;
  readonly epochs?: number;
  readonly steps?: number;
  readonly seconds?: number;
  readonly heldOut?: number;
  readonly saveEvery?: number;
  readonly seed?: number;
  readonly dtype?: "auto" | "f32" | "bf16" | "f16";
  readonly lora?: TunedAdapter;
  readonly resume?: string;
  readonly ignoreMemory?: boolean;
  readonly threads?: number;
}

/** What a kind of run does where nothing else is said. */
export interface TunedDefaults {
  readonly epochs: number;
  readonly batch: number;
  /** Factor of the learning rate that suits fine-tuning of a model of this size. */
  readonly rateFactor: number;
  /** What a batch consists of, for the help. */
  readonly units: string;
}

const LENGTH = 2048;
const AT_ONCE = 8192;
/** Values of logits that are held at once, for models of a large vocabulary. */
const LOGITS = 2 ** 28;
/** Steps between saved states, at most. */
const SAVE_EVERY = 200;
const MOST_HELD_OUT = 512;

const share = numberThat("a number from 0 to below 1", (n) => n >= 0 && n < 1);

/** Adds `--template`. */
export function withTemplateOption(command: Command): Command {
  return command.addOption(
    suggesting(
      new Option(
        "--template <name>",
        `chat template: ${Object.keys(BUILTIN_TEMPLATES).join(", ")}, or a Jinja file (default: the model's own)`,
      ),
      Object.keys(BUILTIN_TEMPLATES),
    ),
  );
}

/** What `--template` names: a built-in one by its name, or the Jinja source of a file. */
export async function templateSource(template: string | undefined): Promise<string | undefined> {
  const known = template === undefined || Object.hasOwn(BUILTIN_TEMPLATES, template);
  return known ? template : await readTextFile(template);
}

/** Adds the options that both commands have. */
export function withTuned(command: Command, { epochs, batch, units }: TunedDefaults): Command {
  command
    .option(
      "--data <name>",
      "rows: a .jsonl or .parquet file, a folder of them, or a data set on the Hugging Face hub; may be given several times",
      collect,
    )
    .option(
      "--split <name>",
      "split to read where file names tell: train (default), test, validation, train_sft, ..",
    )
    .option("--subset <folder>", "folder of the one configuration to read of a data set that has several")
    .option("--out <folder>", `run folder (default: runs/${command.name()}-<n>)`);
  withTemplateOption(command)
    .option(
      "--length <n>",
      `most tokens of a row (default: ${LENGTH}, the model's positions at most)`,
      positiveInteger,
    )
    .addOption(
      new Option("--overlong <what>", "what becomes of longer rows (default: cut)").choices(["cut", "drop"]),
    )
    .option("--epochs <n>", `passes over the data (default: ${epochs})`, positiveNumber)
    .option("--steps <n>", "number of optimizer steps, in place of --epochs", positiveInteger)
    .option("--seconds <s>", "training time, in place of --epochs", positiveNumber)
    .option(
      "--batch <n>",
      `${units} of a step (default: ${batch}, an eighth of the data at most)`,
      positiveInteger,
    )
    .option(
      "--at-once <n>",
      `most tokens that run at once; larger batches run in parts (default: ${AT_ONCE})`,
      positiveInteger,
    )
    .option("--rate <r>", "peak learning rate (default: by the model's size)", positiveNumber)
    .addOption(
      new Option("--schedule <shape>", "of the learning rate (default: cosine, to a tenth)").choices(SHAPES),
    )
    .option("--warmup <n>", "steps of linear warm-up (default: 10, half of the run at most)", naturalNumber)
    .option("--weight-decay <w>", "of AdamW (default: 0)", notNegative)
    .option(
      "--held-out <f>",
      "share of rows that are scored, not learned (default: 0.05; 512 rows at most)",
      share,
    )
    .option(
      "--save-every <n>",
      `steps between saved states (default: a tenth of the run, ${SAVE_EVERY} at most)`,
      positiveInteger,
    )
    .option("--seed <n>", "seed for the order of the data (default: 1)", naturalNumber)
    .addOption(
      new Option(
        "--dtype <dtype>",
        "format of the resulting weights (default: auto, as in the model's files); training itself holds f32",
      ).choices(["auto", "f32", "bf16", "f16"]),
    )
    .addOption(loraOption())
    .option("--ignore-memory", "train even if the estimate exceeds this machine's memory")
    .option("--resume <folder>", "continue the run in this folder");
  return withThreads(withoutAdapter(withHub(command)));
}

/** Finds a model's files, which are downloaded where they lie on the hub. @throws ConfigError, FormatError, HubError */
export async function locateBase(name: string, flags: Omit<ModelFlags, "dtype">): Promise<BasePlace> {
  const line = new ProgressLine(process.stderr);
  const path = await modelPath(name);
  try {
    const place = await locateModel(path, {
      ...hubFlags(flags),
      ...{ onProgress: line.update, onNotice: noticeOnStderr },
    });
    const full = resolve(place.source.path);
    const shown = path === name ? place.name : basename(resolve(name));
    return place.gguf === null
      ? { name: shown, folder: full, gguf: null }
      : { name: shown, folder: dirname(full), gguf: basename(full) };
  } finally {
    line.clear();
  }
}

/** 2e-5 for a billion parameters, as the field has it, and more for smaller models by the root of the ratio. */
export function fineTuningRate(parameters: number): number {
  const rate = 2e-5 * Math.sqrt(1e9 / parameters);
  return Number(Math.min(1e-3, Math.max(2e-6, rate)).toPrecision(2));
}

/** The settings that both kinds have. @throws ConfigError */
function commonConfig(
  { base, config, dtype }: DescribedBase,
  flags: TunedFlags,
  defaults: TunedDefaults,
): Omit<TunedConfig, "kind" | "preference" | "learn" | "overlong"> & Pick<TunedConfig, "overlong"> {
  const { data = [], split, subset, steps, seconds } = flags;
  if (data.length === 0) {
    throw new ConfigError("no data to learn from", {
      where: "--data",
      expected: "a file, a folder or a data set",
    });
  }
  const { maxPositions, vocabSize } = config;
  if (flags.length !== undefined && flags.length > maxPositions) {
    throw new ConfigError("rows may be longer than the model reads", {
      ...{ where: "--length", expected: `at most ${maxPositions}`, found: flags.length },
    });
  }
  if (flags.lora !== undefined && flags.dtype !== undefined) {
    throw new ConfigError("an adapter is saved in f32", {
      ...{ where: "--dtype", found: flags.dtype, hint: "base=.. in --lora stores the weights below it." },
    });
  }
  const sequenceLength = flags.length ?? Math.min(LENGTH, maxPositions);
  const { total } = countParameters(config);
  const factor = defaults.rateFactor * (flags.lora === undefined ? 1 : ADAPTER_RATE);
  const peak = flags.rate ?? Number((factor * fineTuningRate(total)).toPrecision(2));
  const shape = flags.schedule ?? "cosine";
  return {
    seed: flags.seed ?? 1,
    model: base,
    data: {
      names: data,
      ...(split !== undefined && { split }),
      ...(subset !== undefined && { subset }),
      heldOut: { share: flags.heldOut ?? 0.05, most: MOST_HELD_OUT },
    },
    sequenceLength,
    tokensAtOnce: flags.atOnce ?? Math.max(sequenceLength, Math.min(AT_ONCE, Math.floor(LOGITS / vocabSize))),
    training: {
      steps: steps ?? (seconds === undefined ? 1 : null),
      seconds: seconds ?? null,
      batch: { size: flags.batch ?? defaults.batch },
      learningRate: {
        ...{ peak, warmupSteps: flags.warmup ?? 10, shape },
        ...(shape === "cosine" && { finalFraction: 0.1 }),
      },
      optimizer: { weightDecay: flags.weightDecay ?? 0, clipNorm: 1 },
      // As in pre-training; the biases of routers stay.
      balanceAlpha: config.moe?.balanceAlpha ?? 0,
      evaluateEvery: flags.saveEvery ?? SAVE_EVERY,
      saveEvery: flags.saveEvery ?? SAVE_EVERY,
      keep: 2,
    },
    dtype: flags.dtype === undefined || flags.dtype === "auto" ? dtype : (flags.dtype.toUpperCase() as "F32"),
    overlong: flags.overlong ?? "cut",
    ...(flags.lora !== undefined && { lora: flags.lora }),
  };
}

/** A run as its command asks for it. */
export interface AskedRun {
  readonly described: DescribedBase;
  readonly common: ReturnType<typeof commonConfig>;
  /** Passes over the data; null where steps or seconds decide. */
  readonly epochs: number | null;
  /** Name of a built-in template, or a Jinja source. */
  readonly template?: string;
}

/** Reads model and options, nothing of the data. @throws ConfigError, FormatError, HubError */
export async function askedRun(model: string, flags: TunedFlags, defaults: TunedDefaults): Promise<AskedRun> {
  const { epochs, steps, seconds, template } = flags;
  const named = Object.entries({ epochs, steps, seconds }).filter(([, value]) => value !== undefined);
  if (named.length > 1) {
    throw new ConfigError("several lengths of the run", {
      where: named.map(([name]) => `--${name}`).join(" and "),
      expected: "one of them",
    });
  }
  const described = await describeBase(await locateBase(model, flags));
  const source = await templateSource(template);
  return {
    described,
    common: commonConfig(described, flags, defaults),
    epochs: steps === undefined && seconds === undefined ? (epochs ?? defaults.epochs) : null,
    ...(source !== undefined && { template: source }),
  };
}

/** The line about a run's memory. @throws ConfigError if the machine does not have that much, unless `force` */
export function tunedMemory(
  { tokensAtOnce, sequenceLength, training, kind, lora }: TunedConfig,
  { json, config }: Pick<DescribedBase, "json" | "config">,
  force = false,
): string {
  const rows = Math.min(training.batch.size, Math.floor(tokensAtOnce / sequenceLength));
  // A pair is two rows, which run together.
  const size = kind === "dpo" ? Math.max(2, rows) : Math.max(1, rows);
  if (lora !== undefined) {
    const tokens = size * sequenceLength;
    const { base, recompute } = lora;
    const { momentDType } = training.optimizer;
    return checkAdapterMemory({ config, settings: lora, base, recompute, tokens, momentDType }, force);
  }
  const settings = { optimizer: training.optimizer, batch: { size }, sequenceLength, mtpWeight: 0 };
  const advice = "Lower --length or --at-once, or use a smaller model.";
  const asked = { model: json, vocabSize: config.vocabSize, training: settings };
  return checkMemory(asked, force, undefined, advice);
}

/** What became of the rows, a line for each kind of loss. */
export function rowsText(
  { rows, heldOut, cut, dropped, empty, unprompted, tokens, learned }: TunedRows,
  length: number,
): string {
  const lines = [
    `rows      ${plural(rows - heldOut, "row")} to learn, ${formatCount(heldOut)} held out; ` +
      `${formatCompact(tokens)} tokens, ${formatCompact(learned)} of them learned`,
  ];
  const longer = `longer than ${formatCount(length)} tokens (--length)`;
  if (cut > 0) lines.push(`cut       ${plural(cut, "row")} ${longer}`);
  if (dropped > 0) lines.push(`left out  ${plural(dropped, "row")} ${longer}`);
  if (empty > 0) lines.push(`left out  ${plural(empty, "row")} in which nothing is left to learn`);
  if (unprompted > 0) {
    lines.push(
      `note      ${plural(unprompted, "answer")} without reasoning, which the prompts of the chat template open: chat with ` +
        "--no-thinking, or choose another --template",
    );
  }
  return `${lines.join("\n")}\n`;
}

/** Where the model is, how good it is, and a command to try it. */
export function tunedSteps(
  folder: string,
  { modelFolder, evaluation }: Pick<RunResult, "modelFolder" | "evaluation">,
  { lora, model }: Pick<TunedConfig, "lora" | "model">,
): string {
  const held = evaluation ? `, held-out loss ${evaluationText(evaluation)}` : "";
  const base = basePath(model);
  const tried = lora === undefined ? quote(folder) : `${quote(base)} --adapter ${quote(folder)}`;
  return `saved     ${modelFolder}${held}\nTry:\n  npx deepseek-ts chat ${tried}\n`;
}

/** The settings of a run on disk. @throws FormatError */
export async function tunedRunConfig(folder: string): Promise<TunedConfig> {
  const path = `${folder}/run.json`;
  return savedTuned(await readJson(path), path);
}
