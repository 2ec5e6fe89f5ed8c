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
  type StageDefaults,
  type StagedConfig,
  stagesOf,
} from "../runs/staged/config.ts";
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
const LENGTH = 2048;
const TOKENIZER = "gen_vision_model";
/** Samples that are held out of each source. */
const HELD_OUT = 32;
/** Tokens at once, for models of a large vocabulary. */
const LOGITS = 2 ** 28;

/** Settings where nothing else says them: of fine-tuning, or of a model that begins with random weights. */
function defaultsOf({ loss, batch, rate, init }: StagesFlags): StageDefaults {
  const peak = rate ?? (init === undefined ? 2e-5 : 5e-4);
  return {
    batch: { size: batch ?? 8 },
    learningRate: { peak, warmupSteps: 20, shape: "cosine", finalFraction: 0.1 },
    optimizer: { weightDecay: 0, clipNorm: 1 },
    loss: loss ?? "answers",
  };
}

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
  const defaults = defaultsOf(flags);
  let { steps, seconds } = flags;
  if (steps === undefined && seconds === undefined) {
    steps = Math.ceil((ROUNDS * (await conversationsIn(mixture))) / defaults.batch.size);
  }
  const frozen = (freeze ?? "")
    .split(",")
    .map((part) => part.trim())
    .filter(Boolean);
  // No loss of Janus reaches its image tokenizer.
  const untaught = parts.generation?.some((name) => name.startsWith(TOKENIZER)) ? [TOKENIZER] : [];
  const rates = Object.fromEntries([...frozen, ...untaught].map((part) => [part, 0]));
  const unknown = Object.keys(rates).find(
    (part) => !Object.hasOwn(parts, part) && part !== TOKENIZER && !part.includes("."),
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
  const { model: named, init, stages: file, frozen, seed, length, atOnce } = flags;
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
  const { maxPositions, vocabSize } = model.config.language;
  const sequenceLength = length ?? Math.min(LENGTH, maxPositions);
  const listed = async () => {
    const stages = stagesOf(await readJson(file!, "--stages takes a JSON file."), defaultsOf(flags), file!);
    const own = dirname(resolve(file!));
    return stages.map((stage) =>
      Array.isArray(stage.mixture)
        ? { ...stage, mixture: stage.mixture.map((entry) => absolute(own, entry)) }
        : stage,
    );
  };
  const stages = file === undefined ? [await oneStage(flags, model.parts)] : await listed();
  const config = {
    kind: "stages",
    seed: seed ?? 1,
    model: {
      folder,
      start: init === undefined ? "weights" : "random",
      frozen: frozen ?? "auto",
      initStd: 0.02,
      ...(flags.vae !== undefined && { vae: flags.vae }),
    },
    sequenceLength,
    tokensAtOnce: atOnce ?? Math.max(sequenceLength, Math.min(4096, Math.floor(LOGITS / vocabSize))),
    stages,
    saveEvery: flags.saveEvery ?? 200,
    keep: 2,
    heldOut: flags.heldOut ?? HELD_OUT,
  } satisfies StagedConfig;
  checkStaged(config, file ?? "train");
  return config;
}
