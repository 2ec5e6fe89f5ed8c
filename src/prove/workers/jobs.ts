/**
 * The jobs of provers on many processes: `verify` asks Lean one question, `generate` writes a batch of texts, `search` proves one
 * theorem. A job carries keys; what they stand for, and every result, is in the store that all share, under the same keys, so a job
 * that is done twice is kept once.
 */
import type { LeanSession } from "../lean/session.ts";
import { sha256 } from "../store/checked-lean.ts";

export const WORKER_KINDS = ["generate", "verify", "search"] as const;
export type WorkerKind = (typeof WORKER_KINDS)[number];

/** Kind of the jobs in a queue that may hold others. */
export const jobKind = (kind: WorkerKind): string => `prover-${kind}`;

export interface VerifyJob {
  readonly key: string;
  /** Version of Lean that is asked. */
  readonly lean: string;
  readonly timeout: number | null;
}

/** An answer that depends on the machine is not kept: the job's result says it. */
export interface VerifyDone {
  readonly failure: "timeout" | "memory" | "crash" | null;
}

export interface GenerateJob {
  readonly keys: readonly string[];
  readonly model: string;
}

export interface SearchJob {
  readonly key: string;
}

/** Times that a job is given anew after one that came to nothing. */
export const TRIES = 3;

/** The id of a job is what it does, so that adding it twice is adding it once. */
export const jobId = (kind: WorkerKind, ...parts: readonly unknown[]): string =>
  `${kind}-${sha256(JSON.stringify(parts))}`;

/** What workers say of themselves in the store, for those who ask. */
export type LeanSays = Pick<LeanSession, "kind" | "version" | "slots">;

export interface ModelSays {
  readonly model: string;
  /** Tokens that a prompt and what follows should have together. */
  readonly contextTokens: number;
  /** Tokens that they may have; null: no limit. */
  readonly mostTokens: number | null;
  /** Tokens of `PROBE`: those who ask count tokens of a tree's nodes by a tokenizer of their own, which must be this model's. */
  readonly probeTokens: number;
}

/** Text by whose tokens two tokenizers differ. */
export const PROBE =
  "theorem probe (x y : ℤ) (h₀ : 2 * x + y ≤ 1234567) (p : α → Prop) : ∃ n : ℕ, n * n = 144 ∧ ¬ p n ↔ x ≠ y := by\n" +
  "  induction n with\n  | zero => simp_all [Nat.succ_le_iff]\n  | succ k ih => omega -- und so weiter, 等等\n";

export const LEAN_SAYS = "worker lean";
export const MODEL_SAYS = "worker model";
