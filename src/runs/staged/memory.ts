/** What a run in stages needs of the machine's memory, estimated from its settings alone. */
import { thisMachine } from "../../files/machine.ts";
import type { Machine } from "../../models/memory-needs.ts";
import type { VisionLanguageModel } from "../../models/vision-language.ts";
import { groupBytes, plannedGroups, resolveStorage, type StorageRule } from "../../nn/storage.ts";
import { ConfigError } from "../../tensor/errors.ts";
import { sizeOf } from "../../tensor/tensor.ts";
import { formatBytes } from "../../text/units.ts";
import { groupRates } from "../../train/rates.ts";
import type { SiglipConfig } from "../../vision/tower-config.ts";
import { needText, ONE_MEMORY, UNCOUNTED, valuesOfLayer } from "../training-memory.ts";
import type { StageConfig, StagedConfig } from "./config.ts";

/** Bytes of a run at its most expensive stage. */
export interface StagedEstimate {
  readonly weights: number;
  readonly gradients: number;
  readonly moments: number;
  readonly activations: number;
  readonly total: number;
  /** The stage with the most. */
  readonly stage: string;
}

/** Values that one token of a SigLIP tower leaves on the tape in a layer: norms, q, k, v, attention, two sums, the MLP. */
const siglipValues = ({ width, mlpWidth }: SiglipConfig) => 9 * width + 2 * mlpWidth;

/** Values of a view on the tape, or, of a frozen tower, of the widest layer alone. */
function valuesOfView(model: VisionLanguageModel, trained: (prefix: string) => boolean): number {
  const { tower } = model.config;
  const root = model.parts.vision[0];
  const siglip = (config: SiglipConfig, prefix: string) => {
    const tokens = Math.floor(config.imageSize / config.patchSize) ** 2;
    return tokens * siglipValues(config) * (trained(prefix) ? config.layers : 1);
  };
  if (tower.kind !== "hybrid") return siglip(tower, root);
  const { high } = tower;
  const tokens = (high.imageSize / high.patchSize) ** 2;
  const own = tokens * 18 * high.width * (trained(`${root}.vision_tower_high`) ? high.layers : 2);
  return own + siglip(tower.low, `${root}.vision_tower_low`);
}

function stageBytes(model: VisionLanguageModel, config: StagedConfig, stage: StageConfig) {
  const rates = groupRates(model, stage, { where: `stage ${stage.name}` });
  let trained = 0;
  const names: string[] = [];
  for (const group of model.parameters.groups()) {
    if (!group.trained || rates(group) === 0) continue;
    trained += sizeOf(group.shape);
    names.push(...group.parts.map(({ name }) => name));
  }
  const language = model.config.language;
  const tokens = Math.min(config.tokensAtOnce, stage.batch.size * config.sequenceLength);
  let values = language.vocabSize;
  for (let layer = 0; layer < language.layers; layer++) values += UNCOUNTED * valuesOfLayer(language, layer);
  const perView = valuesOfView(model, (prefix) => names.some((name) => name.startsWith(prefix)));
  const viewTokens = model.imageTokens([0, 0]);
  // At most as many views as places for their tokens: at most a batch of pictures of one view, or its tiles.
  const views = Math.max(1, Math.min(Math.floor(tokens / viewTokens), 10 * stage.batch.size));
  const gradients = 4 * trained;
  const moments = (stage.optimizer?.momentDType === "bf16" ? 4 : 8) * trained;
  const pixels = 2 * 4 * 3 * model.imageSize ** 2 * views;
  return { gradients, moments, activations: 4 * (tokens * values + UNCOUNTED * views * perView) + pixels };
}

/** The memory of a described model in a run with these settings, in its stage that needs most. */
export function estimateStaged(
  model: VisionLanguageModel,
  config: StagedConfig,
  storage: StorageRule,
): StagedEstimate {
  const groups = [...model.parameters.groups()];
  const plan = resolveStorage(groups, storage);
  let weights = 0;
  for (const spec of plannedGroups(groups, plan)) weights += groupBytes(spec, plan.format(spec));
  const all = config.stages.map((stage) => {
    const bytes = stageBytes(model, config, stage);
    const total = weights + bytes.gradients + bytes.moments + bytes.activations;
    return { weights, ...bytes, total, stage: stage.name };
  });
  return all.reduce((a, b) => (b.total > a.total ? b : a));
}

/** One line about what the run needs and what there is. */
export function stagedMemoryText(estimate: StagedEstimate, machine: Machine): string {
  const { total, weights, gradients, moments, activations, stage } = estimate;
  const whole = `at most about ${formatBytes(total)} in stage ${stage}`;
  return needText(total, { weights, gradients, moments, activations }, machine, whole);
}

/** The line about a run's memory. @throws ConfigError if the machine does not have that much, unless `force` */
export function checkStagedMemory(
  model: VisionLanguageModel,
  config: StagedConfig,
  storage: StorageRule,
  force = false,
  machine: Machine = thisMachine(),
): string {
  const estimate = estimateStaged(model, config, storage);
  const text = stagedMemoryText(estimate, machine);
  const logits = 4 * config.tokensAtOnce * model.config.language.vocabSize;
  const hint =
    "Lower the batch, --length or --at-once, freeze more, or store frozen parts in fewer bits (--frozen q8).";
  if (logits > ONE_MEMORY) {
    throw new ConfigError("a tensor exceeds one WebAssembly memory", {
      where: "training",
      name: `the logits of ${config.tokensAtOnce} tokens`,
      expected: `at most ${formatBytes(ONE_MEMORY)}`,
      found: formatBytes(logits),
      hint,
    });
  }
  if (estimate.total > machine.total && !force) {
    throw new ConfigError("the run exceeds this machine's memory", {
      where: "training",
      expected: `at most ${formatBytes(machine.total)}`,
      found: text,
      hint: `${hint} Use --ignore-memory to try anyway.`,
    });
  }
  return text;
}
