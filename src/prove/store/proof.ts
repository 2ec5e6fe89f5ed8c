/** A verified proof as the store keeps it. */
export interface NewProof {
  /** Which side of a statement: the statement, its negation, or the contradiction of its hypotheses. */
  readonly side: "statement" | "negation" | "vacuous";
  readonly text: string;
  readonly textSha256: string;
  readonly tokens: number;
  readonly axioms: readonly string[];
  readonly model: string;
  readonly lean: string;
  readonly search: string;
  /** Generations that were spent until it was found. */
  readonly cost: number;
}
