/** The settings of a run in stages, from the options of `deepseek-ts train` and the file of its stages. */
import { dirname, resolve } from "node:path";
import { openConversations } from "../data/conversations/node-conversations.ts";
import { parseVisionConfig } from "../models/vision-architectures.ts";
import { locateModel } from "../pretrained/node-load.ts";
import { readJson } from "../runs/json-file.ts";
import {
  checkStaged,
  type LearnedText,
  type MixtureEntry,
  type StageConfig,
  type StagedConfig,
  stagesOf,
} from "../runs/staged/config.ts";
import { stageDefaults, stagedRun, untaughtPart } from "../runs/staged/defaults.ts";
import { describedModel, folderConfig } from "../runs/staged/model.ts";
import { ConfigError } from "../tensor/errors.ts";

export interface StagesFlags {
  readonly data?: readonly string[];
  readonly images?: string;
  readonly allowAbsolute?: boolean;
  readonly model?: string;
  readonly init?: string;
  readonly stages?: string;
  readonly freeze?: string;
  readonly frozen?: StagedConfig["model"]["frozen"];
  readonly loss?: LearnedText;
  readonly batch?: number;
  readonly rate?: number;
  readonly length?: number;
  readonly atOnce?: number;
  readonly textShare?: number;
  readonly saveEvery?: number;
  readonly heldOut?: number;
  readonly steps?: number;
  readonly seconds?: number;
  readonly seed?: number;
  readonly vae?: string;
}

/** Times that a data set is seen where neither steps nor seconds are given. */
const ROUNDS = 3;
const startOf = ({ init }: StagesFlags) => (init === undefined ? "weights" : "random");

const absolute = (folder: string, entry: MixtureEntry): MixtureEntry => {
  if ("world" in entry) return entry;
  if ("text" in entry) return { ...entry, text: resolve(folder, entry.text) };
  const images = entry.images === undefined ? {} : { images: resolve(folder, entry.images) };
  return { ...entry, data: resolve(folder, entry.data), ...images };
};

/** How many conversations the files hold. */
async function conversationsIn(entries: readonly MixtureEntry[]): Promise<number> {
  let count = 0;
  for (const entry of entries) {
    if (!("data" in entry)) continue;
    const { data, images, allowAbsolute } = entry;
    const options = { ...(images && { folder: images }), ...(allowAbsolute && { allowAbsolute }) };
    const { conversations } = await openConversations(data, { ...options, checkImages: false });
    count += conversations.size;
    await conversations.close();
  }
  return count;
}

async function oneStage(
  flags: StagesFlags,
  parts: Readonly<Record<string, readonly string[]>>,
): Promise<StageConfig> {
  const { data = [], images, allowAbsolute, freeze, textShare } = flags;
  if (data.length === 0) {
    throw new ConfigError("no data to train on", {
      where: "train",
      expected: "--data FILE, or --stages FILE",
    });
  }
  const mixture = data.map((file) =>
    absolute(".", { data: file, ...(images && { images }), ...(allowAbsolute && { allowAbsolute }) }),
  );
  const defaults = stageDefaults(startOf(flags), flags);
  let { steps, seconds } = flags;
  if (steps === undefined && seconds === undefined) {
    steps = Math.ceil((ROUNDS * (await conversationsIn(mixture))) / defaults.batch.size);
  }
  const frozen = (freeze ?? "")
    .split(",")
    .map((part) => part.trim())
    .filter(Boolean);
  const untaught = untaughtPart(parts);
  const rates = Object.fromEntries(
    [...frozen, ...(untaught === null ? [] : [untaught])].map((part) => [part, 0]),
  );
  const unknown = Object.keys(rates).find(
    (part) => !Object.hasOwn(parts, part) && part !== untaught && !part.includes("."),
  );
  if (unknown !== undefined) {
    throw new ConfigError("no such part of the model", {
      where: "--freeze",
      name: unknown,
      expected: `${Object.keys(parts).join(", ")}, or what official names begin with`,
    });
  }
  return {
    name: "train",
    mixture,
    ...defaults,
    ...(Object.keys(rates).length > 0 && { rates }),
    ...(steps !== undefined && { steps }),
    ...(seconds !== undefined && { seconds }),
    ...(textShare !== undefined && { textShare }),
  };
}

/** The settings of a run in stages. @throws ConfigError, FormatError naming option, file or setting */
export async function stagedConfig(flags: StagesFlags): Promise<StagedConfig> {
  const { model: named, init, stages: file } = flags;
  const start = startOf(flags);
  if ((named === undefined) === (init === undefined)) {
    throw new ConfigError("a run in stages begins with a model", {
      where: "train",
      expected: "--model MODEL to go on with its weights, or --init FOLDER to begin with random ones",
      found: named === undefined ? "neither" : "both",
    });
  }
  let folder: string;
  if (init !== undefined) folder = resolve(init);
  else {
    const { source, gguf } = await locateModel(named!);
    if (gguf !== null) {
      throw new ConfigError("a GGUF file cannot be trained", {
        where: named,
        hint: "Give the folder of the model in the Hugging Face layout.",
      });
    }
    folder = resolve(source.path);
  }
  const model = describedModel(parseVisionConfig(await folderConfig(folder)));
  const listed = async () => {
    const stages = stagesOf(
      await readJson(file!, "--stages takes a JSON file."),
      stageDefaults(start, flags),
      file!,
    );
    const own = dirname(resolve(file!));
    return stages.map((stage) =>
      Array.isArray(stage.mixture)
        ? { ...stage, mixture: stage.mixture.map((entry) => absolute(own, entry)) }
        : stage,
    );
  };
  const stages = file === undefined ? [await oneStage(flags, model.parts)] : await listed();
  const config = stagedRun(model.config.language, { ...flags, folder, start, stages });
  checkStaged(config, file ?? "train");
  return config;
}
