/**
 * Compiles `kernels/*.ts` (AssemblyScript) to `kernels/build/{baseline,relaxed}.wasm`.
 *
 * Every exported function of one parameter `(a: usize): void` outside runtime.ts is a kernel;
 * the script gives each a number, writes the function that calls a kernel by number, and the table of numbers.
 *
 * Plain JavaScript: `npm ci` runs it with whatever Node there is.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const source = join(root, "kernels");
const target = join(source, "build");
const families = readdirSync(source).filter((f) => f.endsWith(".ts") && f !== "runtime.ts");
families.sort();

const hash = createHash("sha256");
/** @type {Map<string, string>} */
const texts = new Map();
for (const file of ["runtime.ts", ...families]) {
  const text = readFileSync(join(source, file), "utf8");
  texts.set(file, text);
  hash.update(file).update("\0").update(text);
}
hash.update(readFileSync(fileURLToPath(import.meta.url)));
const digest = hash.digest("hex");
const stamp = join(target, "stamp");
if (existsSync(stamp) && readFileSync(stamp, "utf8") === digest) process.exit(0);

/** @type {{ name: string; file: string }[]} */
const kernels = [];
for (const file of families) {
  for (const match of texts.get(file).matchAll(/^export function (\w+)\(a: usize\): void/gm)) {
    kernels.push({ name: match[1], file });
  }
}
const lines = ["// Written by scripts/build-kernels.js.", 'export * from "../runtime";'];
for (const file of families) {
  const names = kernels.filter((k) => k.file === file).map((k) => k.name);
  if (names.length > 0) lines.push(`import { ${names.join(", ")} } from "../${file.replace(/\.ts$/, "")}";`);
}
lines.push("export function execute(kernel: i32, a: usize): void {", "  switch (kernel) {");
for (const [i, { name }] of kernels.entries())
  lines.push(`    case ${i}:`, `      ${name}(a);`, "      break;");
lines.push("    default:", "      unreachable();", "  }", "}", "");
// Built aside and moved into place at the end: a failed build leaves the last good one.
const aside = join(source, `.build-${process.pid}`);
mkdirSync(aside, { recursive: true });
process.on("exit", () => rmSync(aside, { recursive: true, force: true }));
const entry = join(aside, "entry.ts");
writeFileSync(entry, lines.join("\n"));
writeFileSync(
  join(aside, "kernels.json"),
  `${JSON.stringify(Object.fromEntries(kernels.map((k, i) => [k.name, i])))}\n`,
);

const asc = join(
  dirname(createRequire(import.meta.url).resolve("assemblyscript/package.json")),
  "bin",
  "asc.js",
);
const common = [
  ...[entry, "--optimizeLevel", "3", "--shrinkLevel", "0", "--noAssert"],
  ...["--runtime", "stub", "--use", "abort=", "--importMemory", "--sharedMemory"],
  ...["--initialMemory", "64", "--maximumMemory", "65536", "--memoryBase", "65536"],
  ...["--enable", "simd", "--enable", "threads", "--enable", "bulk-memory", "--enable", "sign-extension"],
];
for (const [name, ...extra] of [["baseline"], ["relaxed", "--enable", "relaxed-simd"]]) {
  execFileSync(process.execPath, [asc, ...common, ...extra, "--outFile", join(aside, `${name}.wasm`)], {
    stdio: "inherit",
    cwd: root,
  });
}
mkdirSync(target, { recursive: true });
for (const file of ["baseline.wasm", "relaxed.wasm", "kernels.json"])
  renameSync(join(aside, file), join(target, file));
writeFileSync(stamp, digest);
