/**
 * A model, a Lean and a store behind one object, as programs use them: `createProver` opens what is named, asks the model as it was
 * trained to be asked, and closes what it opened.
 */
import { createHash } from "node:crypto";
import { Engine } from "../../engine/engine.ts";
import { readTextFile } from "../../files/text-file.ts";
import type { Parameters } from "../../nn/parameters.ts";
import type { LoadedModel } from "../../pretrained/load.ts";
import { type LoadOptions, load } from "../../pretrained/node-load.ts";
import { ConfigError } from "../../tensor/errors.ts";
import { isQuantized } from "../../tensor/quantized.ts";
import type { Tokenizer } from "../../tokenizer/tokenizer.ts";
import { EngineGenerator } from "../engine-generator.ts";
import { type FillEvent, type FillOptions, type FillResult, type FillTools, fillFile } from "../fill/fill.ts";
import type { LeanSession } from "../lean/session.ts";
import type { TextGenerator } from "../search/generator.ts";
import { type ProofTask, type SearchEvent, search } from "../search/search.ts";
import type { SearchOptions } from "../search/search-options.ts";
import { CheckedLean } from "../store/checked-lean.ts";
import { ProofStore } from "../store/store.ts";
import { StoredGenerator } from "../store/stored-generator.ts";
import { type StoredSearchOptions, storedSearch } from "../store/stored-search.ts";
import { leanProblem } from "../text/problem.ts";
import { type PromptProblem, type PromptStyle, STYLES } from "../text/prompts.ts";
import { FilledFile } from "./filled-file.ts";
import { defaultProver, type ProverSettings, proverSettings } from "./settings.ts";

/** A model that is open, with its tokenizer. */
export interface ProverModel extends Pick<LoadedModel, "model" | "name" | "source"> {
  readonly tokenizer: Tokenizer;
}

export interface ProverOptions {
  /**
   * A folder, a `.gguf` file, or a name on the hub; or an open model, which stays the caller's. Default: the small prover of the
   * package.
   */
  readonly model?: string | ProverModel;
  /** Stays the caller's. */
  readonly lean: LeanSession;
  /** SQLite file that keeps verdicts and searches, or an open store, which stays the caller's. Default: none. */
  readonly store?: string | ProofStore;
  /** How a model that is named is loaded. */
  readonly load?: LoadOptions;
  /** Prompts of the released provers, or of small ones (default: those that the model was trained on). */
  readonly style?: PromptStyle;
  /** Generations that run at the same time (default: twice the checks that do). */
  readonly parallel?: number;
}

/** Settings of a search; what is left out is the model's own, else `SearchOptions`'s. */
export type ProveSettings = Omit<SearchOptions, "log" | "style">;

export interface ProveOptions extends ProveSettings, Pick<StoredSearchOptions, "fresh"> {
  /** Whether the header may hold macros and other code that runs while it is read. */
  readonly trusted?: boolean;
}

export interface FillFileOptions extends ProveSettings, Pick<FillOptions, "only" | "fresh"> {
  /** Told of what happens, as it happens. */
  readonly onEvent?: (event: FillEvent) => void;
}

/** What a prover is made of. */
export interface ProverParts {
  readonly generator: TextGenerator;
  readonly lean: LeanSession;
  readonly store: ProofStore | null;
  readonly settings: ProverSettings;
  readonly contextTokens: number;
  readonly parallel: number;
  readonly close: () => Promise<void>;
}

/** SHA-256 over the model's vectors (norms, biases): enough to tell two sets of weights apart. */
async function weightsHash(parameters: Parameters): Promise<string> {
  const hash = createHash("sha256");
  for (const { key, shape, weight } of parameters.groups()) {
    hash.update(`${key} ${shape.join("x")}\n`);
    if (shape.length !== 1 || isQuantized(weight) || weight.dtype !== "f32") continue;
    hash.update(new Uint8Array((await weight.data()).buffer));
  }
  return hash.digest("hex").slice(0, 16);
}

/** Checkpoints that know only the prompts of their papers. */
const RELEASED = /^deepseek-ai\/DeepSeek-Prover/i;

/**
 * How a model is asked. @param own what its files say
 * @throws ConfigError for a released prover that is to be asked otherwise than it was trained
 */
export function promptSettings(
  own: ProverSettings,
  { name, source }: Pick<ProverModel, "name" | "source">,
  style?: PromptStyle,
): ProverSettings {
  const wanted = { ...own, style: style ?? own.style };
  if (wanted.style !== "official" && RELEASED.test(source.repo ?? name)) {
    throw new ConfigError("released provers know only the prompts of their papers", {
      ...{ where: source.repo ?? name, name: "style", expected: "official", found: wanted.style },
    });
  }
  return wanted;
}

