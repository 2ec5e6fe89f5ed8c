/** Runs every program of examples/ with the package as built, and fails if one does. */
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const folder = join(dirname(fileURLToPath(import.meta.url)), "..", "examples");
/** Lean as tests have prepared it, so that it is not prepared again. */
const cache = join(folder, "..", "node_modules", ".cache", "deepseek-ts");
const names = readdirSync(folder).filter((name) => name.endsWith(".ts"));
for (const name of names.sort()) {
  console.log(`\n== examples/${name}`);
  const began = performance.now();
  const { status } = spawnSync(process.execPath, [join(folder, name)], {
    stdio: "inherit",
    timeout: 120_000,
    env: { DEEPSEEK_TS_CACHE: cache, ...process.env },
  });
  if (status !== 0) {
    console.error(`examples/${name} ended with status ${status}`);
    process.exit(1);
  }
  console.log(`-- ${((performance.now() - began) / 1000).toFixed(1)} s`);
}
console.log(`\n${names.length} examples ran`);
