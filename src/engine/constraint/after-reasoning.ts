/** A constraint on the answer of a model that thinks first: its reasoning is free, what follows it is not. */
import type { TokenConstraint } from "../constraint.ts";

/** Free text up to `close`, a token's id or a text, in which the output cannot end; then `inner`. */
export class AfterReasoning implements TokenConstraint {
  readonly #inner: TokenConstraint;
  readonly #textOf: (id: number) => string;
  readonly #endIds: readonly number[];
  readonly #close: string | number;
  /** End of the text so far; null once it is closed. */
  #tail: string | null = "";

  constructor(
    inner: TokenConstraint,
    textOf: (id: number) => string,
    endIds: readonly number[],
    close: string | number = "</think>",
  ) {
    this.#inner = inner;
    this.#textOf = textOf;
    this.#endIds = endIds;
    this.#close = close;
  }

  get complete(): boolean {
    return this.#tail === null && this.#inner.complete;
  }

  get finished(): boolean {
    return this.#tail === null && this.#inner.finished;
  }

  mask(logits: Float32Array): void {
    if (this.#tail === null) this.#inner.mask(logits);
    else for (const id of this.#endIds) logits[id] = Number.NEGATIVE_INFINITY;
  }

  accept(id: number): void {
    if (this.#tail === null) {
      this.#inner.accept(id);
      return;
    }
    if (typeof this.#close === "number") {
      if (id === this.#close) this.#tail = null;
      return;
    }
    const text = this.#tail + this.#textOf(id);
    this.#tail = text.includes(this.#close) ? null : text.slice(-this.#close.length);
  }

  clone(): AfterReasoning {
    const copy = new AfterReasoning(this.#inner.clone(), this.#textOf, this.#endIds, this.#close);
    copy.#tail = this.#tail;
    return copy;
  }
}
