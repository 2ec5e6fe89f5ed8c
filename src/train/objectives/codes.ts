/**
 * Drawing by image tokens in training (Janus, arXiv 2410.13848 sections 3.2 and 3.3): cross-entropy of the ids of an image's
 * tokens, each after the prompt and the ids before it, on states after the final norm.
 *
 * A prompt ends with the token that begins an image, whose state says the first id. The last id is not read, and neither is a
 * token that would end the image: nothing comes after them, so they could change no loss.
 */
import { unconditionalIds } from "../../models/janus/generation.ts";
import type { TrainableModel } from "../../models/token-model.ts";
import { ShapeError } from "../../tensor/errors.ts";
import { crossEntropy } from "../../tensor/ops/cross-entropy.ts";
import { checkIds, embedding } from "../../tensor/ops/embedding.ts";
import { concat, reshape } from "../../tensor/ops/reshape.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { Batch } from "../batches.ts";
import type { Objective, Trainable } from "./objective.ts";

/** Images as ids, each with what it is drawn for. */
export interface CodeBatch extends Batch {
  /** Ids of each prompt, up to the token that begins an image. */
  readonly prompts: readonly (readonly number[])[];
  /** `[batch * N]` ids of the image tokenizer, row by row. */
  readonly codes: Int32Array;
}

/** What draws by ids. */
export interface CodeDrawing {
  readonly kind: "codes";
  readonly config: { readonly vq: { readonly codes: number } };
  embed(ids: Tensor): Tensor;
  logits(hidden: Tensor): Tensor;
}

/** What the objective needs of a model that draws by ids. */
export interface TrainableCodeModel extends Trainable {
  readonly language: TrainableModel;
  readonly generation: CodeDrawing | { readonly kind: "flow" } | null;
}

/**
 * The prompt, or, where `drop` says so, its form without condition, as drawing under guidance has it: everything between the
 * first and the last token is the padding token, which is attended to.
 */
export const trainedPrompt = (ids: readonly number[], padId: number, drop: boolean): readonly number[] =>
  drop ? unconditionalIds(ids, padId) : ids;

/** Cross-entropy of the ids of images. @throws ShapeError for prompts and ids that do not match, ConfigError */
export const codeObjective: Objective<TrainableCodeModel, CodeBatch> = (model, { prompts, codes }) => {
  const { device, language, generation } = model;
  if (generation?.kind !== "codes") {
    throw new ShapeError("the model draws by no ids", {
      where: "codeObjective",
      expected: "a config.json with gen_vision_config",
      found: generation === null ? "a model that only sees" : "one that draws by a flow",
    });
  }
  const B = prompts.length;
  const N = codes.length / B;
  if (!Number.isInteger(N) || N < 1 || prompts.some(({ length }) => length === 0)) {
    throw new ShapeError("prompts and images differ in number, or are empty", {
      where: "codeObjective",
      expected: `as many ids for each of ${B} prompts, which are not empty`,
      found: `${codes.length} ids, prompts of ${prompts.map(({ length }) => length).join(", ")}`,
    });
  }
  checkIds(codes, generation.config.vq.codes, "codeObjective");
  const ids = Int32Array.from(prompts.flat());
  const width = language.config.hiddenSize;
  return device.tidy(() => {
    const text = language.embed(device.tensor(ids, [1, ids.length], "i32")); // [1, texts, d]
    const image = generation.embed(device.tensor(codes, [1, B * N], "i32")); // [1, B N, d]
    const flat = [text, image].map((each) => reshape(each, [1, each.size]));
    const table = reshape(concat(flat), [ids.length + B * N, width]);
    const T = Math.max(...prompts.map(({ length }) => length)) + N - 1;
    // Rows differ in length: their ends repeat the first token, which nothing before them sees.
    const order = new Int32Array(B * T);
    const places = new Int32Array(B * N);
    let next = 0;
    prompts.forEach(({ length }, b) => {
      for (let i = 0; i < length; i++) order[b * T + i] = next++;
      for (let i = 0; i < N; i++) {
        places[b * N + i] = b * T + length - 1 + i;
        if (i < N - 1) order[b * T + length + i] = ids.length + b * N + i;
      }
    });
    const input = embedding(table, device.tensor(order, [B, T], "i32")); // [B, T, d]
    const hidden = reshape(language.hidden(input, { routing: "batched" }), [B * T, width]);
    const states = embedding(hidden, device.tensor(places, [B * N], "i32")); // [B N, d]
    const logits = generation.logits(states); // [B N, codes]
    const targets = device.tensor(codes, [B * N], "i32");
    return { loss: crossEntropy(logits, targets, { denominator: B * N, consumeLogits: true }) };
  });
};
