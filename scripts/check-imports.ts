/**
 * Checks the imports of `src`: a folder imports only from itself and from folders before it, files do not import each
 * other in a cycle, type imports included (docs/decisions/0003), and only `src/files` writes or deletes files
 * (docs/decisions/0009), and nothing that the studio's page runs needs Node.
 */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const source = join(dirname(fileURLToPath(import.meta.url)), "..", "src");
/** Each layer imports from itself and from those before it. */
const layers = [
  "text",
  "json",
  "tensor",
  "statistics",
  "files",
  "nn",
  "vision",
  "models",
  "checkpoint",
  "tokenizer",
  "pretrained",
  "jobs",
  "chat",
  "engine",
  "data",
  "train",
  "runs",
  "scaling",
  "evaluate",
  "parity",
  "prove",
  "serve",
  "studio",
  "cli",
];
/** What is near in the list and yet stays apart: the first does not know the second. */
const strangers = [
  ["models", "files"],
  ["data", "tokenizer"],
  ["train", "data"],
];
/** Layers that depend on the interface of a model (`models/token-model.ts`), not on the class, except in test helpers. */
const generic = ["engine", "train"];
const CLASS = "models/causal-lm.ts";
/** Layers that the entries of the package, at the root of `src`, must not import. */
const programs = ["serve", "studio", "cli"];

/** Every form of import, types included. */
const IMPORT = /^\s*(?:import|export)\s(?:[^;]*?from )?"(\.[^"]+)"|\bimport\("(\.[^"]+)"\)/gm;

const files = readdirSync(source, { recursive: true, encoding: "utf8" })
  .filter((f) => /\.tsx?$/.test(f))
  .map((f) => f.replaceAll("\\", "/"));
const problems: string[] = [];
const edges = new Map<string, string[]>();

for (const file of files) {
  const path = join(source, file);
  const text = readFileSync(path, "utf8");
  const layer = file.includes("/") ? file.split("/")[0] : "";
  const targets = [...text.matchAll(IMPORT)].map((match) =>
    relative(source, resolve(dirname(path), match[1] ?? match[2])).replaceAll("\\", "/"),
  );
  for (const target of targets) {
    const other = target.includes("/") ? target.split("/")[0] : "";
    if (other === layer || file.endsWith(".test.ts")) continue;
    if (target === CLASS && generic.includes(layer) && !/(^|\/)testing[^/]*$/.test(file)) {
      problems.push(`${file}: "${layer}" must depend on TokenModel, not on ${CLASS}`);
    }
    if (layer === "") {
      if (programs.includes(other)) problems.push(`${file}: an entry may not import from "${other}"`);
    } else if (!layers.includes(layer)) {
      problems.push(`${file}: the folder "${layer}" is not in the list of layers`);
    } else if (layers.indexOf(other) > layers.indexOf(layer) || !layers.includes(other)) {
      problems.push(`${file}: "${layer}" may not import from "${other || target}"`);
    } else if (strangers.some(([a, b]) => a === layer && b === other)) {
      problems.push(`${file}: "${layer}" must not depend on "${other}"`);
    }
  }
  edges.set(file, targets);
}

const state = new Map<string, "open" | "done">();
function visit(file: string, trail: string[]): void {
  if (state.get(file) === "done") return;
  if (state.get(file) === "open") {
    problems.push(`import cycle: ${[...trail.slice(trail.indexOf(file)), file].join(" -> ")}`);
    return;
  }
  state.set(file, "open");
  for (const target of edges.get(file) ?? []) visit(target, [...trail, file]);
  state.set(file, "done");
}
for (const file of files) visit(file, []);

/** As `IMPORT`, without types: what runs. */
const RUN_IMPORT = /^\s*(?:import|export)\s(?!type\b)(?:[^;]*?from )?"(\.[^"]+)"|\bimport\("(\.[^"]+)"\)/gm;
const NODE_IMPORT = /^\s*(?:import|export)\s(?!type\b)(?:[^;]*?from )?"node:|(?<!typeof )\bimport\("node:/m;
const reached = new Map<string, string | null>(
  files
    .filter((file) => /^studio\//.test(file) && !/\.test\.tsx?$|vite\.config/.test(file))
    .map((file) => [file, null]),
);
for (const [file] of reached) {
  const path = join(source, file);
  const text = readFileSync(path, "utf8");
  if (NODE_IMPORT.test(text)) {
    const trail = [file];
    for (let at = reached.get(file); at; at = reached.get(at)) trail.unshift(at);
    problems.push(`${file}: needs Node, and the studio's page runs it: ${trail.join(" -> ")}`);
  }
  for (const match of text.matchAll(RUN_IMPORT)) {
    const target = relative(source, resolve(dirname(path), match[1] ?? match[2])).replaceAll("\\", "/");
    if (/\.tsx?$/.test(target) && !reached.has(target)) reached.set(target, file);
  }
}

/** Names of `node:fs` that only read. All others can write, `open` too (use `openForReading` of src/files instead). */
const readers = new Set(
  (
    "access constants Dirent existsSync FileHandle lstat lstatSync readdir readdirSync readFile readFileSync readlink " +
    "realpath realpathSync stat statfs Stats statSync"
  ).split(" "),
);
/** Files that may write, and why. */
const writers: readonly (readonly [RegExp, string])[] = [
  [/^files\//, "the sink itself"],
  [
    /^pretrained\/hub-(cache|download)\.ts$/,
    "the layout of the Hugging Face cache belongs to another program",
  ],
  [/^cli\/report-error\.ts$/, "the last line must reach standard error even if its stream is blocked"],
  [/\.test\.ts$|(^|\/)(test-|testing)[^/]*\.ts$/, "tests create and delete their own folders"],
];
const fs = /^(?:node:)?fs(?:\/promises)?$/;

for (const file of files) {
  if (writers.some(([pattern]) => pattern.test(file))) continue;
  const text = readFileSync(join(source, file), "utf8");
  const refuse = (name: string) =>
    problems.push(`${file}: uses ${name} of node:fs; write through src/files instead`);
  // `import { a, b } from "x"`, `{ a, b } = await import("x")` and `.. await nodeModule<typeof import("x")>("x")` name
  // what they take; all other ways hide it.
  const named =
    /\{([^{}]*)\}\s*(?:from\s|=\s*await (?:import\(|nodeModule<typeof import\((["'][^"']+["'])\)>\()\s*)["']([^"']+)["']/g;
  let shown = 0;
  for (const [, names, typed, module] of text.matchAll(named)) {
    if (!fs.test(module)) continue;
    shown += typed === undefined ? 1 : 2;
    for (const part of names.split(",")) {
      const name = part
        .trim()
        .replace(/^type /, "")
        .split(/[\s:]/)[0];
      if (name !== "" && !readers.has(name)) refuse(name);
    }
  }
  const mentions = [...text.matchAll(/["']([^"'\n]+)["']/g)].filter(([, module]) => fs.test(module));
  if (mentions.length > shown)
    problems.push(`${file}: import names of node:fs one by one, so that this check can see them`);
  if (/process\.binding/.test(text)) problems.push(`${file}: must not use process.binding`);
}

for (const problem of new Set(problems)) console.error(problem);
if (problems.length > 0) process.exit(1);
console.log(`imports: ${files.length} files checked`);
