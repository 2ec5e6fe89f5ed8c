/** From settings to a run's folder: everything that can be refused is refused before anything is trained. */
import { join } from "node:path";
import { openCheckpoint } from "../../checkpoint/folder.ts";
import { configOf, modelWeights, storedRule } from "../../checkpoint/model.ts";
import { nodeFolder } from "../../checkpoint/node-files.ts";
import { Mixture } from "../../data/mixture.ts";
import { stageFolder } from "../../files/folder-sink.ts";
import { makeFolder } from "../../files/temporary.ts";
import { parseVisionConfig } from "../../models/vision-architectures.ts";
import type { VisionLanguageModel } from "../../models/vision-language.ts";
import type { StorageRule } from "../../nn/storage.ts";
import { ConfigError, FormatError } from "../../tensor/errors.ts";
import { groupRates } from "../../train/rates.ts";
import { writeJson, writeText } from "../json-file.ts";
import { checkStaged, type StageConfig, type StagedConfig } from "./config.ts";
import { LessonMaker } from "./lessons.ts";
import { checkStagedMemory } from "./memory.ts";
import {
  describedModel,
  folderConfig,
  folderReader,
  modelFiles,
  stagedStorage,
  trainedKeys,
} from "./model.ts";
import { checkDrawing } from "./opened-drawing.ts";
import { type OpenedSource, openSource, sourceKey } from "./sources.ts";

/** Storage of the weights as the folder has them. */
async function storedIn({ folder, start }: StagedConfig["model"]): Promise<StorageRule> {
  if (start === "random") return () => "f32";
  const checkpoint = await openCheckpoint(nodeFolder(folder));
  try {
    return storedRule(configOf(checkpoint), modelWeights(checkpoint));
  } finally {
    await checkpoint.close();
  }
}

/** The line about the memory of a run. @throws ConfigError if there is not that much, unless `force` */
export async function stagedMemory(config: StagedConfig, force = false): Promise<string> {
  const model = describedModel(parseVisionConfig(await folderConfig(config.model.folder)));
  const stored = await storedIn(config.model);
  const storage = stagedStorage(trainedKeys(model, config), config.model.frozen, stored);
  return checkStagedMemory(model, config, storage, force);
}

/** Refuses steps of text alone where nothing that reads it is trained: they would fail when they come. */
function checkText(model: VisionLanguageModel, stage: StageConfig): void {
  const { name, grouped = true, textShare } = stage;
  if (!grouped || textShare === 0) return;
  const rates = groupRates(model, stage, { where: `stage ${name}` });
  const language = [...model.language.parameters.groups()];
  if (language.some((group) => group.trained && rates(group) > 0)) return;
  throw new ConfigError("text alone teaches nothing where the language model is frozen", {
    where: `stage ${name}`,
    name: "mixture",
    expected: "sources of images",
    found: "samples of text alone",
    hint: "Set textShare to 0, or train a part of the language model.",
  });
}

/**
 * Checks settings, model and every line of the data, and makes the run's folder.
 * @throws ConfigError, FormatError naming the setting, or file, line and field; the signal's reason
 */
export async function prepareStaged(
  config: StagedConfig,
  out: string,
  onProgress: (text: string) => void = () => {},
  signal?: AbortSignal,
): Promise<void> {
  checkStaged(config, "stages");
  const { folder } = config.model;
  const model = describedModel(parseVisionConfig(await folderConfig(folder)));
  trainedKeys(model, config);
  const { maxPositions } = model.config.language;
  if (config.sequenceLength > maxPositions) {
    throw new FormatError("samples may be longer than the model reads", {
      where: folder,
      name: "sequenceLength",
      expected: `at most ${maxPositions}`,
      found: config.sequenceLength,
    });
  }
  const lessons = new LessonMaker(await folderReader(folder, model, config.sequenceLength));
  const fingerprints: Record<string, string> = {};
  const parts = new Map<string, OpenedSource["parts"]>();
  for (const { mixture } of config.stages) {
    for (const entry of mixture) {
      const key = sourceKey(entry);
      if (fingerprints[key] !== undefined) continue;
      const { seed, heldOut = 0 } = config;
      const options = { lessons, seed, heldOut, checkLengths: true, onProgress, signal };
      await using source = await openSource(entry, options);
      fingerprints[key] = source.fingerprint;
      if (heldOut > 0 && source.heldOut.length === 0) {
        onProgress(`${key}: nothing is held out of fewer than 10 samples`);
      }
      parts.set(key, source.parts);
    }
  }
  for (const stage of config.stages) {
    const mixed = stage.mixture.flatMap((entry) =>
      parts
        .get(sourceKey(entry))!
        .map(({ source, share }) => ({ source, weight: (entry.weight ?? 1) * share })),
    );
    const [sources, weights] = [mixed.map(({ source }) => source), mixed.map(({ weight }) => weight)];
    const { textShare, textWarmup } = stage;
    // It refuses shares of what the stage does not have.
    new Mixture(sources, { seed: config.seed, weights, textShare, textWarmup });
    if (mixed.some(({ source, weight }) => weight > 0 && source.modality === "text")) checkText(model, stage);
    const drawn = mixed.some(({ source, weight }) => weight > 0 && source.modality === "drawing");
    await checkDrawing(model, stage, config, drawn);
  }
  const staged = await stageFolder(out, { kind: "run" });
  try {
    const base = join(staged.path, "base");
    await makeFolder(base);
    for (const [name, text] of Object.entries(await modelFiles(folder)))
      await writeText(join(base, name), text);
    await writeJson(join(staged.path, "run.json"), { ...config, fingerprints });
    await staged.commit();
  } catch (error) {
    await staged.abort();
    throw error;
  }
}
