/**
 * What the browser test asks of Lean and of the small prover on both sides, Node and Chromium. Packages come as arguments, so
 * that this file loads in either.
 */
import type { EnginePackage } from "./chat-request.ts";
import type { ReadFile } from "./picture-job.ts";
import type { DeepseekPackage } from "./ten-steps.ts";

export type ProvePackage = typeof import("../../src/prove/browser.ts");
export type CheckpointPackage = typeof import("../../src/checkpoint/index.ts");
type LeanSession = import("../../src/prove/browser.ts").LeanSession;

export interface ProofPackages {
  readonly deepseek: DeepseekPackage;
  readonly checkpoint: CheckpointPackage;
  readonly engine: EnginePackage;
  readonly prove: ProvePackage;
}

/** However busy the machine is. */
const timeout = 240_000;

/** A proof as the test's lists have it. */
export interface Judged {
  readonly preamble: string;
  readonly statement: string;
  readonly proof: string;
}

export interface VerdictReport {
  readonly verdict: string;
  readonly axioms: readonly string[];
}

/** Verdicts of proofs, in their order. */
export async function verdictsOf(lean: LeanSession, proofs: readonly Judged[]): Promise<VerdictReport[]> {
  const answers = proofs.map(({ preamble, statement, proof }) =>
    lean.verify({ preamble, statement }, proof, { timeout, heartbeats: 400_000 }),
  );
  return (await Promise.all(answers)).map(({ verdict, axioms }) => ({ verdict, axioms }));
}

export interface ProofReport {
  /** Of each generation in its order: what Lean said of it. */
  readonly attempts: readonly string[];
  readonly code: string | null;
}

/** Searches a proof with the model in `folder`; the same seed searches the same way. */
export async function searchReport(
  { deepseek, checkpoint, engine, prove }: ProofPackages,
  lean: LeanSession,
  folder: string,
  statement: string,
  read: ReadFile,
): Promise<ProofReport> {
  const files = new Map<string, Uint8Array>();
  for (const name of ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]) {
    files.set(name, await read(`${folder}/${name}`));
  }
  await using device = await deepseek.createCpuDevice({ threads: 1, relaxed: false });
  const { model, tokenizer } = await deepseek.loadFolder(checkpoint.memoryFolder(files, folder), { device });
  await using running = new engine.Engine(model, { maxBatch: 4, cacheTokens: 4096 });
  const generator = new prove.EngineGenerator(running, tokenizer!, { model: folder });
  const task = { statement, header: "", problem: prove.leanProblem("", statement) };
  const options = { search: "sample", style: "short", order: "rounds", parallel: 4, samples: 32 } as const;
  const attempts: string[] = [];
  for await (const event of prove.search(
    task,
    { generator, lean },
    { ...options, seed: 3, maxTokens: 128, timeout },
  )) {
    if (event.type === "sample") attempts.push(JSON.stringify(event));
    if (event.type === "proved") return { attempts, code: event.code };
  }
  return { attempts, code: null };
}
