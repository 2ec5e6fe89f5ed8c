/**
 * The engine's side of the protocol: takes jobs, runs a generation for each choice and sends the text that comes of
 * it, batched per step of the engine. Knows nothing of threads: `send` sends, `receive` is given what arrives.
 */

import type { EncodedImage } from "../../models/vision-language.ts";
import { DeepseekError } from "../../tensor/errors.ts";
import { Pace, type Slices } from "../../tokenizer/slices.ts";
import type { Engine } from "../engine.ts";
import { EngineFailedError, QueueFullError } from "../engine-options.ts";
import type { Generation } from "../generation.ts";
import { chatPrompt } from "../image-prompt.ts";
import type { EngineRequest } from "../job.ts";
import { LogitsError } from "../sampling.ts";
import { yieldToEventLoop } from "../yield-to-event-loop.ts";
import { ChoiceText, type ChosenToken } from "./choice-text.ts";
import type { DrawingJobs, DrawingOptions } from "./drawing-jobs.ts";
import { invalidRequest, queueFull, RequestError, requestFailed } from "./errors.ts";
import { Histogram } from "./histogram.ts";
import type { ImageJobs } from "./image-jobs.ts";
import { figuresOf, INSIDE_ALTERNATIVES } from "./inside.ts";
import type {
  ChoiceUsage,
  Delta,
  DrawingRequest,
  EngineFigures,
  FinishReason,
  FromEngine,
  GenerationRequest,
  ToEngine,
  TokenizeRequest,
} from "./protocol.ts";
import { type Plan, planRequest, type TextModel, tokenizeRequest } from "./request-plan.ts";
import { SlicedWork } from "./sliced-work.ts";

/** What a refused client is told to wait: queues move within seconds. */
const RETRY_SECONDS = 1;

/** What decoding a token costs, in the characters of `Pace`. */
const DECODED = 8;

export interface HostOptions {
  /** Whether generations draft with the multi-token-prediction module, if nothing constrains them. */
  readonly speculative: boolean;
  readonly send: (message: FromEngine) => void;
  /** Called if the engine has failed and cannot be used any more. */
  readonly onFailure: (error: Error) => void;
  /** Bytes of the thread's heap in use, if that can be told. */
  readonly heapBytes?: () => number;
  /** Makes what draws, if the model can; the host closes it. */
  readonly drawings?: (events: DrawingEvents) => DrawingJobs;
}

/** What a host does with what comes of drawings. */
export type DrawingEvents = Pick<DrawingOptions, "onPicture" | "onEnd" | "onError">;

/** Scores of a prompt's tokens: the first of its choices computes them for all. */
class SharedScores {
  #claimed = false;
  #give: (scores: readonly ChosenToken[] | null) => void = () => {};
  /** Whether they are there, or will never be. */
  given = false;
  /** The scores; null if the choice that computes them ended before. */
  readonly found = new Promise<readonly ChosenToken[] | null>((resolve) => {
    this.#give = resolve;
  });

  /** Whether the caller is the first, who is to compute them. */
  claim(): boolean {
    const first = !this.#claimed;
    this.#claimed = true;
    return first;
  }

  give(scores: readonly ChosenToken[] | null): void {
    this.given = true;
    this.#give(scores);
  }
}

export class EngineHost {
  readonly #engine: Engine;
  readonly #model: TextModel;
  readonly #images: ImageJobs | null;
  readonly #options: HostOptions;
  readonly #drawings: DrawingJobs | null;
  readonly #jobs = new Map<number, readonly Generation[]>();
  /** Requests that are not yet with the engine. */
  readonly #planning = new SlicedWork();
  readonly #firstToken = new Histogram();
  readonly #betweenTokens = new Histogram();
  readonly #ended = new Map<string, number>();
  #outbox: Delta[] = [];
  #later: FromEngine[] = [];
  #scheduled = false;

  /** @param images those of requests, if the model sees; the host closes them */
  constructor(engine: Engine, model: TextModel, images: ImageJobs | null, options: HostOptions) {
    this.#engine = engine;
    this.#model = model;
    this.#images = images;
    this.#options = options;
    this.#drawings =
      options.drawings?.({
        onPicture: (id, news) => options.send({ type: "picture", id, ...news }),
        onEnd: (id) => options.send({ type: "drawn", id }),
        onError: (id, error) => this.#refuse(id, error),
      }) ?? null;
  }

