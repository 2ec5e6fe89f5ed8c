/** What a family of the corpus is: published dials per level, a generator of theorems with their truth, and how to tell them. */
import type { WorldRandom } from "../../data/world/generator.ts";
import type { Domain } from "./term.ts";
import type { Script, Theorem } from "./theorem.ts";

export type Level = 1 | 2 | 3;
export const LEVELS: readonly Level[] = [1, 2, 3];

/** Settings of a level, by name. */
export type Dials = Readonly<Record<string, number>>;

export interface Draft {
  /** Definitions that the statement builds on. */
  readonly preamble?: string;
  readonly theorem: Theorem;
  /** A proof of the theorem or, if `truth` is false, of its universal negation `¬ ∀ binders, goal`. */
  readonly script: Script | null;
  readonly truth: boolean;
  /** Where all variables are numbers or booleans and no function occurs, so that truth can be evaluated. */
  readonly domain?: Domain;
  /** Theorems that it joins, if it joins several. */
  readonly parts?: number;
  /** Wordings of its own (a story, a puzzle), beside those that any theorem gets. They end with what is to be shown. */
  readonly stories?: readonly string[];
}

export interface Family {
  readonly name: string;
  /** One line for tables. */
  readonly about: string;
  readonly levels: Readonly<Record<Level, Dials>>;
  /** A true theorem. */
  draw(random: WorldRandom, dials: Dials): Draft;
  /** A false one that looks like the family's, with its refutation if one is scripted; null if this draw gave none. */
  drawFalse?(random: WorldRandom, dials: Dials): Draft | null;
}
