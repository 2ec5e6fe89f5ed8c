/**
 * The decoder-only language model of every family, run over whole sequences or caches. V3's multi-token-prediction
 * modules (arXiv 2412.19437 section 2.2) are wired as the released weights expect: `eh_proj` on
 * `[enorm(embedding); hnorm(hidden)]`, the hidden state taken after the final norm.
 */
import { hashLogits } from "../nn/baseline-moe.ts";
import { Cache, type CacheDtype } from "../nn/cache.ts";
import { checkNames } from "../nn/check-names.ts";
import { captured, type ForwardContext, type PlacedSegment, type Segment } from "../nn/context.ts";
import type { RouterOutput } from "../nn/moe.ts";
import { PagePool } from "../nn/page-pool.ts";
import type { ParameterGroup } from "../nn/parameter-group.ts";
import type { Parameters } from "../nn/parameters.ts";
import { Rotary } from "../nn/rotary.ts";
import { allocateModule, type ParameterScope } from "../nn/scope.ts";
import type { StorageFormat, StorageRule } from "../nn/storage.ts";
import type { WeightSource } from "../nn/weight-source.ts";
import { bytesPerElement } from "../tensor/dtype.ts";
import { ConfigError, ShapeError } from "../tensor/errors.ts";
import { checkDocuments } from "../tensor/ops/attention-isolated.ts";
import { checkIds, embedding } from "../tensor/ops/embedding.ts";
import { copyRows } from "../tensor/ops/memory.ts";
import { concat, reshape } from "../tensor/ops/reshape.ts";
import { Random } from "../tensor/random.ts";
import { recomputed } from "../tensor/recompute.ts";
import { type Device, disposeAll, type Tensor } from "../tensor/tensor.ts";
import { type Block, routerTensors } from "./block.ts";
import { type LanguageConfig, parseConfig } from "./config.ts";
import { Decoder } from "./decoder.ts";
import { checkMtpStored } from "./load.ts";
import type { ForwardOptions, LayeredOptions, TrainableModel } from "./token-model.ts";

export interface MtpOutput {
  /** Output of `eh_proj`, `[B, T, d]`. */
  readonly input: Tensor;
  /** Output of the module's block, before its norm, `[B, T, d]`. */
  readonly hidden: Tensor;
  /** After `shared_head.norm`: what the head reads, and what a further module starts from, `[B, T, d]`. */
  readonly normed: Tensor;
}

export class CausalLM implements TrainableModel, Disposable {
  readonly config: LanguageConfig;
  readonly parameters: Parameters;
  /** Those of the main model, without multi-token-prediction modules. */
  readonly mainParameters: Parameters;
  readonly #scope: ParameterScope;
  readonly #decoder: Decoder;
  #tables: Rotary | null = null;
  /** What hash layers choose by for each token id, `[V, E]`. */
  #hashTable: Tensor | null = null;
  /** Pages of caches, by their dtype and whose they are. */
  readonly #pools = new Map<string, PagePool>();

  /**
   * Declares the parameters in `scope`, whose prefix precedes `model.` and `lm_head.`. `createModel` makes a model that
   * stands alone; one that is a part of another gets its scope from that. @throws ConfigError on counts beyond reason
   */
  constructor(scope: ParameterScope, config: LanguageConfig) {
    this.config = config;
    this.#scope = scope;
    this.#decoder = new Decoder(scope, config);
    this.parameters = this.#decoder.parameters;
    this.mainParameters = this.#decoder.mainParameters;
  }

  /** @throws ConfigError if the model is only described */
  get device(): Device {
    return this.#scope.device;
  }