  /** Takes a message; resolves to true if it was the last. */
  async receive(message: ToEngine): Promise<boolean> {
    switch (message.type) {
      case "submit":
        this.#begin(message.id, () => this.#submit(message.id, message.request, message.received));
        return false;
      case "draw":
        this.#answer(message.id, () => this.#startDrawing(message.id, message.request));
        return false;
      case "cancel":
        this.#cancel(message.id);
        // Its places are free once it has left the pass that runs.
        await this.#drawings?.cancel(message.id);
        this.#flush();
        this.#options.send({ type: "canceled", id: message.id });
        return false;
      case "tokenize":
        this.#begin(message.id, () => this.#tokenize(message.id, message.request));
        return false;
      case "detokenize":
        this.#begin(message.id, () => this.#detokenize(message.id, message.tokens));
        return false;
      case "metrics":
        this.#options.send({ type: "answer", id: message.id, value: this.figures() });
        return false;
      case "shutdown":
        this.#planning.clear();
        await this.#images?.close();
        await this.#drawings?.close();
        for (const id of [...this.#jobs.keys()]) this.#cancel(id);
        await this.#engine[Symbol.asyncDispose]();
        this.#flush();
        return true;
    }
  }

  /** Requests that are not yet with the engine. */
  get #before(): number {
    return this.#planning.size + (this.#images?.size ?? 0);
  }

  figures(): EngineFigures {
    const images = this.#images;
    const { cachedPromptTokens, cacheTokens, ...counts } = this.#engine.metrics();
    return {
      ...counts,
      waiting: counts.waiting + this.#before,
      images: images && {
        ...images.encoder.counts,
        waiting: images.size,
        cacheBytes: images.encoder.cachedBytes,
      },
      drawings: this.#drawings?.figures ?? null,
      cachedTokens: cachedPromptTokens,
      cacheTokens: this.#engine.cacheTokens,
      cacheTokensUsed: cacheTokens,
      heapBytes: this.#options.heapBytes?.() ?? null,
      deviceBytes: this.#engine.model.device.backend.memory().bytes,
      ended: Object.fromEntries(this.#ended),
      firstToken: this.#firstToken.state,
      betweenTokens: this.#betweenTokens.state,
    };
  }

  /** Runs `body`; what it throws is the answer. */
  #answer(id: number, body: () => void): void {
    try {
      body();
    } catch (error) {
      this.#refuse(id, error);
    }
  }

  /** @throws RequestError for no choice at all, or more than there will ever be room for */
  #checkChoices(request: GenerationRequest): void {
    const { maxBatch, maxQueue } = this.#engine;
    const prompts = request.kind === "chat" ? 1 : request.prompts.length;
    // A job without choices would never end.
    if (prompts === 0) throw invalidRequest("There is no prompt; 'prompts' must not be empty.", "prompt");
    if (!(Number.isSafeInteger(request.n) && request.n > 0)) {
      throw invalidRequest(`'n' must be a positive integer; found: ${request.n}.`, "n");
    }
    const choices = prompts * request.n;
    if (request.inside && choices > 1) {
      throw invalidRequest(
        `'inside' tells of one answer; this request asks for ${choices}. Ask for one choice of one prompt.`,
        "inside",
      );
    }
    if (choices <= maxBatch + maxQueue) return;
    throw invalidRequest(
      `${choices} choices were asked for at once; this server holds at most ${maxBatch + maxQueue}: ` +
        `${maxBatch} that run and ${maxQueue} that wait.`,
      prompts > request.n ? "prompt" : "n",
      "too_many_choices",
    );
  }

