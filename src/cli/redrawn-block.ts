/** A block of lines that is redrawn in place on a terminal; elsewhere nothing of it is written. */
import type { Output } from "./output.ts";

export class RedrawnBlock {
  readonly #out: Output;
  #lines = 0;

  constructor(out: Output) {
    this.#out = out;
  }

  /** Draws the block over the one before. */
  draw(lines: readonly string[]): void {
    if (!this.#out.isTTY) return;
    if (this.#lines > 0) this.#out.write(`\x1b[${this.#lines}A\x1b[0J`);
    const width = (this.#out.columns ?? 80) - 1;
    this.#out.write(`${lines.map((line) => [...line].slice(0, width).join("")).join("\n")}\n`);
    this.#lines = lines.length;
  }

  /** Leaves the block as it stands: what is written next comes below it. */
  end(): void {
    this.#lines = 0;
  }

  /** Writes a line in place of the block, which comes below it the next time. */
  note(text: string): void {
    if (this.#out.isTTY && this.#lines > 0) this.#out.write(`\x1b[${this.#lines}A\x1b[0J`);
    this.#lines = 0;
    this.#out.write(`${text}\n`);
  }
}
