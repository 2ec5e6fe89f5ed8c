/**
 * What a user gets: packs the package, installs the archive in an empty folder and uses it there, with the pinned
 * Node and with the machine's own: help, three steps of training, a completion, and a program that imports it.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const folder = mkdtempSync(join(tmpdir(), "deepseek-ts-package-"));
const onWindows = process.platform === "win32";

/** Folders of PATH without those of npm's own binaries, where the pinned Node lies. */
const systemPath = (process.env.PATH ?? "")
  .split(delimiter)
  .filter((at) => !at.includes("node_modules"))
  .join(delimiter);

/** The environment without what npm tells its scripts, so that the commands below act as a user's. */
function environment(path: string): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !/^npm_|^INIT_CWD$|^NODE_OPTIONS$/i.test(name));
  return { ...Object.fromEntries(own), PATH: path };
}

function call(command: string, args: readonly string[], cwd: string, path: string): string {
  return execFileSync(command, args, {
    cwd,
    env: environment(path),
    encoding: "utf8",
    shell: onWindows,
    stdio: ["ignore", "pipe", "inherit"],
    timeout: 180_000,
  });
}

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

const program = `
import { createCpuDevice, createModel, generate, presets } from "deepseek-ts";
import { nodeFolder, loadModel } from "deepseek-ts/node";
import { differentiate, linear } from "deepseek-ts/tensor";
for (const part of ["models", "checkpoint", "tokenizer", "generate", "train", "data"]) {
  const names = Object.keys(await import("deepseek-ts/" + part));
  if (names.length === 0) throw new Error(part + " exports nothing");
}
const device = await createCpuDevice({ threads: 2, relaxed: false });
const model = await loadModel(nodeFolder(process.argv[2]), device);
let count = 0;
for await (const token of generate(model, [5, 6, 7], { maxTokens: 4, stopIds: [] })) count++;
if (count !== 4 || !linear || !differentiate || !createModel || !presets["deepseek-v3"]) throw new Error("not all there");
await device[Symbol.asyncDispose]();
console.log("imported");
`;

const settings = {
  preset: "v3-small",
  vocabSize: 300,
  model: { hidden_size: 64, num_hidden_layers: 2, intermediate_size: 96, max_position_embeddings: 256 },
  data: { heldOut: 0.2 },
  training: { sequenceLength: 32, batch: { size: 2 }, evaluateSequences: 4 },
};

try {
  const packed = call(
    "npm",
    ["pack", "--ignore-scripts", "--json", "--pack-destination", folder],
    root,
    process.env.PATH!,
  );
  const [{ filename, size, unpackedSize, entryCount }] = Object.values(JSON.parse(packed)) as {
    filename: string;
    size: number;
    unpackedSize: number;
    entryCount: number;
  }[];
  console.log(
    `${filename}: ${(size / 1e6).toFixed(2)} MB packed, ${(unpackedSize / 1e6).toFixed(2)} MB unpacked, ${entryCount} files`,
  );

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
  call("npm", ["install", "--no-audit", "--no-fund", join(folder, filename)], home, process.env.PATH!);
  if (!statSync(join(home, "node_modules", "deepseek-ts", "kernels", "build", "baseline.wasm")).isFile()) {
    throw new Error("the kernels are not in the package");
  }

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
    expectText("train", told, /the model is in run-.*model/);
    expectText(
      "complete",
      cli("complete", out, "export const ", "--max-tokens", "8", "--json"),
      /"generatedTokens":[1-8],/,
    );
    expectText("inspect", cli("inspect", out), /deepseek_v3/);
    expectText("import", call("node", ["program.js", join(out, "model")], home, path), /^imported/);
    console.log(`Node ${version}: help, train, complete, inspect and imports work`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
