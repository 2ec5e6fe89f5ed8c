/** Opens a small prover and Lean in a worker, and searches proofs: the page stays free. */
import { memoryFolder } from "deepseek-ts/checkpoint";
import { Engine } from "deepseek-ts/engine";
import { loadFolder } from "deepseek-ts/pretrained";
import {
  EngineGenerator,
  type LeanSession,
  leanProblem,
  openPageLean,
  search,
} from "deepseek-ts/prove/browser";
import type { FromWorker, ToWorker } from "./messages.ts";

const FILES = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
const PARALLEL = 4;
const say = (message: FromWorker) => self.postMessage(message);

let lean: LeanSession;
let generator: EngineGenerator;
let running = new AbortController();

async function fetched(address: string): Promise<Uint8Array> {
  const answer = await fetch(address);
  // Some servers answer with their front page where there is no such file.
  const page = answer.headers.get("content-type")?.startsWith("text/html");
  if (!answer.ok || page) throw new Error(`${address}: no such file; copy models/world-prover there`);
  return new Uint8Array(await answer.arrayBuffer());
}

async function open({ lean: url, model: folder }: Extract<ToWorker, { lean: string }>): Promise<void> {
  const told = { download: "Fetching Lean", unpack: "Unpacking Lean", start: "Starting Lean" };
  lean = await openPageLean({
    url,
    onProgress: ({ stage, fraction }) => say({ state: `${told[stage]}: ${Math.round(100 * fraction)}%` }),
  });
  // Lean starts meanwhile.
  const files = await Promise.all(FILES.map(async (name) => [name, await fetched(folder + name)] as const));
  const { model, tokenizer } = await loadFolder(memoryFolder(new Map(files), folder));
  const engine = new Engine(model, { maxBatch: PARALLEL, cacheTokens: 4096 });
  generator = new EngineGenerator(engine, tokenizer!, { model: folder });
  await lean.ready();
  say({ ready: true });
}

async function prove({ statement, samples }: Extract<ToWorker, { statement: string }>): Promise<void> {
  running = new AbortController();
  const task = { statement, header: "", problem: leanProblem("", statement) };
  const options = { search: "sample", style: "short", samples, parallel: PARALLEL, maxTokens: 256 } as const;
  for await (const event of search(task, { generator, lean }, { ...options, signal: running.signal })) {
    if (event.type === "sample") say({ tried: event.text, verdict: event.verdict });
    if (event.type === "proved") return say({ proved: event.code });
  }
  say({ done: `No proof among ${samples}.` });
}

self.addEventListener("message", ({ data }: { data: ToWorker }) => {
  if ("stop" in data) return running.abort(new Error("Stopped."));
  const work = "lean" in data ? open(data) : prove(data);
  work.catch((error: unknown) => say({ done: error instanceof Error ? error.message : String(error) }));
});
