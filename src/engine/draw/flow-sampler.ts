/**
 * The sampler of JanusFlow (arXiv 2411.07975 section 3; `generate` of app_janusflow.py): latents move from noise to data along
 * velocities that the model predicts. What does not change between steps is computed once: keys and values of the prompt,
 * with and without condition, and all that depends on the time alone. Each step then runs the time's token and those of the
 * latents, after which the caches forget them. Those passes may be shared with other samplers.
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
import type { Guest, GuestRows, LongSeat, Room } from "../guests.ts";
import { step } from "../step.ts";
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

/** Where a sampler's passes run, and who has a turn between their layers and its own work. */
export interface FlowPasses extends Pick<LongSeat, "pass" | "coming"> {
  readonly turn: Turn;
}

/** Passes that nobody shares. */
export function ownPasses({ language }: VisionLanguageModel, turn: Turn = () => null): FlowPasses {
  return {
    turn,
    coming: () => ({ [Symbol.dispose]() {} }),
    pass: async (guest) => void (await step(language, [], { guests: [guest], between: turn })),
  };
}

/** Rows of a guest that reads embeddings `[1, n, d]` and wants the states of some, `[wanted, d]`. */
class Evaluation implements Guest, Disposable {
  readonly #rows: GuestRows;
  #states: Tensor | null = null;

  constructor(input: Tensor, rows: Pick<GuestRows, "segments" | "positions" | "wanted">) {
    const [, n] = input.shape;
    this.#rows = { ...rows, ids: new Array(n).fill(0), embedded: () => [{ rows: input, at: 0 }] };
  }

  /** What the pass made. */
  get states(): Tensor {
    return this.#states!;
  }

  rows(): GuestRows {
    return this.#rows;
  }

  take(states: Tensor): void {
    this.#states = states.device.unscoped(() => states.view(states.shape));
  }

  async decide(): Promise<void> {}

  /** It is the sampler that begins anew. */
  restart(): void {}

  [Symbol.dispose](): void {
    this.#states?.dispose();
  }
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

/** What is drawn without being said, and what is refused. @throws ConfigError */
export function checkedFlow(model: VisionLanguageModel, settings: FlowSettings): Required<FlowSettings> {
  const { ids, guidance = FLOW_DEFAULTS.guidance, solver = FLOW_DEFAULTS.solver } = settings;
  const { steps = defaultFlowSteps(solver) } = settings;
  if (!Object.hasOwn(flowSolvers, solver)) refuse("solver", Object.keys(flowSolvers).join(" or "), solver);
  if (!(Number.isInteger(steps) && steps >= 1 && steps <= MOST_FLOW_STEPS)) {
    refuse("steps", `a whole number, 1 to ${MOST_FLOW_STEPS}`, steps);
  }
  if (!Number.isFinite(guidance)) refuse("guidance", "a number", guidance);
  if (ids.length < 2) refuse("ids", "a beginning and an end", `${ids.length} tokens`);
  const most = model.language.config.maxPositions - flowTokens(model);
  if (ids.length > most) {
    throw new ConfigError("prompt and image exceed the model's context", {
      where: "JanusFlow",
      name: "prompt",
      expected: `at most ${most} tokens`,
      found: ids.length,
      hint: "Shorten the prompt.",
    });
  }
  return { ids, guidance, solver, steps };
}

/** Prompts that images have a row of: the whole one and its first token, as far as guidance leaves them any weight. */
function prefixesOf({ ids, guidance }: Pick<Required<FlowSettings>, "ids" | "guidance">) {
  const text = ids.slice(0, -1);
  // Without the condition all but the first token is hidden, so it need not be there.
  return [...(guidance === 0 ? [] : [text]), ...(guidance === 1 ? [] : [text.slice(0, 1)])];
}

/** Rows of one image in a pass, and the tokens that its caches hold meanwhile. */
export function flowRoom(
  model: VisionLanguageModel,
  settings: Pick<Required<FlowSettings>, "ids" | "guidance">,
): Room {
  const own = 1 + flowTokens(model);
  const prefixes = prefixesOf(settings);
  return {
    rows: prefixes.length * own,
    tokens: prefixes.reduce((sum, { length }) => sum + length + own, 0),
  };
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
  readonly #passes: FlowPasses;

  private constructor(
    model: VisionLanguageModel,
    settings: Required<FlowSettings>,
    times: FlowTime,
    branches: readonly Branch[],
    passes: FlowPasses,
  ) {
    this.#model = model;
    this.#flow = flowOf(model);
    this.#times = times;
    this.#start = settings.ids.length - 1;
    this.#branches = branches;
    this.#passes = passes;
    this.steps = settings.steps;
    this.solver = settings.solver;
    this.guidance = settings.guidance;
  }

  /** Runs the prompt. @throws ConfigError, ShapeError, what the passes' turn throws */
  static async prepare(
    model: VisionLanguageModel,
    settings: FlowSettings,
    passes: FlowPasses = ownPasses(model),
  ): Promise<FlowSampler> {
    const { language, device } = model;
    const flow = flowOf(model);
    const known = checkedFlow(model, settings);
    const own = 1 + flowTokens(model);
    const times = device.inference(() => flow.time(device, timesOf(known.solver, known.steps)));
    const branches: Branch[] = [];
    try {
      for (const row of prefixesOf(known)) {
        branches.push({ prefix: row.length, caches: [await prefixCache(language, row, own, passes.turn)] });
      }
    } catch (error) {
      disposeAll({ ...times });
      for (const { caches } of branches) for (const cache of caches) cache[Symbol.dispose]();
      throw error;
    }
    return new FlowSampler(model, known, times, branches, passes);
  }

  get #device(): Device {
    return this.#model.device;
  }

