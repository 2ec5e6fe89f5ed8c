/**
 * The sampler of JanusFlow (arXiv 2411.07975 section 3; `generate` of app_janusflow.py): latents move from noise to data along
 * velocities that the model predicts. What does not change between steps is computed once: keys and values of the prompt,
 * with and without condition, and all that depends on the time alone. Each step then runs the time's token and those of the
 * latents, after which the caches forget them.
 */

import type { FlowGeneration, FlowTime } from "../../models/janusflow/generation.ts";
import { flowOf } from "../../models/janusflow/velocity.ts";
import type { TokenModel } from "../../models/token-model.ts";
import type { VisionLanguageModel } from "../../models/vision-language.ts";
import type { Cache } from "../../nn/cache.ts";
import { ConfigError, ShapeError } from "../../tensor/errors.ts";
import { addScaled } from "../../tensor/ops/elementwise.ts";
import { embedding } from "../../tensor/ops/embedding.ts";
import { concat, reshape } from "../../tensor/ops/reshape.ts";
import { type Device, disposeAll, sameShape, type Tensor } from "../../tensor/tensor.ts";
import { towerSide } from "../../vision/tower-config.ts";
import { pause, type Turn } from "./turns.ts";

/**
 * How steps follow the velocities: `euler` as the reference, one evaluation a step; `midpoint` takes the velocity in the
 * middle of each step, two evaluations.
 */
export type FlowSolver = "euler" | "midpoint";

/** Solvers with the evaluations of one step. */
export const flowSolvers: Readonly<Record<FlowSolver, number>> = { euler: 1, midpoint: 2 };

/** What settings are that are not given; of steps see `defaultFlowSteps`. */
export const FLOW_DEFAULTS = { guidance: 2, solver: "euler" } as const;

/** Steps of the reference; the midpoint's take two evaluations each. */
export const defaultFlowSteps = (solver: FlowSolver): number => 30 / flowSolvers[solver];

export const MOST_FLOW_STEPS = 1000;

export interface FlowSettings {
  /** The prompt's ids with the token that begins an image at its end: the time's token takes its place. */
  readonly ids: readonly number[];
  /** Weight w of w v(z | prompt) + (1 - w) v(z); default 2. 1 leaves out the second, 0 the first. */
  readonly guidance?: number;
  /** Default `euler`. */
  readonly solver?: FlowSolver;
  /** 1 to 1000; default 30, with `midpoint` 15. */
  readonly steps?: number;
}

/** Tokens along each side of an image that is drawn: as many as the understanding tower sees. */
const flowGrid = ({ config }: VisionLanguageModel): number => towerSide(config.tower);

/** Tokens of an image in each evaluation, without the time's. */
export const flowTokens = (model: VisionLanguageModel): number => flowGrid(model) ** 2;

/** Height and width of the latents that a model draws. */
export function flowLatentSide(model: VisionLanguageModel): number {
  return flowGrid(model) * flowOf(model).config.encoder.stride;
}

export interface FlowStep {
  /** Latents after the step, `[B, height, width, channels]`. */
  readonly latents: Tensor;
  /** The velocity that moved them, of the same shape. */
  readonly velocity: Tensor;
  /** Time after the step, up to 1. */
  readonly time: number;
}

/** Rows with or without the condition: what their caches hold of the prompt, one cache for each image of a batch. */
interface Branch {
  readonly prefix: number;
  readonly caches: Cache[];
}

function refuse(name: string, expected: string, found: unknown): never {
  throw new ConfigError("the drawing cannot be made this way", {
    where: "FlowSampler",
    ...{ name, expected, found },
  });
}

/** Times of all evaluations in order. */
function timesOf(solver: FlowSolver, steps: number): number[] {
  const each = flowSolvers[solver];
  return Array.from({ length: steps * each }, (_, i) => i / (steps * each));
}

/** Runs the prompt, `ids`, into a new cache with room for `more` positions. */
async function prefixCache(model: TokenModel, ids: readonly number[], more: number, turn: Turn) {
  const { device } = model;
  const cache = model.createCache(ids.length + more);
  try {
    using input = device.inference(() => model.ids([ids]));
    const segments = [{ cache, tokens: ids.length }];
    (await model.hiddenByLayer(input, { segments }, turn)).dispose();
    return cache;
  } catch (error) {
    cache[Symbol.dispose]();
    throw error;
  }
}

/** Row `at` of a table for each of `count` images, `[count, n]`. */
function repeated(table: Tensor, at: number, count: number): Tensor {
  return embedding(table, table.device.tensor(new Int32Array(count).fill(at), [count], "i32"));
}

