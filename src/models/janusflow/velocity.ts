/**
 * One velocity of JanusFlow over whole sequences, as training takes it: prompts of any lengths, dropped ones among them. The
 * sampler keeps prompts in caches instead.
 */
import type { Capture } from "../../nn/context.ts";
import { ConfigError, ShapeError } from "../../tensor/errors.ts";
import { embedding } from "../../tensor/ops/embedding.ts";
import { concat, reshape } from "../../tensor/ops/reshape.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { VisionLanguageModel } from "../vision-language.ts";
import type { FlowGeneration } from "./generation.ts";

/** What one image is drawn for. */
export interface FlowPrompt {
  /** The prompt's ids with the token that begins an image at its end: the time's token takes its place. */
  readonly ids: readonly number[];
  /** Whether the condition is left out: only the first token is seen, and the others' positions stay empty. */
  readonly dropped?: boolean;
}

/** Where the tokens of a row come from, and their positions. */
interface Row {
  /** Text tokens that are seen. */
  readonly text: readonly number[];
  /** Position of the time's token. */
  readonly time: number;
}

/** A prompt as the language model sees it. @throws ShapeError for an empty one */
export function flowRow({ ids, dropped = false }: FlowPrompt): Row {
  if (ids.length < 2) {
    throw new ShapeError("a prompt to draw has a beginning and an end", {
      where: "flowRow",
      expected: "2 or more tokens",
      found: ids.length,
    });
  }
  const text = ids.slice(0, -1);
  return { text: dropped ? text.slice(0, 1) : text, time: text.length };
}

export interface Velocity {
  /** `[B, height, width, channels]`. */
  readonly velocity: Tensor;
  /** States at the latents' places after the final norm, `[B, N, d]`. */
  readonly states: Tensor;
  /** States of the same places before the final norm, after so many blocks; null if not asked for. */
  readonly inner: Tensor | null;
}

export interface VelocityOptions {
  /** Also give the states after this block, counted from 1. */
  readonly afterBlock?: number;
  /** Receives intermediate values, those of the language model included. */
  readonly capture?: Capture | null;
}

/** The generation part of a JanusFlow model. @throws ConfigError for other models */
export function flowOf(model: VisionLanguageModel): FlowGeneration {
  const { generation } = model;
  if (generation?.kind === "flow") return generation;
  throw new ConfigError("the model draws by no flow", {
    where: "JanusFlow",
    expected: "a config.json with vision_gen_enc_config",
    found: generation === null ? "a model that only sees" : "Janus, which draws by image tokens",
  });
}

/**
 * Velocities of latents `[B, height, width, channels]`, a row for each prompt, at times of each row from 0 to 1. Rows differ in
 * length, so they are padded on the right. Differentiable. @throws ShapeError, ConfigError
 */
export function flowVelocity(
  model: VisionLanguageModel,
  latents: Tensor,
  times: readonly number[],
  prompts: readonly FlowPrompt[],
  { afterBlock, capture = null }: VelocityOptions = {},
): Velocity {
  const flow = flowOf(model);
  const { device } = latents;
  const { language } = model;
  const [B] = latents.shape;
  if (prompts.length !== B || times.length !== B) {
    throw new ShapeError("latents, times and prompts differ in number", {
      where: "flowVelocity",
      expected: B,
      found: `${times.length} times, ${prompts.length} prompts`,
    });
  }
  const rows = prompts.map(flowRow);
  return device.tidy(() => {
    const time = flow.time(device, times);
    const { tokens, skip } = flow.encode(latents, time, capture);
    const [, N, d] = tokens.shape;
    const ids = Int32Array.from(rows.flatMap(({ text }) => text));
    const text = language.embed(device.tensor(ids, [1, ids.length], "i32")); // [1, texts, d]
    const flat = [text, time.token, tokens].map((each) => reshape(each, [1, each.size]));
    const table = reshape(concat(flat), [ids.length + B + B * N, d]);
    const T = Math.max(...rows.map(({ text: { length } }) => length)) + 1 + N;
    const order = new Int32Array(B * T);
    const positions = new Int32Array(B * T);
    const places = new Int32Array(B * N);
    let next = 0;
    rows.forEach(({ text: { length }, time: begin }, b) => {
      for (let i = 0; i < length; i++) {
        order[b * T + i] = next++;
        positions[b * T + i] = i;
      }
      for (let i = 0; i <= N; i++) {
        const at = b * T + length + i;
        order[at] = ids.length + (i === 0 ? b : B + b * N + i - 1);
        positions[at] = begin + i;
        if (i > 0) places[b * N + i - 1] = at;
      }
    });
    const input = embedding(table, device.tensor(order, [B, T], "i32")); // [B, T, d]
    const inner: Tensor[] = [];
    const hidden = language.hidden(input, {
      positions,
      ...{ capture, states: afterBlock === undefined ? undefined : { afterBlock, kept: inner } },
    }); // [B, T, d]
    const at = device.tensor(places, [B, N], "i32");
    const pick = (x: Tensor) => embedding(reshape(x, [B * T, d]), at); // [B, N, d]
    const states = pick(hidden);
    return {
      velocity: flow.decode(states, skip, time, capture),
      states,
      inner: inner.length === 0 ? null : pick(inner[0]),
    };
  });
}
