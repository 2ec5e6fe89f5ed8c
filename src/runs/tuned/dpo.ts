/**
 * Learning from preferences: pairs in a shuffled order, and the reference's log-probabilities, which the model gives before the
 * first step. They are kept in the run's folder, a line for a few pairs, so that a stopped run goes on with the same numbers.
 */
import { join } from "node:path";
import { heldOutBelow } from "../../data/rows/held-out.ts";
import { appendToOwnFile } from "../../files/owned.ts";
import { readTextIfThere } from "../../files/text-file.ts";
import type { AdaptedModel } from "../../models/adapted-model.ts";
import type { CausalLM } from "../../models/causal-lm.ts";
import { checkNumber } from "../../tensor/check-value.ts";
import { ConfigError, FormatError } from "../../tensor/errors.ts";
import { Random } from "../../tensor/random.ts";
import { formatCount } from "../../text/units.ts";
import type { BatchSource } from "../../train/batches.ts";
import type { Evaluation } from "../../train/evaluate.ts";
import {
  type PreferenceBatch,
  type PreferencePair,
  preferenceBatches,
  preferenceObjective,
  type ScoredPair,
  scorePairs,
} from "../../train/objectives/preference.ts";
import { Trainer } from "../../train/trainer.ts";
import { writeText } from "../json-file.ts";
import type { DpoConfig } from "./config.ts";
import { type Learner, type LearnerParts, trainerSide } from "./learner.ts";
import { LessonStore } from "./lesson-store.ts";

/** Pairs that are scored between two lines of the file, in the order of the rows. */
const SCORED_TOGETHER = 32;

/** A pair out of its two lessons. */
async function pairOf(store: LessonStore, row: number): Promise<PreferencePair> {
  const [chosen, rejected] = await Promise.all([store.read(2 * row), store.read(2 * row + 1)]);
  const from = Array.from(chosen.learned).indexOf(1);
  const all = Array.from(chosen.ids);
  return {
    prompt: all.slice(0, from),
    chosen: all.slice(from),
    rejected: Array.from(rejected.ids).slice(from),
  };
}

/** The reference's sums for each row, as far as they are known. */
class ReferenceScores {
  readonly #path: string;
  readonly #values: [chosen: number, rejected: number][] = [];

  private constructor(path: string) {
    this.#path = path;
  }

  /** Reads what is there; a line that a killed process left unfinished is dropped. @throws FormatError */
  static async open(path: string): Promise<ReferenceScores> {
    const scores = new ReferenceScores(path);
    const lines = ((await readTextIfThere(path)) ?? "").split("\n");
    const good: string[] = [];
    for (const line of lines.slice(0, -1)) {
      const values = valuesOf(line);
      if (values === null) {
        throw new FormatError("damaged scores of the reference", {
          ...{ where: path, name: `line ${good.length + 1}`, hint: "Begin a new run." },
        });
      }
      good.push(line);
      scores.#values.push(...values);
    }
    if (lines.at(-1) !== "") await writeText(path, good.map((line) => `${line}\n`).join(""));
    return scores;
  }

  get count(): number {
    return this.#values.length;
  }

  async add(values: readonly [number, number][]): Promise<void> {
    await appendToOwnFile(this.#path, `${JSON.stringify(values)}\n`);
    this.#values.push(...values);
  }

  of(row: number): ScoredPair["reference"] {
    const [chosen, rejected] = this.#values[row];
    return { chosen, rejected };
  }
}

function valuesOf(line: string): [number, number][] | null {
  try {
    const values: unknown = JSON.parse(line);
    const isPair = (pair: unknown): pair is [number, number] =>
      Array.isArray(pair) && pair.length === 2 && pair.every((value) => Number.isFinite(value));
    return Array.isArray(values) && values.every(isPair) ? values : null;
  } catch {
    return null;
  }
}

/** Pairs without end, every pass over them in another order. */
class Pairs implements BatchSource<PreferenceBatch> {
  readonly #rows: readonly number[];
  readonly #read: (row: number) => Promise<ScoredPair>;
  readonly #mostTokens: number;
  readonly #seed: number;
  #taken = 0;
  #pass = -1;
  #order: number[] = [];

  constructor(
    rows: readonly number[],
    read: (row: number) => Promise<ScoredPair>,
    { mostTokens, seed }: { readonly mostTokens: number; readonly seed: number },
  ) {
    this.#rows = rows;
    this.#read = read;
    this.#mostTokens = mostTokens;
    this.#seed = seed;
  }

