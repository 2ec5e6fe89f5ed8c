/**
 * Bodies of /v1/verify: one proof in the form of a line of `deepseek-ts verify`, or several as `items`. What is asked of Lean
 * is bounded here; texts that no Lean reads get a verdict like all others.
 */
import { z } from "zod";
import { type ProofLine, readProofItem } from "../prove/lean/proof-lines.ts";
import { FormatError } from "../tensor/errors.ts";
import { object, read, refuseFields } from "./body.ts";
import { invalidRequest } from "./errors.ts";

/** Most proofs of a request. */
export const MOST_PROOFS = 256;
/** Most milliseconds of one check. */
export const MOST_TIMEOUT = 300_000;
/** Most of Lean's heartbeats, fifty times its own limit. */
export const MOST_HEARTBEATS = 10_000_000;
/** Most modules that a proof may import. */
const MOST_IMPORTS = 64;

const schema = z.object({ stream: z.boolean().nullish() });
const limitsSchema = z.object({
  name: z.string().max(1000).nullish(),
  imports: z.array(z.string().max(1000)).max(MOST_IMPORTS).nullish(),
  options: z
    .object({
      timeoutMs: z.int().min(1).max(MOST_TIMEOUT).optional(),
      maxHeartbeats: z.int().min(1).max(MOST_HEARTBEATS).optional(),
    })
    .nullish(),
});

/** What other interfaces set elsewhere, and what a server does not do for its clients. */
const REFUSED = [
  {
    field: "options.trustedPreamble",
    neutral: [false],
    why: "a server runs no code of requests; verify such problems with deepseek-ts verify on your machine",
  },
  ...["timeout", "timeoutMs", "timeout_ms"].map((field) => ({ field, why: "set 'options.timeoutMs'" })),
  ...["heartbeats", "maxHeartbeats"].map((field) => ({ field, why: "set 'options.maxHeartbeats'" })),
  { field: "trustedPreamble", neutral: [false], why: "a server runs no code of requests" },
  { field: "modules", why: "name modules in 'imports'" },
  ...["steps", "allTactics", "infotree"].map((field) => ({
    ...{ field, neutral: [false], why: "answers are verdicts, without states of tactics" },
  })),
  ...["strict", "rules"].map((field) => ({ field, neutral: [true], why: "the rules of text always hold" })),
];

export interface ParsedProofs {
  readonly proofs: readonly ProofLine[];
  /** Whether they were sent as a list. */
  readonly many: boolean;
  readonly stream: boolean;
}

/** @throws ApiError naming the field */
function readProof(value: unknown, place: string | null): ProofLine {
  const prefix = place === null ? "" : `${place}.`;
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    refuseFields(REFUSED, value as Record<string, unknown>, prefix);
    read(limitsSchema, value, prefix);
  }
  try {
    return readProofItem(place ?? "proof", value);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    const { name } = error.detail;
    const param = name === undefined ? place : prefix + name;
    throw invalidRequest(`This proof cannot be read: ${error.message}.`, param, "invalid_value");
  }
}

/** @throws ApiError naming the field that is wrong */
export function parseProofs(json: unknown): ParsedProofs {
  const body = object(json);
  const { items } = body;
  const stream = read(schema, body).stream ?? false;
  if (items === undefined || items === null) {
    if (stream) throw invalidRequest("'stream' needs 'items': one proof has one verdict.", "stream");
    return { proofs: [readProof(body, null)], many: false, stream };
  }
  if (!Array.isArray(items)) throw invalidRequest("'items' must be a list of proofs.", "items");
  if (items.length === 0 || items.length > MOST_PROOFS) {
    const message = `'items' must hold 1 to ${MOST_PROOFS} proofs; found ${items.length}. Send more in several requests.`;
    throw invalidRequest(message, "items");
  }
  const beside = ["statement", "formal_statement", "proof", "formal_proof", "code", "preamble", "header"]
    .concat("imports", "options")
    .find((field) => body[field] !== undefined && body[field] !== null);
  if (beside !== undefined) {
    throw invalidRequest(`'${beside}' cannot stand beside 'items': put it into each of them.`, beside);
  }
  return { proofs: items.map((item, i) => readProof(item, `items[${i}]`)), many: true, stream };
}