/** Draws any number of images of one prompt, some at a time. */
export class FlowSampler implements Disposable {
  readonly steps: number;
  readonly solver: FlowSolver;
  readonly guidance: number;
  readonly #model: VisionLanguageModel;
  readonly #flow: FlowGeneration;
  /** Of all evaluations: row i of each tensor is that of evaluation i. */
  readonly #times: FlowTime;
  /** Position of the time's token. */
  readonly #start: number;
  /** The conditional rows first; those that guidance leaves out are not there. */
  readonly #branches: readonly Branch[];

  private constructor(
    model: VisionLanguageModel,
    settings: Required<FlowSettings>,
    times: FlowTime,
    branches: readonly Branch[],
  ) {
    this.#model = model;
    this.#flow = flowOf(model);
    this.#times = times;
    this.#start = settings.ids.length - 1;
    this.#branches = branches;
    this.steps = settings.steps;
    this.solver = settings.solver;
    this.guidance = settings.guidance;
  }

  /** Runs the prompt. @throws ConfigError, ShapeError, what `turn` throws */
  static async prepare(
    model: VisionLanguageModel,
    settings: FlowSettings,
    turn: Turn = () => null,
  ): Promise<FlowSampler> {
    const { ids, guidance = FLOW_DEFAULTS.guidance, solver = FLOW_DEFAULTS.solver } = settings;
    const { steps = defaultFlowSteps(solver) } = settings;
    const { language, device } = model;
    const flow = flowOf(model);
    if (!Object.hasOwn(flowSolvers, solver)) refuse("solver", Object.keys(flowSolvers).join(" or "), solver);
    if (!(Number.isInteger(steps) && steps >= 1 && steps <= MOST_FLOW_STEPS)) {
      refuse("steps", `a whole number, 1 to ${MOST_FLOW_STEPS}`, steps);
    }
    if (!Number.isFinite(guidance)) refuse("guidance", "a number", guidance);
    if (ids.length < 2) refuse("ids", "a beginning and an end", `${ids.length} tokens`);
    const text = ids.slice(0, -1);
    const own = 1 + flowTokens(model);
    const most = language.config.maxPositions - own;
    if (text.length > most) {
      throw new ConfigError("prompt and image exceed the model's context", {
        where: "JanusFlow",
        name: "prompt",
        expected: `at most ${most + 1} tokens`,
        found: ids.length,
        hint: "Shorten the prompt.",
      });
    }
    const times = device.inference(() => flow.time(device, timesOf(solver, steps)));
    const branches: Branch[] = [];
    try {
      // Without the condition all but the first token is hidden, so it need not be there.
      for (const [share, row] of [
        [guidance, text],
        [1 - guidance, text.slice(0, 1)],
      ] as const) {
        if (share === 0) continue;
        branches.push({ prefix: row.length, caches: [await prefixCache(language, row, own, turn)] });
      }
    } catch (error) {
      disposeAll({ ...times });
      for (const { caches } of branches) for (const cache of caches) cache[Symbol.dispose]();
      throw error;
    }
    return new FlowSampler(model, { ids, guidance, solver, steps }, times, branches);
  }