  /** Token ids of `rows` (all of one length) as `[B, T]` i32. @throws ShapeError */
  ids(rows: readonly ArrayLike<number>[]): Tensor {
    const tokens = rows[0]?.length ?? 0;
    const flat = new Int32Array(rows.length * tokens);
    rows.forEach((row, b) => {
      if (row.length !== tokens) {
        throw new ShapeError("rows have different lengths", {
          where: "ids",
          name: `row ${b}`,
          expected: tokens,
          found: row.length,
        });
      }
      flat.set(row, b * tokens);
    });
    checkIds(flat, this.config.vocabSize);
    return this.device.tensor(flat, [rows.length, tokens], "i32");
  }

  /** Rows of the embedding: ids `[..]` i32 to `[.., d]`. */
  embed(ids: Tensor): Tensor {
    return this.#decoder.embedding.forward(ids);
  }

  /** Room for the past of one sequence in the main model. */
  createCache(capacity?: number, dtype?: CacheDtype): Cache {
    return this.#cache(this.#decoder.blocks, capacity, dtype);
  }

  /** Room for the past of one sequence in the multi-token-prediction modules. */
  createMtpCache(capacity?: number, dtype?: CacheDtype): Cache {
    return this.#cache(
      this.#decoder.modules.map(({ block }) => block),
      capacity,
      dtype,
    );
  }

  /** Bytes that one token takes in the cache, and with `drafts` in that of the prediction module too. */
  cacheTokenBytes(dtype: CacheDtype = "f32", drafts = false): number {
    const { blocks, modules } = this.#decoder;
    const own = [...blocks, ...(drafts ? modules.map(({ block }) => block) : [])];
    const width = own.flatMap(({ attention }) => attention.cacheWidths).reduce((sum, each) => sum + each, 0);
    return bytesPerElement[dtype] * width;
  }

  #cache(blocks: readonly Block[], capacity?: number, dtype: CacheDtype = "f32"): Cache {
    const widths = blocks.map(({ attention }) => attention.cacheWidths);
    const key = `${dtype} ${blocks === this.#decoder.blocks}`;
    const pool = this.#pools.get(key) ?? new PagePool(this.device, widths, dtype);
    this.#pools.set(key, pool);
    return new Cache(pool, capacity);
  }

  get #rotary(): Rotary {
    const { attention, rope } = this.config;
    const dim = attention.kind === "mla" ? attention.ropeDim : attention.headDim;
    this.#tables ??= new Rotary(this.device, rope, dim);
    return this.#tables;
  }

  /** What hash layers choose by, `[B, T, E]`; null without them. @throws ConfigError */
  #hashed(x: Tensor): Tensor | null {
    const { moe, vocabSize } = this.config;
    if (moe?.baseline?.kind !== "hash") return null;
    if (x.dtype !== "i32") {
      throw new ConfigError("hash layers choose by token ids", {
        where: "CausalLM",
        expected: "ids",
        found: "embeddings",
      });
    }
    const { table } = moe.baseline;
    const { device } = this;
    this.#hashTable ??= device.unscoped(() =>
      device.tensor(hashLogits(table, moe.experts), [vocabSize, moe.experts]),
    );
    return embedding(this.#hashTable, x);
  }

  #context(x: Tensor, options: ForwardOptions): ForwardContext {
    const { cache, mlaForm = "auto", routing = "each", training = false } = options;
    const { capture = null, documents = null } = options;
    const { device } = this;
    const [batch, tokens] = x.shape;
    const given = options.segments ?? (cache ? [{ cache, tokens }] : null);
    if (device.tape !== null && (given || mlaForm === "absorbed")) {
      throw new ConfigError("caches and the absorbed form have no gradients", {
        where: "CausalLM",
        hint: "Use them outside a tape or inside device.noGrad.",
      });
    }
    if (given) checkSegments(given, x);
    const positions = new Int32Array(batch * tokens);
    if (documents !== null) {
      checkDocuments("CausalLM", documents, positions.length);
      if (given || mlaForm === "absorbed") {
        throw new ConfigError("documents are kept apart neither over caches nor in the absorbed form", {
          where: "CausalLM",
        });
      }
      let at = 0;
      for (const length of documents) for (let i = 0; i < length; i++) positions[at++] = i;
    } else if (!given) for (let i = 0; i < positions.length; i++) positions[i] = i % tokens;
    let longest = given ? 0 : documents !== null ? Math.max(...documents) : tokens;
    let rows = 0;
    const segments = given?.map(({ cache, tokens }): PlacedSegment => {
      const [row, start] = [rows, cache.length];
      const length = start + tokens;
      cache.reserve(length);
      longest = Math.max(longest, length);
      for (let i = 0; i < tokens; i++) positions[rows++] = start + i;
      return { cache, tokens, row, start, length };
    });
    if (options.positions) {
      checkPositions(options.positions, positions.length);
      positions.set(Array.from(options.positions));
      for (const position of positions) longest = Math.max(longest, position + 1);
    }
    return {
      batch,
      tokens,
      positions: device.tensor(positions, [positions.length], "i32"),
      segments: segments ?? null,
      documents,
      tables: this.#rotary.tables(longest),
      mlaForm,
      routing,
      training,
      hashed: this.#hashed(x),
      capture,
    };
  }

  /**
   * The states after the final norm, `[B, T, d]`, of token ids `[B, T]` i32 or of embeddings `[B, T, d]` f32.
   * Rows shorter than T are padded on the right; what comes out at their padding means nothing. With caches the
   * input is one row, of one sequence or of several as `segments`. @throws ShapeError
   */
  hidden(input: Tensor, options: ForwardOptions = {}): Tensor {
    const { device } = this;
    const { capture = null, routers = null } = options;
    const kept: Tensor[] = [];
    const [output] = device.tidy(() => {
      const context = this.#context(input, options);
      const collected: RouterOutput[] | null = routers && [];
      let x = input.dtype === "i32" ? this.embed(input) : input; // [B, T, d]
      captured(capture, "hidden.0", x);
      const again = options.recompute === true && capture === null;
      for (const block of this.#decoder.blocks) {
        const y = again
          ? recomputedBlock(block, x, context, collected)
          : block.forward(x, context, block.layer, collected); // [B, T, d]
        if (x !== input) device.release(x);
        x = y;
        captured(capture, `hidden.${block.layer + 1}`, x);
        // Another view, which the tape knows: the state itself is freed.
        if (block.layer + 1 === options.states?.afterBlock) kept.push(reshape(x, x.shape));
      }
      advance(context);
      const normed = this.#decoder.finalNorm.forward(x); // [B, T, d]
      captured(capture, "final_norm", normed);
      routers?.push(...collected!);
      return [normed, ...kept, ...(collected ?? []).flatMap(routerTensors)];
    });
    options.states?.kept.push(...kept);
    return output;
  }

  /**
   * As `hidden` over caches and without gradients, with a turn for others between layers: what `between` returns is
   * awaited before each. If it throws, the pass is given up, and the caches hold what they held before it. The result,
   * and what `routers` collects, are the caller's. input: `[1, T]` i32 or `[1, T, d]` f32. @throws ShapeError
   */
  async hiddenByLayer(
    input: Tensor,
    options: LayeredOptions,
    between: () => Promise<void> | null,
  ): Promise<Tensor> {
    const { device } = this;
    const { routers = null } = options;
    const context = device.inference(() => this.#context(input, options));
    const longest = Math.max(...context.segments!.map(({ length }) => length));
    const collected: RouterOutput[] = [];
    let x = input.dtype === "i32" ? device.inference(() => this.embed(input)) : input; // [1, T, d]
    try {
      for (const block of this.#decoder.blocks) {
        const turn = between();
        if (turn !== null) await turn;
        // Another pass may have made longer tables meanwhile.
        const own = { ...context, tables: this.#rotary.tables(longest) };
        const made = device.inference(() => {
          const decided: RouterOutput[] | null = routers && [];
          return { y: block.forward(x, own, block.layer, decided), decided };
        });
        if (x !== input) x.dispose();
        x = made.y; // [1, T, d]
        collected.push(...(made.decided ?? []));
      }
      advance(context);
      const normed = device.inference(() => this.#decoder.finalNorm.forward(x)); // [1, T, d]
      routers?.push(...collected.splice(0));
      return normed;
    } finally {
      if (x !== input) x.dispose();
      disposeAll(collected.map(routerTensors));
      context.positions.dispose();
      context.hashed?.dispose();
    }
  }

  /** Logits of normed states: `[.., d]` to `[.., V]`. */
  logits(hidden: Tensor): Tensor {
    return this.#decoder.logits(hidden); // [.., V]
  }

  /** Rows `places` of all tokens' states: `[B, T, d]` to `[places.length, d]`, no gradient. */
  rows(hidden: Tensor, places: readonly number[]): Tensor {
    const d = hidden.shape[2];
    const y = hidden.device.empty([places.length, d]);
    for (let begin = 0, end = 0; begin < places.length; begin = end) {
      while (end < places.length && places[end] - places[begin] === end - begin) end++;
      const n = (end - begin) * d;
      copyRows(hidden, y, 1, n, n, n, places[begin] * d, begin * d);
    }
    return y;
  }

  /** The last token's row of each sequence: `[B, T, d]` to `[B, d]`, no gradient. */
  last(hidden: Tensor): Tensor {
    const [batch, tokens, d] = hidden.shape;
    const y = hidden.device.empty([batch, d]);
    copyRows(hidden, y, batch, d, tokens * d, d, (tokens - 1) * d);
    return y;
  }

  /**
   * Multi-token-prediction module `depth` (0 for the first): row i combines `hidden[i]` (after the final norm, or
   * the previous module's `normed`) with the token after it, `next[i]`, for the token after that one. `logits` of
   * `normed` are the prediction. hidden `[B, T, d]`; next: ids `[B, T]` i32 or embeddings `[B, T, d]` f32.
   * @throws ConfigError
   */
  mtp(hidden: Tensor, next: Tensor, options: ForwardOptions & { readonly depth?: number } = {}): MtpOutput {
    const { depth = 0, capture = null, routers = null } = options;
    const module = this.#decoder.modules[depth];
    if (!module) {
      throw new ConfigError("no such multi-token-prediction module", {
        where: "CausalLM.mtp",
        expected: `depth below ${this.#decoder.modules.length}`,
        found: depth,
      });
    }
    const [input, output, normed] = this.device.tidy(() => {
      const context = this.#context(hidden, options);
      const embedded = next.dtype === "i32" ? this.embed(next) : next; // [B, T, d]
      const following = module.embeddingNorm.forward(embedded); // [B, T, d]
      const current = module.hiddenNorm.forward(hidden); // [B, T, d]
      const combined = module.projection.forward(concat([following, current])); // [B, T, d]
      const collected: RouterOutput[] | null = routers && [];
      const state = module.block.forward(combined, context, depth, collected); // [B, T, d]
      advance(context);
      captured(capture, "mtp.input", combined);
      captured(capture, "mtp.hidden", state);
      const ready = module.headNorm.forward(state); // [B, T, d]
      routers?.push(...collected!);
      return [combined, state, ready, ...(collected ?? []).flatMap(routerTensors)];
    });
    return { input, hidden: output, normed };
  }

  /**
   * Reads all parameters from a checkpoint in the released layout, or with experts stacked as newer transformers
   * saves them. @throws FormatError, ShapeError naming the tensor that is missing, unexpected or misshapen
   */
  async load(source: WeightSource, progress?: (group: ParameterGroup) => void): Promise<void> {
    checkMtpStored(this.#decoder, source);
    checkNames([this], source, this.#decoder.prefix);
    await this.parameters.load(source, progress);
  }

  /** Whether a checkpoint may hold this tensor though the model does not read it. */
  ignores(name: string): boolean {
    return this.#decoder.ignores(name);
  }

  [Symbol.dispose](): void {
    this.#tables?.[Symbol.dispose]();
    this.#hashTable?.dispose();
    this.parameters[Symbol.dispose]();
  }
}

/** A block whose inner values are made again in the backward pass; the router's decisions are those of the first pass. */
function recomputedBlock(
  block: Block,
  x: Tensor,
  context: ForwardContext,
  routers: RouterOutput[] | null,
): Tensor {
  let decided: RouterOutput[] | null = null;
  const [y] = recomputed(x, (input) => {
    const own: RouterOutput[] | null = routers && [];
    const output = block.forward(input, context, block.layer, own); // [B, T, d]
    decided ??= own;
    return [output, ...(own ?? []).flatMap(routerTensors)];
  });
  routers?.push(...(decided ?? []));
  return y;
}

/** Most tokens that positions may reach: rotary tables are made for all of them. */
const MOST_POSITIONS = 2 ** 24;

/** @throws ShapeError */
function checkPositions(positions: ArrayLike<number>, tokens: number): void {
  const invalid = Array.from(positions).find((p) => !Number.isInteger(p) || p < 0 || p >= MOST_POSITIONS);
  if (positions.length === tokens && invalid === undefined) return;
  throw new ShapeError("positions do not fit the tokens", {
    where: "CausalLM",
    name: "positions",
    expected: `${tokens} whole numbers below ${MOST_POSITIONS}`,
    found: invalid ?? `${positions.length} numbers`,
  });
}

/** One row of as many tokens as the segments have, each with its own cache. @throws ShapeError */
function checkSegments(segments: readonly Segment[], x: Tensor): void {
  const [batch, tokens] = x.shape;
  const total = segments.reduce((sum, segment) => sum + segment.tokens, 0);
  if (batch !== 1 || total !== tokens || segments.some((segment) => segment.tokens < 1)) {
    throw new ShapeError("tokens of segments must form one row", {
      where: "CausalLM",
      expected: [1, total],
      found: [batch, tokens],
      hint: "A cache holds one sequence; several take one segment each.",
    });
  }
  const caches = new Set(segments.map((segment) => segment.cache));
  if (caches.size !== segments.length) {
    throw new ShapeError("segments and caches differ in number", {
      where: "CausalLM",
      expected: segments.length,
      found: caches.size,
    });
  }
}

/** Counts the new tokens, once all layers have written them. */
function advance({ segments }: ForwardContext): void {
  if (segments) for (const { cache, tokens } of segments) cache.advance(tokens);
}

export interface CreateOptions {
  /** Storage of matrices (`nn/storage.ts`); default f32. Only f32 can be trained. */
  readonly dtype?: StorageFormat;
  /** Storage of each matrix, in place of `dtype`. */
  readonly storage?: StorageRule;
  /** Fills the parameters with random values; without it they hold nothing until `load`. */
  readonly seed?: number;
  /** Standard deviation of those values; default 0.006. */
  readonly std?: number;
  /** Fewer multi-token-prediction modules than the configuration names. */
  readonly mtpLayers?: number;
}

/** A model for an official `config.json`. @throws ConfigError */
export function createModel(configJson: unknown, device: Device, options: CreateOptions = {}): CausalLM {
  const parsed = parseConfig(configJson);
  const mtpLayers = options.mtpLayers ?? parsed.mtpLayers;
  if (!(Number.isInteger(mtpLayers) && mtpLayers >= 0 && mtpLayers <= parsed.mtpLayers)) {
    throw new ConfigError("more multi-token-prediction modules than the configuration has", {
      where: "createModel",
      name: "mtpLayers",
      expected: `0 to ${parsed.mtpLayers}`,
      found: mtpLayers,
    });
  }
  const storage = options.storage ?? options.dtype ?? "f32";
  const model = allocateModule(device, storage, (scope) => new CausalLM(scope, { ...parsed, mtpLayers }));
  if (options.seed !== undefined) model.parameters.initialize(new Random(options.seed), options.std);
  return model;
}
