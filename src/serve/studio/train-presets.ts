/**
 * What a training can begin with, for the page: the presets of the command line with their size, their memory and the time they take, and
 * models that see with streams of the picture world. All of it is computed by what the command line uses.
 */
import { EXTENSION_PRESETS } from "../../data/select.ts";
import { parseConfig } from "../../models/config.ts";
import { countParameters } from "../../models/count.ts";
import { parseVisionConfig } from "../../models/vision-architectures.ts";
import { PRESET_NOTES, presets, type RunConfig, savedConfig } from "../../runs/config.ts";
import { stageDefaults, stagedRun, untaughtPart } from "../../runs/staged/defaults.ts";
import { describedModel, folderConfig } from "../../runs/staged/model.ts";
import { estimateTraining } from "../../runs/training-memory.ts";
import { measureModel } from "../../scaling/flops.ts";
import { languageSystem } from "./config-facts.ts";
import type { StoredModels } from "./model-list.ts";
import type { JsonObject, TrainPresets } from "./protocol.ts";
import type { Runs } from "./runs.ts";
import { shownPath } from "./shown-path.ts";

/** What the demo learned at on two cores of an AMD EPYC (Zen 5): bench/README.md. */
const MEASURED = { tokens: 6200, cores: 2 } as const;
/** Runs of this machine that are looked at for their speed, and the least steps of one: the first ones are slow. */
const MOST_LOOKED = 12;
const LEAST_STEPS = 20;
/** Models that see that are told. */
const MOST_MODELS = 20;
/** Seconds of a run on pictures, where nobody says them. */
const PICTURE_SECONDS = 300;

const networkOf = ({ model, vocabSize }: RunConfig) => parseConfig({ ...model, vocab_size: vocabSize });

/** Operations of forward and backward for a token, the vocabulary's among them. */
function workOf(config: RunConfig): number {
  const network = networkOf(config);
  const { flopsPerToken, sixN1, sixN2 } = measureModel(network, config.training.sequenceLength);
  return flopsPerToken + (sixN2 - sixN1) * (1 + network.mtpLayers);
}

/** Operations a second in training, and what that is known from. */
interface Speed {
  readonly operations: number;
  readonly run: string | null;
}

/** The speed of the newest run on text here that tells it, else that of the benchmarks, by cores. */
async function trainingSpeed(runs: Runs, threads: number): Promise<Speed> {
  const text = (await runs.list()).filter(({ kind }) => kind === "train");
  for (const { run, speed, step } of text.slice(0, MOST_LOOKED)) {
    if (speed === null || speed <= 0 || step < LEAST_STEPS) continue;
    try {
      const { config } = savedConfig((await runs.detail(run)).config, shownPath(run));
      return { operations: speed * workOf(config), run: shownPath(run) };
    } catch {
      // One of another version, or damaged: the next one may tell.
    }
  }
  return { operations: (MEASURED.tokens / MEASURED.cores) * threads * workOf(presets.demo), run: null };
}

/** Models that see, as a run in stages would go on with each on the picture world. */
async function pictureModels(stored: StoredModels): Promise<TrainPresets["pictures"]> {
  const found: TrainPresets["pictures"][number][] = [];
  for (const { model, path } of await stored.trainable()) {
    if (found.length >= MOST_MODELS) break;
    try {
      const described = describedModel(parseVisionConfig(await folderConfig(path)));
      const { language, generation } = described.config;
      const untaught = untaughtPart(described.parts);
      const config = stagedRun(language, {
        ...{ folder: model, start: "weights" },
        stages: [
          {
            ...{ name: "world", ...stageDefaults("weights"), seconds: PICTURE_SECONDS },
            mixture:
              generation === null
                ? [{ world: "questions" }]
                : [{ world: "captions", draw: true, weight: 2 }, { world: "questions" }],
            ...(untaught !== null && { rates: { [untaught]: 0 } }),
          },
        ],
      });
      found.push({ model, draws: generation !== null, config: config as unknown as JsonObject });
    } catch {
      // None that sees.
    }
  }
  return found;
}

/** @param threads that a run here trains on */
export async function trainPresets(runs: Runs, stored: StoredModels, threads: number): Promise<TrainPresets> {
  const { operations, run } = await trainingSpeed(runs, threads);
  const rows = Object.entries(presets).map(([name, config]) => {
    const { total, activated, mtp } = countParameters(networkOf(config));
    const { steps, batch, sequenceLength } = config.training;
    const tokensPerSecond = operations / workOf(config);
    return {
      ...{ name, note: PRESET_NOTES[name], system: languageSystem(networkOf(config).modelType) },
      parameters: { total, activated, mtp },
      memory: estimateTraining(config).total,
      tokensPerSecond,
      seconds: config.training.seconds ?? (steps! * batch.size * sequenceLength) / tokensPerSecond,
      config: config as unknown as JsonObject,
    };
  });
  const { extensions, includeNodeModules, maxBytes, filters } = presets.demo.data;
  return {
    presets: rows,
    speed: { run, measured: run === null ? MEASURED : null },
    extensions: EXTENSION_PRESETS,
    builtIn: { extensions, includeNodeModules, maxBytes, filters },
    pictures: await pictureModels(stored),
  };
}
