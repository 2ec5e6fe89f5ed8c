/** A model and a Lean whose answers stand in a table: pipelines without either. */
import type { CheckAnswer, CheckInput, LeanProblem, LeanSession, VerifyAnswer } from "../lean/session.ts";
import type { GeneratedText, TextGenerator, TextOptions } from "../search/generator.ts";

const NOTHING: CheckAnswer = {
  ...{ complete: true, messages: [], sorries: [], refused: null, failure: null, steps: [], milliseconds: 0 },
};
const START = { line: 1, column: 0, index: 0 };

/** Takes for proved what `proved` says of head and proof, and for a statement what does not hold `unknown`. */
export class TableLean implements LeanSession {
  readonly kind = "wasm";
  readonly version = "table";
  readonly slots = 3;
  readonly #proved: (head: string, proof: string) => boolean;
  verified = 0;
  /** Set to let the next checks fail as a crashed verifier does. */
  crashes = 0;

  constructor(proved: (head: string, proof: string) => boolean) {
    this.#proved = proved;
  }

  async ready() {}

  async check({ code }: CheckInput): Promise<CheckAnswer> {
    if (this.crashes > 0) {
      this.crashes--;
      return { ...NOTHING, complete: false, failure: "crash" };
    }
    if (code.includes("unknown")) {
      const error = {
        severity: "error",
        kind: "",
        start: START,
        end: START,
        text: "unknown identifier",
      } as const;
      return { ...NOTHING, complete: false, messages: [error] };
    }
    const sorries = [...code.matchAll(/sorry/g)].map(() => ({ start: START, end: START }));
    return { ...NOTHING, complete: false, sorries };
  }

  async verify({ statement }: LeanProblem, code: string): Promise<VerifyAnswer> {
    this.verified++;
    const head = statement.replace(/ {2}sorry$/, "");
    const proved = this.#proved(head, code.slice(head.length));
    return { ...NOTHING, verdict: proved ? "proved" : "error", detail: "", name: "", axioms: [] };
  }

  async [Symbol.asyncDispose]() {}
}

/** Answers a prompt by a function of it and of its seed. */
export class TableGenerator implements TextGenerator {
  readonly model = "table";
  readonly #answer: (prompt: string, seed: number) => string;
  /** Prompts and seeds in the order in which they were asked. */
  readonly asked: { readonly prompt: string; readonly seed: number }[] = [];
  /** Called before every generation. */
  before: () => void = () => {};

  constructor(answer: (prompt: string, seed: number) => string) {
    this.#answer = answer;
  }

  async *generate(
    prompts: readonly string[],
    { seeds, signal }: TextOptions,
  ): AsyncIterableIterator<GeneratedText> {
    signal?.throwIfAborted();
    this.before();
    const written = prompts.map((prompt, index): GeneratedText => {
      this.asked.push({ prompt, seed: seeds[index] });
      const text = this.#answer(prompt, seeds[index]);
      return { index, text, tokens: this.countTokens(text), end: "stop" };
    });
    // In any order.
    yield* written.reverse();
  }

  countTokens(text: string): number {
    return text.split(/\s+/).length;
  }
}
