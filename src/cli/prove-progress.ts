/** What `deepseek-ts prove` tells while it works: one line that moves on a terminal, and a line for each theorem at its end. */
import type { FillUnit, UnitEnd } from "../prove/fill/fill.ts";
import type { SearchEvent } from "../prove/search/search.ts";
import { plural } from "../text/units.ts";

/** Counts of one search. */
export class SearchProgress {
  readonly #title: string;
  readonly #budget: number;
  readonly #began = performance.now();
  #samples = 0;
  #nodes = 0;
  #checked = 0;
  #furthest = "";

  constructor(title: string, budget: number) {
    this.#title = title;
    this.#budget = budget;
  }

  take(event: SearchEvent): void {
    if (event.type === "sample") {
      this.#samples++;
      if (event.verdict !== "empty") this.#checked++;
      const { segments } = event;
      const last = segments.at(-1)?.code.trim().split("\n").at(-1) ?? "";
      if (last !== "") this.#furthest = last;
    } else if (event.type === "node") this.#nodes++;
  }

  text(): string {
    const seconds = (performance.now() - this.#began) / 1000;
    const rate = seconds > 0.5 ? `, ${(this.#checked / seconds).toFixed(1)} checks/s` : "";
    const nodes = this.#nodes > 0 ? `, ${plural(this.#nodes, "state")}` : "";
    const last = this.#furthest === "" ? "" : `, last step: ${this.#furthest}`;
    return `${this.#title}: ${this.#samples} of ${plural(this.#budget, "sample")}${nodes}${rate}${last}`;
  }
}

export function endText({ title }: Pick<FillUnit, "title">, end: UnitEnd): string {
  switch (end.outcome) {
    case "proved":
      return `proved  ${title} (${plural(end.cost.samples, "sample")})`;
    case "open":
      return `open    ${title} (${plural(end.cost.samples, "sample")} spent)`;
    case "failed":
      return `failed  ${title}: ${end.reason}`;
  }
}
