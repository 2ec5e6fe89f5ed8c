/**
 * What generating, chatting, training and evaluating need of a language model. `CausalLM` is one; the language part of
 * a larger model, or a model made for a test, is another.
 */
import type { Cache, CacheDtype } from "../nn/cache.ts";
import type { Capture, MlaForm, Routing, Segment } from "../nn/context.ts";
import type { RouterOutput } from "../nn/moe.ts";
import type { Parameters } from "../nn/parameters.ts";
import type { Device, Tensor } from "../tensor/tensor.ts";
import type { LanguageConfig } from "./config.ts";

export interface ForwardOptions {
  /** Earlier tokens of the one sequence given; the new ones are added. Not while a tape records. */
  readonly cache?: Cache | null;
  /**
   * Several sequences in one pass, instead of `cache`: the input is one row `[1, N]` with the tokens of the segments
   * one after another. Every cache occurs once. Not while a tape records.
   */
  readonly segments?: readonly Segment[] | null;
  /**
   * Position of every token of the input, `[B * T]` or `[N]` whole numbers: a sequence may have gaps. Default: 0, 1, 2, .. in
   * each row, and with caches on from what they hold.
   */
  readonly positions?: ArrayLike<number>;
  /**
   * Lengths of documents that do not see each other, through all rows one after another; positions begin anew in each
   * if none are given. Neither with caches nor in the absorbed form.
   */
  readonly documents?: readonly number[] | null;
  /** Also keeps the state after block `afterBlock` (from 1), before any norm, in `kept`; it lives as long as the result. */
  readonly states?: { readonly afterBlock: number; readonly kept: Tensor[] };
  /**
   * Keeps only the states between blocks for the backward pass and computes the rest again there; default false. Not while
   * values are captured.
   */
  readonly recompute?: boolean;
  /** Which form of latent attention runs; default `auto`. */
  readonly mlaForm?: MlaForm;
  /** Which kernel routers use; default `each`. The training objective asks for `batched`. */
  readonly routing?: Routing;
  /** Whether research models with a capacity drop what exceeds it, as the training objective does; default false. */
  readonly training?: boolean;
  /** Receives intermediate values under their fixture names (`hidden.0`, `router.1.topk_ids`, ..). */
  readonly capture?: Capture | null;
  /** Collects the routers' decisions; their tensors then live as long as the result. */
  readonly routers?: RouterOutput[] | null;
}

/** Options of a pass that gives others a turn between layers. */
export interface LayeredOptions extends Pick<ForwardOptions, "mlaForm" | "routers" | "positions"> {
  readonly segments: readonly Segment[];
}

/** Sizes and ids that users of a model look at. */
export type TokenModelConfig = Pick<
  LanguageConfig,
  "vocabSize" | "hiddenSize" | "maxPositions" | "eosTokenIds" | "mtpLayers" | "moe"
>;

export interface TokenModel {
  readonly device: Device;
  readonly config: TokenModelConfig;

  /** Token ids of `rows` (all of one length) as `[B, T]` i32. @throws ShapeError */
  ids(rows: readonly ArrayLike<number>[]): Tensor;

  /** Rows of the embedding: ids `[..]` i32 to `[.., d]`. */
  embed(ids: Tensor): Tensor;

  /**
   * The states after the final norm, `[B, T, d]`, of token ids `[B, T]` i32 or of embeddings `[B, T, d]` f32. With
   * caches the input is one row, of one sequence or of several as `segments`. @throws ShapeError
   */
  hidden(input: Tensor, options?: ForwardOptions): Tensor;

  /**
   * As `hidden` over caches and without gradients, with a turn for others between layers: what `between` returns is
   * awaited before each. If it throws, the pass is given up, and the caches hold what they held before it. The result,
   * and what `routers` collects, are the caller's. @throws ShapeError
   */
  hiddenByLayer(input: Tensor, options: LayeredOptions, between: () => Promise<void> | null): Promise<Tensor>;

  /** Logits of normed states: `[.., d]` to `[.., V]`. */
  logits(hidden: Tensor): Tensor;

  /** Rows `places` of all tokens' states: `[B, T, d]` to `[places.length, d]`, no gradient. */
  rows(hidden: Tensor, places: readonly number[]): Tensor;

  /** Memory for the past of one sequence in the main model. */
  createCache(capacity?: number, dtype?: CacheDtype): Cache;

  /** Memory for the past of one sequence in the multi-token-prediction modules. */
  createMtpCache(capacity?: number, dtype?: CacheDtype): Cache;

  /**
   * Multi-token-prediction module `depth` (0 for the first): row i combines `hidden[i]` (after the final norm, or the
   * previous module's `normed`) with the token after it, `next[i]`, for the token after that one. `logits` of `normed`
   * are the prediction. hidden `[B, T, d]`; next: ids `[B, T]` i32 or embeddings `[B, T, d]` f32. @throws ConfigError
   */
  mtp(
    hidden: Tensor,
    next: Tensor,
    options?: ForwardOptions & { readonly depth?: number },
  ): { readonly normed: Tensor };
}

/** A model whose weights an optimizer can change. */
export interface TrainableModel extends TokenModel {
  readonly parameters: Parameters;
}
