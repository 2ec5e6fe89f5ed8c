/**
 * A language model with low-rank adapters: what a trainer sees of it are the adapters alone, so that optimizer, saved
 * states and averages hold nothing of the weights below, which may be stored in any way.
 */
import type { Cache, CacheDtype } from "../nn/cache.ts";
import {
  type AdaptableMatrix,
  adaptableMatrices,
  LowRankAdapters,
  type LowRankSettings,
  PEFT_PREFIX,
} from "../nn/low-rank-adapters.ts";
import type { Parameters } from "../nn/parameters.ts";
import { describeModule, ParameterScope } from "../nn/scope.ts";
import { checkNumber, nearestName, type Place, refuseValue } from "../tensor/check-value.ts";
import { ConfigError } from "../tensor/errors.ts";
import { Random } from "../tensor/random.ts";
import type { Device, Tensor } from "../tensor/tensor.ts";
import type { CausalLM } from "./causal-lm.ts";
import type { ForwardOptions, LayeredOptions, TokenModelConfig, TrainableModel } from "./token-model.ts";

/** All linear layers but the head, as PEFT means it. */
export const ALL_LINEAR = "all-linear";

/** Most columns that the two matrices of an adapter have in common. */
const MOST_RANK = 4096;

/** @throws ConfigError */
export function checkAdapterSettings(place: Place, settings: LowRankSettings): void {
  checkNumber(place, "rank", settings.rank, { integer: true, min: 1, max: MOST_RANK });
  checkNumber(place, "alpha", settings.alpha, { above: 0, max: 1e6 });
  const { targets } = settings;
  if (!Array.isArray(targets) || targets.length === 0) {
    refuseValue(place, "targets", "names of matrices, such as q_proj, or all-linear", targets);
  }
  for (const target of targets) {
    if (typeof target !== "string" || target === "") refuseValue(place, "targets", "names", target);
  }
}

const ends = (module: string, target: string) => module === target || module.endsWith(`.${target}`);

/**
 * The matrices of a model that `targets` names, of the main model alone. @throws ConfigError for a name that no matrix has,
 * and for one that only some experts have
 */
export function targetMatrices(
  parameters: Pick<Parameters, "groups">,
  targets: readonly string[],
  place: Place,
): AdaptableMatrix[] {
  const all = adaptableMatrices(parameters.groups());
  const everything = (matrix: AdaptableMatrix) => matrix.group.role !== "head";
  const named = targets.filter((target) => target !== ALL_LINEAR);
  for (const target of named) {
    if (all.some(({ modules }) => modules.some((module) => ends(module, target)))) continue;
    const last = [...new Set(all.map(({ modules }) => modules[0].split(".").at(-1)!))];
    const near = nearestName(target, last);
    throw new ConfigError("no matrix of the model has this name", {
      where: place.where,
      name: `${place.prefix ?? ""}targets`,
      expected: `${last.join(", ")}, ${ALL_LINEAR}`,
      found: target,
      ...(near !== null && { hint: `Did you mean ${near}?` }),
    });
  }
  return chosenMatrices(all, (module, matrix) => {
    if (named.some((target) => ends(module, target))) return true;
    return named.length < targets.length && everything(matrix);
  });
}

/** Those of which `chosen` holds. @throws ConfigError if it holds for some experts of a layer only */
export function chosenMatrices(
  all: readonly AdaptableMatrix[],
  chosen: (module: string, matrix: AdaptableMatrix) => boolean,
): AdaptableMatrix[] {
  return all.filter((matrix) => {
    const { modules } = matrix;
    const missing = modules.filter((module) => !chosen(module, matrix));
    if (missing.length === 0 || missing.length === modules.length) return missing.length === 0;
    throw new ConfigError("the experts of a layer are adapted together", {
      where: "adapters",
      name: missing[0],
      expected: `all ${modules.length} experts or none`,
      found: `${modules.length - missing.length}`,
    });
  });
}

/** Adapters of a model, with memory and first values: A by `seed`, B zero, so that they add nothing yet. @throws ConfigError */
export function createAdapters(model: CausalLM, settings: LowRankSettings, seed: number): LowRankAdapters {
  const place = { where: "createAdapters" };
  checkAdapterSettings(place, settings);
  const adapters = allocateAdapters(
    model.device,
    targetMatrices(model.mainParameters, settings.targets, place),
    settings,
  );
  adapters.parameters.initialize(new Random(seed));
  return adapters;
}

/** The parameters of adapters with these settings, without memory. @throws ConfigError for a target that is unknown */
export function describeAdapters(
  parameters: Pick<Parameters, "groups">,
  settings: LowRankSettings,
): Parameters {
  const matrices = targetMatrices(parameters, settings.targets, { where: "adapters" });
  return describeModule((scope) => new LowRankAdapters(scope, matrices, settings), PEFT_PREFIX).parameters;
}

/** The same without values, which are to be loaded. */
export function allocateAdapters(
  device: Device,
  matrices: readonly AdaptableMatrix[],
  settings: LowRankSettings,
): LowRankAdapters {
  const plan = { format: () => "f32" as const, usesPieces: () => false };
  const scope = ParameterScope.allocate(device, plan, PEFT_PREFIX);
  return new LowRankAdapters(scope, matrices, settings);
}

export class AdaptedModel implements TrainableModel, Disposable {
  readonly base: CausalLM;
  readonly adapters: LowRankAdapters;
  /** Whether the values inside blocks are made again in the backward pass: a fraction of the memory, a third more time. */
  recompute = false;

  /**
   * Attaches the adapters to the model and freezes its own weights, until this is disposed, which frees the adapters and
   * not the model. @throws ConfigError if the model has others
   */
  constructor(base: CausalLM, adapters: LowRankAdapters) {
    adapters.attach();
    base.parameters.freeze(() => true);
    this.base = base;
    this.adapters = adapters;
  }

  get parameters(): Parameters {
    return this.adapters.parameters;
  }

  get device(): Device {
    return this.base.device;
  }

  get config(): TokenModelConfig {
    return this.base.config;
  }

  ids(rows: readonly ArrayLike<number>[]): Tensor {
    return this.base.ids(rows);
  }

  embed(ids: Tensor): Tensor {
    return this.base.embed(ids);
  }

  hidden(input: Tensor, options?: ForwardOptions): Tensor {
    return this.base.hidden(input, { ...options, recompute: options?.recompute ?? this.recompute });
  }

  hiddenByLayer(
    input: Tensor,
    options: LayeredOptions,
    between: () => Promise<void> | null,
  ): Promise<Tensor> {
    return this.base.hiddenByLayer(input, options, between);
  }

  logits(hidden: Tensor): Tensor {
    return this.base.logits(hidden);
  }

  rows(hidden: Tensor, places: readonly number[]): Tensor {
    return this.base.rows(hidden, places);
  }

  createCache(capacity?: number, dtype?: CacheDtype): Cache {
    return this.base.createCache(capacity, dtype);
  }

  createMtpCache(capacity?: number, dtype?: CacheDtype): Cache {
    return this.base.createMtpCache(capacity, dtype);
  }

  mtp(hidden: Tensor, next: Tensor, options?: ForwardOptions & { readonly depth?: number }) {
    return this.base.mtp(hidden, next, options);
  }

  [Symbol.dispose](): void {
    this.adapters[Symbol.dispose]();
    this.base.parameters.freeze(() => false);
  }
}
