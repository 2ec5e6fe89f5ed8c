/**
 * What generation asks of a constraint on its output: which tokens may come next, and whether the output may end.
 * Implemented over grammars in `token-constraint.ts`; nothing here knows about JSON.
 */
export interface TokenConstraint {
  /** Sets to -Infinity the logits of tokens that may not come next (EOS included unless `complete`). */
  mask(logits: Float32Array): void;
  /** Advances by the chosen token. @throws if it was not allowed */
  accept(id: number): void;
  /** Whether the output may end here. */
  readonly complete: boolean;
  /** Whether nothing but the end may follow. */
  readonly finished: boolean;
  /** An independent copy in the present state (for speculative decoding). */
  clone(): TokenConstraint;
}
