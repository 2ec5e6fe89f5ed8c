/** The lists of proofs and cheats in test/fixtures/lean, with what is right of each. */
import { readFileSync } from "node:fs";
import { fixture } from "./embedded-lean.ts";

export interface Listed {
  readonly name: string;
  readonly preamble: string;
  readonly statement: string;
  readonly proof: string;
  readonly options?: {
    readonly timeoutMs?: number;
    readonly maxHeartbeats?: number;
    readonly trustedPreamble?: boolean;
  };
  readonly expect: "accept" | "reject";
  /** In the words of the server. */
  readonly verdict: string;
}

export interface Steps {
  readonly name: string;
  readonly prefix: string;
  readonly proof: string;
  readonly complete: boolean;
  readonly segments: readonly {
    readonly code: string;
    readonly goals: readonly string[];
    readonly indent: number;
  }[];
}

export const lines = <T>(name: string): T[] =>
  readFileSync(fixture(name), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as T);
