/**
 * Composes the test set `mini-coreF2F` with real Lean, one family after the other, into the file beside this program, which is
 * written after each: `node recipes/prover/compose.ts`. Families that the file has are kept, and so are Lean's answers to each
 * candidate (`--state`): a stopped run goes on.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { type BenchmarkRow, benchmarkText } from "../../src/prove/corpus/benchmark.ts";
import { BENCHMARK_FAMILIES, composeFamily } from "../../src/prove/corpus/compose.ts";
import { openWasmLean } from "../../src/prove/lean/wasm/open.ts";
import { CheckedLean } from "../../src/prove/store/checked-lean.ts";
import { ProofStore } from "../../src/prove/store/store.ts";
import { baselineTable } from "./table.ts";

const { values } = parseArgs({
  options: {
    families: { type: "string", default: BENCHMARK_FAMILIES.join(",") },
    seed: { type: "string", default: "1" },
    servers: { type: "string", default: "1" },
    state: { type: "string", default: "runs/recipe-prover" },
  },
});
const file = fileURLToPath(new URL("mini-coref2f.jsonl", import.meta.url));
const text = existsSync(file) ? readFileSync(file, "utf8").trim() : "";
let rows: BenchmarkRow[] = text === "" ? [] : text.split("\n").map((line) => JSON.parse(line));
const left = values.families.split(",").filter((family) => !rows.some((row) => row.family === family));

const stopped = new AbortController();
process.once("SIGINT", () => stopped.abort(new Error("stopped; the same command goes on")));
mkdirSync(values.state, { recursive: true });
using store = await ProofStore.open(join(values.state, "compose.sqlite"));
const opened = await openWasmLean({ size: Number(values.servers), signal: stopped.signal });
await using lean = new CheckedLean(opened, store);
for (const family of left) {
  let seen = 0;
  const found = await composeFamily(lean, family, {
    seed: Number(values.seed),
    signal: stopped.signal,
    onCandidate: () => process.stderr.write(`\r${family}: ${++seen} candidates `),
  });
  process.stderr.write(`\r${family}: ${found.length} of ${seen} candidates\n`);
  const all = [...rows, ...found];
  rows = BENCHMARK_FAMILIES.flatMap((name) => all.filter((row) => row.family === name));
  writeFileSync(`${file}.part`, benchmarkText(rows));
  renameSync(`${file}.part`, file);
}
console.log(baselineTable(rows));