/** @throws ConfigError, FormatError, HubError of the model and of the store */
export async function createProver({
  model = defaultProver(),
  lean: given,
  store: place,
  load: loading,
  style,
  parallel = 2 * given.slots,
}: ProverOptions): Promise<Prover> {
  const opened: (() => Promise<void>)[] = [];
  const close = async () => {
    for (const each of opened.splice(0).reverse()) await each();
  };
  try {
    const source = typeof model === "string" ? await openNamed(model, loading, opened) : model;
    const settings = promptSettings(await proverSettings(source.source.path), source, style);
    const store = typeof place === "string" ? await ProofStore.open(place) : (place ?? null);
    if (store !== null && store !== place) opened.push(async () => store[Symbol.dispose]());
    const contextTokens = Math.min(settings.contextTokens ?? 4096, source.model.config.maxPositions);
    const engine = new Engine(source.model, {
      maxBatch: parallel,
      cacheTokens: Math.max(32_768, parallel * contextTokens),
    });
    opened.push(() => engine[Symbol.asyncDispose]());
    const name = `${source.name} ${await weightsHash(source.model.parameters)}`;
    const generator = new EngineGenerator(engine, source.tokenizer, { model: name });
    const lean = store === null || given instanceof CheckedLean ? given : new CheckedLean(given, store);
    return new Prover({ generator, lean, store, settings, contextTokens, parallel, close });
  } catch (error) {
    await close();
    throw error;
  }
}

async function openNamed(
  name: string,
  options: LoadOptions | undefined,
  opened: (() => Promise<void>)[],
): Promise<ProverModel> {
  const loaded = await load(name, options);
  opened.push(() => loaded.dispose());
  const { tokenizer } = loaded;
  if (tokenizer === null) {
    throw new ConfigError("the model has no tokenizer", {
      where: name,
      expected: "a tokenizer.json next to its weights",
    });
  }
  return { ...loaded, tokenizer };
}

export class Prover implements AsyncDisposable {
  /** Writes proofs; its `model` names model and weights. */
  readonly generator: TextGenerator;
  /** Answers from the store where it can. */
  readonly lean: LeanSession;
  readonly store: ProofStore | null;
  /** How the model is asked. */
  readonly settings: ProverSettings;
  /** Tokens that a prompt and what follows may have together. */
  readonly contextTokens: number;
  readonly #parallel: number;
  readonly #close: () => Promise<void>;

  /** Use `createProver`, or give the parts of a prover whose model is elsewhere. */
  constructor({ generator, lean, store, settings, contextTokens, parallel, close }: ProverParts) {
    this.generator = generator;
    this.lean = lean;
    this.store = store;
    this.settings = settings;
    this.contextTokens = contextTokens;
    this.#parallel = parallel;
    this.#close = close;
  }

  /** Options of a search, those left out being the model's. */
  searchOptions(options: ProveSettings = {}): SearchOptions {
    const { settings, contextTokens } = this;
    const { search = "rmaxts", style, maxTokens = 2048 } = settings;
    const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
    return {
      ...{ search, parallel: this.#parallel, ...given, style },
      maxTokens: Math.max(1, Math.floor(Math.min(options.maxTokens ?? maxTokens, contextTokens / 2))),
    };
  }

  /**
   * Searches a proof of one theorem. Without a header the prompts' own counts: Mathlib for released provers, none for small ones.
   * With a store, a search that was stopped goes on, and one that has ended tells its proof again.
   * @throws as `search` and `storedSearch`
   */
  prove(problem: PromptProblem, { trusted, ...options }: ProveOptions = {}): AsyncGenerator<SearchEvent> {
    const header = problem.header ?? STYLES[this.settings.style].header;
    const asked = leanProblem(header, problem.statement, { trustedPreamble: trusted });
    return this.proveTask({ ...problem, header, problem: asked }, options);
  }

  /** Searches a proof of what prompts and verifier are asked, which may differ. @throws as `search` and `storedSearch` */
  proveTask(
    task: ProofTask,
    { fresh, ...options }: ProveSettings & Pick<StoredSearchOptions, "fresh"> = {},
  ): AsyncGenerator<SearchEvent> {
    const settings = this.searchOptions(options);
    return this.store === null
      ? search(task, this, settings)
      : storedSearch(this.store, task, this, { ...settings, fresh });
  }

  /** Says that a task will be asked soon: a prover of many processes begins it, others do nothing. */
  async announce(_task: ProofTask, _options: ProveSettings = {}): Promise<void> {}

  /**
   * Fills the `sorry`s of a Lean file; nothing is written before `apply`.
   * @throws FormatError if Lean does not accept the file as it is, FileError, the signal's reason
   */
  async fill(path: string, options: FillFileOptions = {}): Promise<FilledFile> {
    const source = await readTextFile(path);
    return new FilledFile(path, source, await this.fillText(source, options, path));
  }

  /** The same with a text. @param path names it in errors @throws as `fill` */
  async fillText(
    source: string,
    { onEvent, only, fresh, ...options }: FillFileOptions = {},
    path?: string,
  ): Promise<FillResult> {
    const { lean, store, contextTokens } = this;
    // Searches keep their own generations; what is written for the middle of a proof is kept here.
    const generator = store === null || fresh ? this.generator : new StoredGenerator(this.generator, store);
    const tools: FillTools = { generator, lean, prove: (task, given) => this.proveTask(task, given) };
    const settings = { cutProofs: true, ...this.searchOptions(options), path, only, fresh, contextTokens };
    let result: FillResult | null = null;
    for await (const event of fillFile(source, tools, settings)) {
      onEvent?.(event);
      if (event.type === "filled") result = event.result;
    }
    if (result === null) throw new Error("a file that is filled ends with its result");
    return result;
  }

  /** Closes what `createProver` opened. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close();
  }
}