  /** Plans a request in addition to the others. */
  #begin(id: number, work: () => Slices<void>): void {
    this.#answer(id, () => {
      if (this.#before >= this.#engine.maxBatch + this.#engine.maxQueue) throw this.#full();
      this.#planning.add(id, work(), (error) => this.#refuse(id, error));
    });
  }

  /** @throws RequestError */
  #startDrawing(id: number, request: DrawingRequest): void {
    const drawings = this.#drawings;
    if (drawings === null) throw invalidRequest("The model does not draw.", "model", "drawing_not_supported");
    if (drawings.full) {
      const { running, waiting } = drawings.figures;
      throw queueFull(running, waiting, RETRY_SECONDS);
    }
    drawings.add(id, request);
    this.#options.send({ type: "accepted", id, choices: request.count ?? 1 });
  }

  #full(): RequestError {
    const { running, waiting } = this.#engine.metrics();
    return queueFull(running, waiting + this.#before, RETRY_SECONDS);
  }

  #refuse(id: number, error: unknown): void {
    // Every request ends with it, and no further one could begin.
    if (error instanceof EngineFailedError) this.#options.onFailure(error);
    this.#flush();
    this.#options.send({ type: "refused", id, error: this.#asked(error).fault });
  }

  /** What the client is told; what is not for clients goes to the log. */
  #asked(error: unknown): RequestError {
    if (error instanceof RequestError) return error;
    if (error instanceof LogitsError) {
      this.#options.send({ type: "log", text: `error: ${error.message}` });
      return requestFailed(`${error.message} Other requests go on.`, "logits_not_finite");
    }
    this.#log(error);
    return requestFailed();
  }

  #log(error: unknown): void {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#options.send({ type: "log", text: `error: ${text}` });
  }

  *#detokenize(id: number, tokens: readonly number[]): Slices<void> {
    const pace = new Pace();
    const decoder = this.#model.tokenizer.streamDecoder();
    const parts: string[] = [];
    try {
      for (const token of tokens) {
        parts.push(decoder.push(token));
        if (pace.due(DECODED)) yield;
      }
    } catch (error) {
      if (!(error instanceof DeepseekError)) throw error;
      throw invalidRequest(error.message, "tokens", "invalid_token");
    }
    parts.push(decoder.end());
    this.#options.send({ type: "answer", id, value: parts.join("") });
  }

  *#tokenize(id: number, request: TokenizeRequest): Slices<void> {
    const value = yield* tokenizeRequest(this.#model, request);
    this.#options.send({ type: "answer", id, value });
  }

  *#submit(id: number, request: GenerationRequest, received: number): Slices<void> {
    this.#checkChoices(request);
    const plans = yield* planRequest(this.#model, request);
    const [{ images }] = plans;
    if (this.#images === null || images === null) {
      this.#start(id, request, plans, received, []);
      return;
    }
    // What it is refused for anyway needs no images.
    const { running, waiting } = this.#engine.metrics();
    if (running + waiting >= this.#engine.maxBatch + this.#engine.maxQueue) throw this.#full();
    this.#images.add(
      id,
      images,
      (encoded) => this.#start(id, request, plans, received, encoded),
      (error) => this.#refuse(id, error),
    );
  }

  /** Gives a request to the engine; resolves once all of its choices have ended. @throws RequestError */
  #start(
    id: number,
    request: GenerationRequest,
    plans: readonly Plan[],
    received: number,
    encoded: readonly EncodedImage[],
  ): Promise<unknown> {
    const running: { plan: Plan; generation: Generation }[] = [];
    // The files of images are not needed any more.
    const light = plans.map((plan) => ({ ...plan, images: null }));
    try {
      for (const [at, plan] of plans.entries()) {
        for (let i = 0; i < request.n; i++) {
          const generation = this.#engine.submit(this.#request(request, plan, i, encoded));
          running.push({ plan: light[at], generation });
        }
      }
    } catch (error) {
      for (const { generation } of running) generation.cancel();
      throw error instanceof QueueFullError ? this.#full() : error;
    }
    this.#jobs.set(
      id,
      running.map(({ generation }) => generation),
    );
    this.#options.send({ type: "accepted", id, choices: running.length });
    const pictures = request.inside ? (plans[0].images?.planned ?? []) : [];
    if (pictures.length > 0) this.#tell({ id, choice: 0, pictures });
    let open = running.length;
    const scores = new Map<Plan, SharedScores>(light.map((plan) => [plan, new SharedScores()]));
    const ends = running.map(({ plan, generation }, choice) =>
      this.#run(id, choice, plan, generation, received, scores.get(plan)!)
        .then(() => {
          if (--open === 0) this.#jobs.delete(id);
        })
        .catch((error: unknown) => {
          if (!this.#jobs.has(id)) return;
          this.#cancel(id);
          this.#refuse(id, error);
        }),
    );
    return Promise.all(ends);
  }

  #request(
    request: GenerationRequest,
    plan: Plan,
    choice: number,
    encoded: readonly EncodedImage[],
  ): EngineRequest {
    const { logprobs, inside } = request;
    const alternatives = inside ? Math.max(logprobs ?? 0, INSIDE_ALTERNATIVES) : logprobs;
    return {
      prompt: plan.images === null ? plan.prompt : chatPrompt(plan.images.rendered, encoded),
      maxTokens: plan.maxTokens,
      minTokens: request.minTokens,
      temperature: request.temperature,
      topP: request.topP,
      topK: request.topK,
      minP: request.minP,
      repetitionPenalty: request.repetitionPenalty,
      presencePenalty: request.presencePenalty,
      frequencyPenalty: request.frequencyPenalty,
      logitBias: request.logitBias,
      seed: request.seed + choice,
      stopIds: plan.stopIds,
      ...(alternatives === null ? {} : { logprobs: alternatives }),
      inside: request.inside ?? false,
      ...(plan.scoresPrompt && choice === 0 ? { promptLogprobs: request.logprobs ?? 0 } : {}),
      reusePrefix: request.reusePrefix,
      speculative: this.#options.speculative && plan.constraint === null,
      ...(plan.constraint ? { constraint: plan.constraint() } : {}),
    };
  }

  async #run(
    id: number,
    choice: number,
    plan: Plan,
    generation: Generation,
    received: number,
    scores: SharedScores,
  ): Promise<void> {
    const text = new ChoiceText(this.#model.tokenizer, plan.choice, plan.echo);
    if (plan.echo !== "" && !plan.scoresPrompt) this.#tell({ id, choice, content: plan.echo });
    const scorer = plan.scoresPrompt && scores.claim();
    const tell = (found: readonly ChosenToken[]) => {
      const logprobs = text.promptEntries(plan.prompt, found, plan.echo);
      this.#tell({ id, choice, content: plan.echo, logprobs });
    };
    // Scores are there once the whole prompt was read.
    const tellScores = () => {
      if (!scorer || scores.given || !this.#jobs.has(id)) return;
      scores.give(generation.promptScores);
      tell(generation.promptScores);
    };
    if (plan.scoresPrompt && !scorer) {
      const found = await scores.found;
      if (found === null || !this.#jobs.has(id)) return;
      tell(found);
    }
    try {
      await this.#read(id, choice, plan, generation, received, text, tellScores);
    } finally {
      if (scorer) scores.give(null);
    }
  }

  /** Tells what comes of a generation; `onToken` is called before each token is, and where there is none. */
  async #read(
    id: number,
    choice: number,
    plan: Plan,
    generation: Generation,
    received: number,
    text: ChoiceText,
    onToken: () => void,
  ): Promise<void> {
    let last: number | null = null;
    let firstTokenMs: number | null = null;
    for await (const token of generation) {
      onToken();
      const now = performance.now();
      if (last === null) {
        firstTokenMs = Date.now() - received;
        this.#firstToken.observe(firstTokenMs / 1000);
      } else this.#betweenTokens.observe((now - last) / 1000);
      last = now;
      const news = text.push(token);
      if (news) this.#tell({ id, choice, ...news });
      if (text.over) break;
    }
    const cutByText = text.over;
    if (cutByText) generation.cancel();
    if (generation.stats.stopReason !== "aborted") onToken();
    const { stopReason, cachedTokens } = generation.stats;
    const rest = text.end(!cutByText && stopReason === "length");
    if (rest) this.#tell({ id, choice, ...rest });
    const aborted = !cutByText && stopReason === "aborted";
    const reason: FinishReason =
      !cutByText && stopReason === "length" ? "length" : text.calls > 0 ? "tool_calls" : "stop";
    this.#count(aborted ? "canceled" : reason);
    const usage: ChoiceUsage = {
      promptTokens: plan.prompt.length,
      cachedTokens,
      imageTokens: plan.imageTokens,
      completionTokens: text.tokens,
      reasoningTokens: text.reasoningTokens,
    };
    if (!this.#jobs.has(id)) return;
    if (aborted) throw requestFailed("The generation was canceled by the engine.");
    const figures = plan.choice.inside ? { figures: figuresOf(generation.stats, firstTokenMs) } : {};
    this.#later.push({ type: "finished", id, choice, reason, usage, ...figures });
    this.#schedule();
  }

  #count(reason: string): void {
    this.#ended.set(reason, (this.#ended.get(reason) ?? 0) + 1);
  }

  #cancel(id: number): void {
    if (this.#planning.cancel(id) || this.#images?.cancel(id)) this.#count("canceled");
    const generations = this.#jobs.get(id) ?? [];
    this.#jobs.delete(id);
    for (const generation of generations) generation.cancel();
  }

  /** Queues a delta of a request that is still wanted. */
  #tell(delta: Delta): void {
    if (!this.#jobs.has(delta.id)) return;
    this.#outbox.push(delta);
    this.#schedule();
  }

  /** All generations of a step are told in one message. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    void yieldToEventLoop().then(() => this.#flush());
  }

  #flush(): void {
    this.#scheduled = false;
    const [deltas, later] = [this.#outbox, this.#later];
    this.#outbox = [];
    this.#later = [];
    if (deltas.length > 0) this.#options.send({ type: "deltas", deltas });
    for (const message of later) this.#options.send(message);
  }
}
