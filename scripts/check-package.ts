/**
 * What a user gets: packs the package, installs the archive in an empty folder and uses it there, with the pinned
 * Node and with the machine's own: help, three steps of training, a completion, and a program that imports it.
 */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, delimiter, dirname, join } from "node:path";
import { entries } from "./support/entries.ts";
import { call, onWindows, packPackage, root, systemPath } from "./support/packed-package.ts";

const folder = mkdtempSync(join(tmpdir(), "deepseek-ts-package-"));

function expectText(what: string, text: string, wanted: RegExp): void {
  if (!wanted.test(text)) throw new Error(`${what}: expected ${wanted}, got:\n${text}`);
}

/** Node versions to try, each as a PATH that finds it first. */
function nodes(): { version: string; path: string }[] {
  const pinned = dirname(process.execPath);
  const found = [{ version: process.version, path: `${pinned}${delimiter}${systemPath}` }];
  const own = systemPath.split(delimiter).find((at) => existsSync(join(at, onWindows ? "node.exe" : "node")));
  if (own !== undefined) {
    const version = call("node", ["--version"], folder, systemPath).trim();
    const major = Number.parseInt(version.slice(1), 10);
    if (version !== process.version && major >= 20) found.push({ version, path: systemPath });
  }
  return found;
}

/** The compiler leaves some paths of sources as they are, such as in an `import()` beside a `using` (TypeScript 6.0.3). */
function checkImports(dist: string): void {
  const files = readdirSync(dist, { recursive: true, encoding: "utf8" }).filter((file) =>
    file.endsWith(".js"),
  );
  for (const file of files) {
    const found = /(?:\bimport\(|\bfrom )"(\.[^"]*\.ts)"/.exec(readFileSync(join(dist, file), "utf8"));
    if (found) throw new Error(`dist/${file} imports ${found[1]}, which is not in the package`);
  }
}

const program = `
import { createCpuDevice, createModel, generate, presets } from "deepseek-ts";
import { nodeFolder, loadModel } from "deepseek-ts/node";
import { differentiate, linear } from "deepseek-ts/tensor";
for (const entry of ${JSON.stringify(entries.map(({ specifier }) => specifier))}) {
  const names = Object.keys(await import(entry));
  if (names.length === 0) throw new Error(entry + " exports nothing");
}
const device = await createCpuDevice({ threads: 2, relaxed: false });
const model = await loadModel(nodeFolder(process.argv[2]), device);
let count = 0;
for await (const token of generate(model, [5, 6, 7], { maxTokens: 4, stopIds: [] })) count++;
if (count !== 4 || !linear || !differentiate || !createModel || !presets["deepseek-v3"]) throw new Error("not all there");
await device[Symbol.asyncDispose]();
console.log("imported");
`;

/** Imports of every entry, compiled without DOM types and with declarations checked. */
const typed = `
${entries.map(({ specifier, name }) => `import * as ${name} from "${specifier}";`).join("\n")}
export const all = [${entries.map(({ name }) => name).join(", ")}];
`;

/**
 * Most that the packed archive may weigh, in bytes: a jump must be meant. The small prover is 5 million of it, the studio's page 1.1,
 * of which 0.8 is what `studio --export` computes with.
 */
const MOST_PACKED = 11_500_000;

const settings = {
  preset: "v3-small",
  vocabSize: 300,
  model: { hidden_size: 64, num_hidden_layers: 2, intermediate_size: 96, max_position_embeddings: 256 },
  data: { heldOut: 0.2 },
  training: { sequenceLength: 32, batch: { size: 2 }, evaluateSequences: 4 },
};

try {
  const { file, size, unpackedSize, entryCount } = packPackage(folder);
  console.log(
    `${basename(file)}: ${(size / 1e6).toFixed(2)} MB packed, ${(unpackedSize / 1e6).toFixed(2)} MB unpacked, ${entryCount} files`,
  );

  if (size > MOST_PACKED) throw new Error(`the package weighs more than ${MOST_PACKED / 1e6} MB packed`);

  const home = join(folder, "project");
  mkdirSync(join(home, "texts"), { recursive: true });
  writeFileSync(join(home, "package.json"), '{ "name": "project", "private": true, "type": "module" }\n');
  writeFileSync(join(home, "config.json"), JSON.stringify(settings));
  writeFileSync(join(home, "program.js"), program);
  for (let i = 0; i < 12; i++) {
    const lines = Array.from(
      { length: 40 },
      (_, n) => `export const name_${i}_${n} = call(${(i * 7 + n * 13) % 101});`,
    );
    writeFileSync(join(home, "texts", `file-${i}.ts`), `${lines.join("\n")}\n`);
  }
  call("npm", ["install", "--no-audit", "--no-fund", file], home, process.env.PATH!);
  for (const part of [
    "kernels/build/baseline.wasm",
    "lean/ReplServer.lean",
    "models/world-prover/config.json",
    "dist/studio/index.html",
  ]) {
    const place = join(home, "node_modules", "deepseek-ts", part);
    if (!existsSync(place)) throw new Error(`${part} is not in the package`);
  }

  checkImports(join(home, "node_modules", "deepseek-ts", "dist"));

  const installed = JSON.parse(
    readFileSync(join(home, "node_modules", "deepseek-ts", "package.json"), "utf8"),
  );
  if (installed.scripts !== undefined)
    throw new Error("the package has scripts, of which npm warns its users");

  writeFileSync(join(home, "typed.ts"), typed);
  for (const [resolution, module] of [
    ["node16", "node16"],
    ["nodenext", "nodenext"],
    ["bundler", "esnext"],
  ]) {
    const lib = "es2023,esnext.disposable";
    const types = ["--types", "node", "--typeRoots", join(root, "node_modules/@types")];
    const options = ["--strict", "--noEmit", "--skipLibCheck", "false", "--target", "es2022", "--lib", lib];
    const tsc = join(root, "node_modules/typescript/bin/tsc");
    const how = ["--module", module, "--moduleResolution", resolution];
    call("node", [tsc, ...options, ...types, ...how, "typed.ts"], home, process.env.PATH!);
  }
  console.log("types resolve without DOM, with declarations checked, in three ways of resolution");

  for (const { version, path } of nodes()) {
    const out = `run-${version}`;
    const cli = (...args: string[]) => call("npx", ["--no-install", "deepseek-ts", ...args], home, path);
    expectText("--help", cli("--help"), /Usage: deepseek-ts/);
    const told = cli(
      "train",
      "texts",
      "--config",
      "config.json",
      "--steps",
      "3",
      "--out",
      out,
      "--threads",
      "2",
    );
    expectText("train", told, /saved +run-.*model/);
    expectText(
      "complete",
      cli("complete", out, "export const ", "--max-tokens", "8", "--json"),
      /"generatedTokens":[1-8],/,
    );
    expectText("inspect", cli("inspect", out), /deepseek_v3/);
    expectText("import", call("node", ["program.js", join(out, "model")], home, path), /^imported/);
    const [major, minor] = version.slice(1).split(".").map(Number);
    if (major > 22 || (major === 22 && minor >= 12)) {
      const required = 'console.log(Object.keys(require("deepseek-ts")).includes("createCpuDevice"))';
      expectText("require", call("node", ["--input-type=commonjs", "-e", required], home, path), /^true/);
    }
    console.log(`Node ${version}: help, train, complete, inspect and imports work`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
