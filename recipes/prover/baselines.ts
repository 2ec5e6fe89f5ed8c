/**
 * The table of baselines of `mini-coreF2F`, per family: `node recipes/prover/baselines.ts` prints what is recorded in the
 * file, `--run` asks Lean again for every statement and ends with an error where the record is another.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { runBaselines } from "../../src/prove/corpus/automation-run.ts";
import type { BenchmarkRow } from "../../src/prove/corpus/benchmark.ts";
import { openWasmLean } from "../../src/prove/lean/wasm/open.ts";
import { baselineTable } from "./table.ts";

const file = fileURLToPath(new URL("mini-coref2f.jsonl", import.meta.url));
const { values } = parseArgs({
  options: {
    run: { type: "boolean", default: false },
    families: { type: "string" },
    servers: { type: "string", default: "1" },
  },
});
const text = readFileSync(file, "utf8");
const all = text
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line) as BenchmarkRow);
const rows = values.families ? all.filter(({ family }) => values.families!.split(",").includes(family)) : all;

if (values.run) {
  await using lean = await openWasmLean({ size: Number(values.servers) });
  let others = 0;
  for (const [i, row] of rows.entries()) {
    process.stderr.write(`\r${i + 1} of ${rows.length} `);
    const result = await runBaselines(lean, { preamble: row.preamble, statement: row.formal_statement });
    const found = Object.entries(result).flatMap(([name, proved]) => (proved ? [name] : []));
    if (found.join() === row.automation.join()) continue;
    others++;
    console.error(`\n${row.name}: recorded [${row.automation.join(" ")}], found [${found.join(" ")}]`);
  }
  process.stderr.write("\n");
  if (others > 0) process.exitCode = 1;
}
console.log(`sha256 ${createHash("sha256").update(text).digest("hex")}\n`);
console.log(baselineTable(rows));