  async next(count: number): Promise<PreferenceBatch[]> {
    const pairs: ScoredPair[] = [];
    for (let i = 0; i < count; i++) pairs.push(await this.#read(this.#nextRow()));
    return preferenceBatches(pairs, this.#mostTokens);
  }

  #nextRow(): number {
    const { length } = this.#rows;
    const at = this.#taken++;
    const pass = Math.floor(at / length);
    if (pass !== this.#pass) {
      this.#order = new Random(this.#seed, pass).shuffle([...this.#rows]);
      this.#pass = pass;
    }
    return this.#order[at % length];
  }

  state(): unknown {
    return { taken: this.#taken, pairs: this.#rows.length, seed: this.#seed };
  }

  restore(state: unknown): void {
    const { taken, pairs, seed } = (state ?? {}) as Record<string, unknown>;
    if (pairs !== this.#rows.length || seed !== this.#seed) {
      throw new ConfigError("the saved state is of other pairs or of another seed", {
        where: "dpo",
        expected: `${this.#rows.length} pairs, seed ${this.#seed}`,
        found: `${pairs} pairs, seed ${seed}`,
      });
    }
    checkNumber({ where: "dpo" }, "taken", taken, { integer: true, min: 0 });
    this.#taken = taken;
  }
}

/** Opens the data of a run, for its model. @throws FormatError, ConfigError */
export async function dpoLearner({ folder, config, model }: LearnerParts<DpoConfig>): Promise<Learner> {
  const store = await LessonStore.open(join(folder, "data"));
  try {
    const { tokensAtOnce: mostTokens, seed, training, preference } = config;
    const reference = await ReferenceScores.open(join(folder, "reference.jsonl"));
    const below = heldOutBelow(store.hashes, config.data.heldOut);
    const held = store.side(true, below);
    const scored = async (row: number): Promise<ScoredPair> => ({
      ...(await pairOf(store, row)),
      reference: reference.of(row),
    });
    const pairs = new Pairs(store.side(false, below), scored, { mostTokens, seed });
    const objective = preferenceObjective(preference);
    const { steps, batch, learningRate, optimizer } = training;
    const trainer = new Trainer<CausalLM | AdaptedModel, PreferenceBatch>(
      model,
      pairs,
      { steps, batch, learningRate, optimizer },
      objective,
    );
    const evaluate = async (): Promise<Evaluation | null> => {
      if (held.length === 0) return null;
      let loss = 0;
      const terms: Record<string, number> = {};
      for (let at = 0; at < held.length; at += SCORED_TOGETHER) {
        const some = await Promise.all(held.slice(at, at + SCORED_TOGETHER).map(scored));
        for (const part of preferenceBatches(some, mostTokens)) {
          const share = part.batch / held.length;
          const found = model.device.inference(() => objective(model, part, {}));
          try {
            loss += share * (await found.loss.item());
            for (const [name, term] of Object.entries(found.terms ?? {})) {
              terms[name] = (terms[name] ?? 0) + share * (await term.item());
            }
          } finally {
            found.loss.dispose();
            for (const term of Object.values(found.terms ?? {})) term.dispose();
          }
        }
      }
      const figures = { bytes: null, bitsPerByte: null, unit: "nats/pair", terms };
      return { loss, tokens: held.length, ...figures };
    };
    return {
      trainer: trainerSide(trainer),
      async begin(onNotice, signal) {
        if (reference.count === store.rows) return;
        if (trainer.step > 0) {
          // The model is no longer the one that the scores are of.
          throw new FormatError("scores of the reference are missing", {
            ...{
              where: join(folder, "reference.jsonl"),
              expected: `${store.rows} pairs`,
              found: reference.count,
            },
            hint: "Begin a new run.",
          });
        }
        onNotice(`reference ${formatCount(reference.count)} of ${formatCount(store.rows)} pairs scored`);
        let told = performance.now();
        while (reference.count < store.rows) {
          const from = reference.count;
          const rows = Array.from(
            { length: Math.min(SCORED_TOGETHER, store.rows - from) },
            (_, i) => from + i,
          );
          const some = await Promise.all(rows.map((row) => pairOf(store, row)));
          const found = await scorePairs(model, some, { mostTokens, signal });
          await reference.add(found.map(({ reference: { chosen, rejected } }) => [chosen, rejected]));
          if (performance.now() - told < 10_000 && reference.count < store.rows) continue;
          told = performance.now();
          onNotice(`reference ${formatCount(reference.count)} of ${formatCount(store.rows)} pairs scored`);
          await new Promise((resolve) => setImmediate(resolve));
        }
      },
      trainStep: () => trainer.trainStep(),
      evaluate,
      async [Symbol.asyncDispose]() {
        trainer[Symbol.dispose]();
        await store[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await store[Symbol.asyncDispose]();
    throw error;
  }
}