  /**
   * The velocity of latents `[B, height, width, channels]` at the time of an evaluation, counted from 0, under guidance;
   * the caller's. @throws ShapeError, what the passes throw
   */
  async velocity(latents: Tensor, evaluation: number, passes = this.#passes): Promise<Tensor> {
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
      await pause(passes.turn);
      const seen = device.inference(() => {
        const { tokens, skip } = this.#flow.encode(latents, this.#time(evaluation, B));
        return { input: this.#input(tokens, evaluation), skip, tokens: tokens.shape[1] };
      });
      keep([seen.input, seen.skip]);
      const segments = this.#segments(B, seen.tokens + 1);
      const positions = Array.from(
        { length: segments.length * (seen.tokens + 1) },
        (_, i) => this.#start + (i % (seen.tokens + 1)),
      );
      using pass = new Evaluation(seen.input, {
        ...{ segments, positions },
        // All but the time's tokens.
        wanted: [...positions.keys()].filter((row) => row % (seen.tokens + 1) > 0),
      });
      await passes.pass(pass);
      for (const { prefix, caches } of this.#branches) for (const cache of caches) cache.truncate(prefix);
      const velocities: Tensor[] = [];
      for (const branch of this.#branches.keys()) {
        await pause(passes.turn);
        const velocity = device.inference(() => {
          const own = pass.states.slice(branch * B * seen.tokens, (branch + 1) * B * seen.tokens);
          const states = reshape(own, [B, seen.tokens, own.shape[1]]); // [B, N, d]
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

  /** One step of the solver, counted from 0. Latents stay the caller's, the result is. @throws ShapeError, what the passes throw */
  async step(latents: Tensor, step: number): Promise<FlowStep> {
    using _coming = this.#passes.coming();
    const device = this.#device;
    const move = (velocity: Tensor, by: number) =>
      device.inference(() => addScaled(latents, velocity, 1, by));
    const time = (step + 1) / this.steps;
    if (this.solver === "euler") {
      const velocity = await this.velocity(latents, step);
      return { latents: move(velocity, 1 / this.steps), velocity, time };
    }
    using first = await this.velocity(latents, 2 * step);
    using middle = move(first, 0.5 / this.steps);
    const velocity = await this.velocity(middle, 2 * step + 1);
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
        const cache = this.#model.language.createCache();
        caches.push(cache);
        cache.share(caches[0], prefix, prefix + tokens);
      }
    }
    return this.#branches.flatMap(({ caches }) => caches.slice(0, count).map((cache) => ({ cache, tokens })));
  }

  [Symbol.dispose](): void {
    disposeAll({ ...this.#times });
    for (const { caches } of this.#branches) for (const cache of caches) cache[Symbol.dispose]();
  }
}