  get #device(): Device {
    return this.#model.device;
  }

  /** Positions that one evaluation runs for an image, in all its rows. */
  get rowTokens(): number {
    return this.#branches.length * (1 + flowTokens(this.#model));
  }

  /**
   * The velocity of latents `[B, height, width, channels]` at the time of an evaluation, counted from 0, under guidance;
   * the caller's. @throws ShapeError, what `turn` throws
   */
  async velocity(latents: Tensor, evaluation: number, turn: Turn = () => null): Promise<Tensor> {
    const device = this.#device;
    const side = flowLatentSide(this.#model);
    const [B] = latents.shape;
    const { latentChannels } = this.#flow.config.encoder;
    if (latents.shape.length !== 4 || !sameShape(latents.shape, [B, side, side, latentChannels])) {
      throw new ShapeError("latents of another size", {
        where: "FlowSampler",
        expected: `[images, ${side}, ${side}, ${latentChannels}]`,
        found: latents.shape,
      });
    }
    const held: Tensor[] = [];
    const keep = <T>(made: T): T => {
      held.push(...([made].flat().filter((each) => each !== null) as Tensor[]));
      return made;
    };
    try {
      await pause(turn);
      const seen = device.inference(() => {
        const { tokens, skip } = this.#flow.encode(latents, this.#time(evaluation, B));
        return { input: this.#input(tokens, evaluation), skip, tokens: tokens.shape[1] };
      });
      keep([seen.input, seen.skip]);
      const segments = this.#segments(B, seen.tokens + 1);
      const positions = Int32Array.from(
        { length: segments.length * (seen.tokens + 1) },
        (_, i) => this.#start + (i % (seen.tokens + 1)),
      );
      const hidden = keep(
        await this.#model.language.hiddenByLayer(seen.input, { segments, positions }, turn),
      ); // [1, rows (1 + N), d]
      for (const { prefix, caches } of this.#branches) for (const cache of caches) cache.truncate(prefix);
      const velocities: Tensor[] = [];
      for (const branch of this.#branches.keys()) {
        await pause(turn);
        const velocity = device.inference(() => {
          const states = this.#states(hidden, branch * B, B, seen.tokens); // [B, N, d]
          return this.#flow.decode(states, seen.skip, this.#time(evaluation, B));
        });
        velocities.push(keep(velocity));
      }
      if (velocities.length === 1) {
        held.splice(held.indexOf(velocities[0]), 1);
        return velocities[0];
      }
      const [withPrompt, without] = velocities;
      return device.inference(() => addScaled(withPrompt, without, this.guidance, 1 - this.guidance));
    } finally {
      disposeAll(held);
    }
  }

  /** One step of the solver, counted from 0. Latents stay the caller's, the result is. @throws ShapeError, what `turn` throws */
  async step(latents: Tensor, step: number, turn: Turn = () => null): Promise<FlowStep> {
    const device = this.#device;
    const move = (velocity: Tensor, by: number) =>
      device.inference(() => addScaled(latents, velocity, 1, by));
    const time = (step + 1) / this.steps;
    if (this.solver === "euler") {
      const velocity = await this.velocity(latents, step, turn);
      return { latents: move(velocity, 1 / this.steps), velocity, time };
    }
    using first = await this.velocity(latents, 2 * step, turn);
    using middle = move(first, 0.5 / this.steps);
    const velocity = await this.velocity(middle, 2 * step + 1, turn);
    return { latents: move(velocity, 1 / this.steps), velocity, time };
  }

  #time(evaluation: number, count: number): FlowTime {
    const { token, encoder, decoder } = this.#times;
    const pick = (table: Tensor) => repeated(table, evaluation, count);
    return { token: pick(token), encoder: encoder.map(pick), decoder: decoder.map(pick) };
  }

  /** Rows of the pass, `[1, rows (1 + N), d]`: the time's token, then those of the latents, which all branches share. */
  #input(tokens: Tensor, evaluation: number): Tensor {
    const [B, N, d] = tokens.shape;
    const { device } = tokens;
    const time = this.#times.token.slice(evaluation, evaluation + 1); // [1, d]
    const flat = concat([time, reshape(tokens, [1, tokens.size])]);
    const table = reshape(flat, [1 + B * N, d]);
    const rows = this.#branches.length * B;
    const order = new Int32Array(rows * (1 + N));
    for (let row = 0; row < rows; row++) {
      for (let i = 0; i < N; i++) order[row * (1 + N) + 1 + i] = 1 + (row % B) * N + i;
    }
    return embedding(table, device.tensor(order, [1, order.length], "i32"));
  }

  /** Caches of so many images in each branch, with the prompt in them. */
  #segments(count: number, tokens: number) {
    for (const { prefix, caches } of this.#branches) {
      while (caches.length < count) {
        const cache = this.#model.language.createCache(prefix + tokens);
        caches.push(cache);
        cache.copyFrom(caches[0], prefix);
      }
    }
    return this.#branches.flatMap(({ caches }) => caches.slice(0, count).map((cache) => ({ cache, tokens })));
  }

  /** States of the latents' tokens of `count` rows from `first` on, `[count, N, d]`. */
  #states(hidden: Tensor, first: number, count: number, N: number): Tensor {
    const [, rows, d] = hidden.shape;
    const places = Int32Array.from(
      { length: count * N },
      (_, i) => (first + Math.floor(i / N)) * (1 + N) + 1 + (i % N),
    );
    const at = hidden.device.tensor(places, [count, N], "i32");
    return embedding(reshape(hidden, [rows, d]), at);
  }

  [Symbol.dispose](): void {
    disposeAll({ ...this.#times });
    for (const { caches } of this.#branches) for (const cache of caches) cache[Symbol.dispose]();
  }
}
