/** Prompts of a policy in seeded order: every pass over them is another permutation, and a position is all there is to save. */
import { checkNumber } from "../../tensor/check-value.ts";
import { ConfigError } from "../../tensor/errors.ts";
import { Random } from "../../tensor/random.ts";

/** What a completion is asked for. */
export interface PolicyPrompt<Row = unknown> {
  /** Token ids, as the model reads them. */
  readonly ids: readonly number[];
  /** What rewards see beside the completion: the prompt as text, what is to come out, the line of the data. */
  readonly prompt?: string;
  readonly key?: string;
  readonly row?: Row;
}

export class PromptOrder<Row = unknown> {
  readonly #prompts: readonly PolicyPrompt<Row>[];
  readonly #seed: number;
  #taken = 0;
  #pass = -1;
  #order: number[] = [];

  /** @throws ConfigError for no prompts, or an empty one */
  constructor(prompts: readonly PolicyPrompt<Row>[], seed: number) {
    const empty = prompts.findIndex(({ ids }) => ids.length === 0);
    if (prompts.length === 0 || empty >= 0) {
      throw new ConfigError(empty >= 0 ? "the prompt is empty" : "no prompts", {
        ...{ where: "PromptOrder", ...(empty >= 0 && { name: `prompt ${empty}` }) },
        expected: "one prompt or more, each of one token or more",
      });
    }
    this.#prompts = prompts;
    this.#seed = seed;
  }

  /** Number of prompts. */
  get size(): number {
    return this.#prompts.length;
  }

  /** Prompts taken so far. */
  get taken(): number {
    return this.#taken;
  }

  set taken(taken: number) {
    checkNumber({ where: "PromptOrder" }, "taken", taken, { integer: true, min: 0 });
    this.#taken = taken;
  }

  /** The next `count` prompts. */
  take(count: number): PolicyPrompt<Row>[] {
    const { length } = this.#prompts;
    return Array.from({ length: count }, () => {
      const at = this.#taken++;
      const pass = Math.floor(at / length);
      if (pass !== this.#pass) {
        this.#order = new Random(this.#seed, pass).shuffle(Array.from({ length }, (_, i) => i));
        this.#pass = pass;
      }
      return this.#prompts[this.#order[at % length]];
    });
  }
}
