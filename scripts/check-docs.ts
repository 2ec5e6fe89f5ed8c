/**
 * Every command and TypeScript program of the documents: runs those that can run here, against a tiny model under the
 * names that the documents use, and lists the others with the reason. One that is in neither list fails. Of excerpts, which
 * import nothing, the classes and types must be there. With names of
 * documents (`npm run check:docs -- docs/server.md`) only theirs.
 */
import { spawn, spawnSync } from "node:child_process";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { root } from "./support/packed-package.ts";
import { writeTinyDrawingModels } from "./support/tiny-drawing-models.ts";
import { writeTinyVisionModel } from "./support/tiny-vision-model.ts";

/** Commands that cannot run here, by their beginning or what they hold, and why. */
const skipped: readonly (readonly [command: string | RegExp, reason: string])[] = [
  ["npm ci", "installs into this folder; CI begins with it"],
  ["npm test", "a step of CI of its own"],
  ["npm run check", "a step of CI of its own"],
  ["npm run format", "changes files"],
  ["npm run bench -- gemm", "a benchmark of minutes"],
  ["npm run bench -- adapters", "a benchmark of minutes"],
  ["npm run bench -- train", "a benchmark of minutes, and needs PyTorch"],
  ["npm run bench -- vision", "a benchmark of minutes"],
  ["npm run bench -- peers/llama", "needs a build of llama.cpp"],
  ["npm run bench -- peers/vision", "needs PyTorch"],
  ["npm run bench -- peers/draw", "needs PyTorch"],
  [/^npm run recipe:\w+ -- (?!--list)/, "trains for minutes or hours; test/recipes runs the small ones"],
  ["npm install --prefix bench/peers", "downloads 725 MB"],
  ["python3 -m venv peer", "downloads PyTorch"],
  ["peer/bin/pip", "downloads PyTorch"],
  ["peer/bin/python", "needs PyTorch"],
  ["DEEPSEEK_TS_PEER_PYTHON=", "needs PyTorch"],
  ["lm_eval", "needs Python packages"],
  ["npx deepseek-ts studio", "serves until it is stopped; test/browser/studio opens its page"],
  ["npx deepseek-ts download", "needs the hub"],
  ["npx deepseek-ts convert deepseek-ai/", "needs the hub"],
  ["npx deepseek-ts bench --shape deepseek-v2-lite", "needs 12 GB of memory and of disk"],
  ["deepseek-ts train --stages", "needs a file of stages and a configuration; the long suite trains such"],
  ["npx deepseek-ts ground", "the tiny model's vocabulary has no tags of boxes"],
  [/"grounding": true/, "the tiny model's vocabulary has no tags of boxes"],
  ["npm run test:clients", "downloads SDKs"],
  ["npx deepseek-ts grpo runs/sft-1", "needs the hub"],
  ["npx deepseek-ts grpo ./my-model", "needs prompts of one's own; test/grpo.test.ts has some"],
  ["npx deepseek-ts sft deepseek-ai/", "needs the hub"],
  ["npx deepseek-ts scale", "trains a sweep; test/scale.test.ts does"],
  ["npm run bench -- post-training", "a benchmark of minutes"],
  ["npx deepseek-ts grpo models/world-prover", "starts Lean; test/lean/grpo.test.ts does"],
  [/grpo .*--reward-command/, "needs a judge of one's own; test/grpo.test.ts has one"],
  ["npx deepseek-ts verify", "starts Lean; test/lean/commands.test.ts does"],
  ["npx deepseek-ts prover page", "prepares Lean; test/browser/lean.test.ts writes such a folder"],
  ["cp -r models/world-prover examples/", "is for a page; test/browser opens it"],
  ["npx deepseek-ts prover doctor", "starts Lean, which may have to be downloaded"],
  [/serve .*--lean wasm/, "starts Lean; test/lean/served.test.ts does"],
  ["/v1/verify", "needs a Lean; test/lean/served.test.ts has one"],
  ["lake ", "needs a native Lean, which no package registry carries"],
  ["git clone https://github.com/leanprover-community/repl", "needs a native Lean"],
  ["cp my-project/lean-toolchain repl/", "needs a native Lean"],
  ["npx vite", "serves or builds a page; test/browser does"],
];

/** Programs that cannot run here, by what they contain, and why. */
const skippedPrograms: readonly (readonly [part: string, reason: string])[] = [
  ["openPageLean(", "needs a page; test/browser/lean.test.ts has one"],
  ["openWasmLean(", "starts Lean; test/lean does"],
  ['kind: "native"', "needs a native Lean; test/lean has a stand-in"],
  ['kind: "kimina"', "needs a Kimina server; test/lean has a stand-in"],
];

/** What documents name that is not here, and what stands in for it. */
const stands: readonly (readonly [RegExp, string])[] = [
  [/deepseek-ai\/DeepSeek-V2-Lite(-Chat)?/g, "./DeepSeek-V2-Lite"],
  [/deepseek-ai\/deepseek-vl2-tiny/g, "./deepseek-vl2-tiny"],
  [/deepseek-ai\/(Janus(-Pro|Flow)?-1\.?3?B)/g, "./$1"],
  [/\bMODEL\b/g, "./v2-lite"],
  [/~\/my-project --preset v3-small --seconds 600/, "texts --config tiny.json --steps 2"],
  [/^(.*\btrain --data .*) --steps \d+/, "$1 --steps 2"],
  [/train docs --extensions md --config base\.json/, "train texts --config tiny.json --steps 2"],
  [/ --epochs \d+/, " --steps 2"],
  [/^(.*\b(?:sft|dpo) \.\/my-model .*)$/, "$1 --steps 2"],
  [/^(.*\bgrpo my-model .*)$/, "$1 --steps 2 --groups 2 --samples 2 --max-tokens 4"],
  [/\bchat (\S+)/, "chat $1 --prompt Hello --max-tokens 4"],
  [/\bask (\S+)/, "ask $1 --max-tokens 4"],
  [/\bcomplete (\S+)/, "complete $1 --max-tokens 4"],
  [/\bfill (\S+)/, "fill $1 --max-tokens 4"],
  [/--tasks quiz\.jsonl,docs/, "--tasks quiz.jsonl,texts"],
  [/--port 8080/, ""],
  [/^(.*\bserve .*)$/, "$1 --port 0"],
  [/--context 8192/, "--context 128"],
];

interface Block {
  readonly file: string;
  readonly language: string;
  readonly text: string;
}

function blocks(): Block[] {
  const files = ["README.md", "CONTRIBUTING.md", "bench/README.md"];
  for (const name of readdirSync(join(root, "docs"))) if (name.endsWith(".md")) files.push(`docs/${name}`);
  const asked = process.argv.slice(2);
  const unknown = asked.find((name) => !files.includes(name));
  if (unknown !== undefined) throw new Error(`${unknown} is none of the documents: ${files.join(", ")}`);
  return (asked.length > 0 ? asked : files).flatMap((file) =>
    [...readFileSync(join(root, file), "utf8").matchAll(/^```(\w+)\n(.*?)^```/gms)].map(
      ([, language, text]) => ({
        file,
        language,
        text,
      }),
    ),
  );
}

/** The commands of a block: continued lines joined, comments dropped, `a && b` apart, here-documents with their command. */
function commandsOf(text: string): string[] {
  const lines = text.replaceAll(/\\\n\s*/g, "").split("\n");
  const commands: string[] = [];
  for (let at = 0; at < lines.length; at++) {
    const end = /<<(\w+)$/.exec(lines[at])?.[1];
    if (end === undefined) {
      commands.push(...lines[at].replace(/(^|\s+)# .*$/, "").split(" && "));
      continue;
    }
    const last = lines.indexOf(end, at);
    commands.push(lines.slice(at, last + 1).join("\n"));
    at = last;
  }
  return commands.map((command) => command.trim()).filter(Boolean);
}

const work = mkdtempSync(join(tmpdir(), "deepseek-ts-docs-"));
const failures: string[] = [];
const counts = { ran: 0, skipped: 0 };
const env = { ...process.env, PATH: `${join(work, "bin")}:${process.env.PATH}` };

function shell(command: string): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync("bash", ["-c", command], {
    ...{ cwd: work, env, encoding: "utf8", timeout: 120_000, input: "" },
  });
  return { status, output: `${stdout}${stderr}` };
}

function must(command: string): void {
  const { status, output } = shell(command);
  if (status !== 0) throw new Error(`${command}: status ${status}\n${output}`);
}

/** Starts a server, waits until it listens, and calls `use` with its address. */
async function served(command: string, use: (url: string) => void): Promise<void> {
  const child = spawn("bash", ["-c", `exec ${command}`], {
    cwd: work,
    env,
    stdio: ["ignore", "pipe", "inherit"],
  });
  let text = "";
  await new Promise<void>((resolve, reject) => {
    child.stdout.setEncoding("utf8").on("data", (part: string) => {
      text += part;
      if (/listening on \S+/.test(text)) resolve();
    });
    child.on("exit", () => reject(new Error(`the server did not start: ${text}`)));
  });
  use(/listening on (\S+)\/v1/.exec(text)![1]);
  child.removeAllListeners("exit");
  const ended = new Promise((resolve) => child.on("exit", resolve));
  child.kill("SIGTERM");
  await ended;
}

async function prepare(): Promise<void> {
  for (const name of ["bin", "texts", "src", "node_modules"]) mkdirSync(join(work, name));
  const main = join(root, "dist/cli/main.js");
  const program = `#!/usr/bin/env bash\nexec "${process.execPath}" "${main}" "$@"\n`;
  writeFileSync(join(work, "bin/deepseek-ts"), program, { mode: 0o755 });
  writeFileSync(join(work, "bin/npx"), '#!/usr/bin/env bash\nexec "$@"\n', { mode: 0o755 });
  symlinkSync(root, join(work, "node_modules/deepseek-ts"));
  symlinkSync(join(root, "node_modules/openai"), join(work, "node_modules/openai"));
  writeFileSync(join(work, "package.json"), '{ "type": "module" }\n');
  const lines = Array.from({ length: 40 }, (_, i) => `export const name_${i} = call(${(i * 7) % 31});`);
  for (let i = 0; i < 12; i++)
    writeFileSync(join(work, `texts/f${i}.ts`), lines.map((l) => `${l} // ${i}`).join("\n"));
  writeFileSync(join(work, "src/a.ts"), lines.join("\n"));
  writeFileSync(
    join(work, "tiny.json"),
    JSON.stringify({
      vocabSize: 300,
      model: { hidden_size: 64, num_hidden_layers: 2, intermediate_size: 96, max_position_embeddings: 256 },
      data: { heldOut: 0.2 },
      training: { sequenceLength: 32, batch: { size: 2 }, evaluateSequences: 4 },
    }),
  );
  must("deepseek-ts train texts --config tiny.json --steps 2 --out runs/v3-small-1");
  for (const name of ["DeepSeek-V2-Lite", "DeepSeek-V2-Lite-Chat", "v2-lite", "my-model"]) {
    cpSync(join(work, "runs/v3-small-1/model"), join(work, name), { recursive: true });
  }
  must("deepseek-ts convert ./v2-lite model.gguf --type q8_0");
  const preprocess = join(root, "test/fixtures/preprocess");
  cpSync(join(preprocess, "images/wide-800x333.png"), join(work, "page.png"));
  cpSync(join(work, "page.png"), join(work, "picture.png"));
  const content = [
    { type: "image", image: "page.png" },
    { type: "text", text: "What is it?" },
  ];
  const messages = [
    { role: "user", content },
    { role: "assistant", content: "A page." },
  ];
  writeFileSync(join(work, "pictures.jsonl"), `${JSON.stringify({ messages })}\n`.repeat(8));
  const captions = ["a red cube", "a blue sphere"].map((caption) => ({ image: "page.png", caption }));
  writeFileSync(
    join(work, "captions.jsonl"),
    captions.map((line) => `${JSON.stringify(line)}\n`.repeat(4)).join(""),
  );
  for (const name of ["models", "docs"]) symlinkSync(join(root, name), join(work, name));
  const asked = { prompt: "2 + 2 =" };
  for (const [name, row] of [
    ["chats.jsonl", { ...asked, completion: " 4" }],
    ["pairs.jsonl", { ...asked, chosen: " 4", rejected: " 5" }],
  ] as const) {
    writeFileSync(join(work, name), `${JSON.stringify(row)}\n`.repeat(20));
  }
  mkdirSync(join(work, "photos"));
  cpSync(join(work, "page.png"), join(work, "photos/page.png"));
  const prompts = [
    { prompt: "a red cube", count: 2 },
    { prompt: "a blue sphere", seed: 3, guidance: 7 },
  ];
  const sums = Array.from({ length: 8 }, (_, i) => ({ prompt: `${i}+1=`, answer: i + 1 }));
  writeFileSync(join(work, "sums.jsonl"), sums.map((line) => `${JSON.stringify(line)}\n`).join(""));
  const quiz = sums.map(({ prompt, answer }) => ({
    ...{ context: prompt, choices: ["more", String(answer)], gold: 1 },
  }));
  writeFileSync(join(work, "quiz.jsonl"), quiz.map((line) => `${JSON.stringify(line)}\n`).join(""));
  writeFileSync(join(work, "prompts.jsonl"), prompts.map((line) => `${JSON.stringify(line)}\n`).join(""));
  await writeTinyVisionModel(join(work, "deepseek-vl2-tiny"), join(work, "v2-lite"));
  await writeTinyDrawingModels(work, join(work, "v2-lite"));
  cpSync(join(preprocess, "vl2/config.json"), join(work, "deepseek-vl2-tiny/processor_config.json"));
  const torch = join(root, "test/fixtures/pytorch");
  const found = readdirSync(torch, { recursive: true, encoding: "utf8" }).find(
    (name) => /pytorch_model\.bin$/.test(name) && !name.includes("hostile"),
  );
  cpSync(join(torch, found!), join(work, "pytorch_model.bin"));
}

/** The model that a request is for: one that draws or sees, or `other`. */
function servedFor(text: string, other: string): string {
  if (/images(\/generations|\.generate)/.test(text)) return "./Janus-Pro-1B";
  return text.includes("image_url") ? "./deepseek-vl2-tiny" : other;
}

async function runCommand(file: string, command: string): Promise<void> {
  const reason = skipped.find(([which]) =>
    typeof which === "string" ? command.startsWith(which) : which.test(command),
  )?.[1];
  if (reason !== undefined) {
    counts.skipped++;
    console.log(`skipped  ${file}: ${command}  (${reason})`);
    return;
  }
  const own = /^(npx )?deepseek-ts /.test(command);
  const here = command === "npm run bench" || /^npm run recipe:\w+ -- --list$/.test(command);
  const listed =
    own ||
    here ||
    command === "npm start" ||
    command.startsWith("curl http://127.0.0.1:8080") ||
    command.startsWith("source <(deepseek-ts completion");
  if (!listed) {
    failures.push(`${file}: neither run nor listed as one that cannot: ${command}`);
    return;
  }
  const actual = own ? stands.reduce((text, [from, to]) => text.replace(from, to), command) : command;
  counts.ran++;
  console.log(`runs     ${file}: ${command}`);
  try {
    if (/\bserve\b/.test(actual)) await served(actual.replace(/^npx /, ""), () => {});
    else if (here) must(`cd ${root} && ${command}`);
    else if (command === "npm start") must("deepseek-ts demo texts --steps 30 --out runs/demo");
    else if (command.startsWith("curl")) {
      await served(`deepseek-ts serve ${servedFor(command, "./v2-lite")} --port 0`, (url) =>
        must(command.replace("http://127.0.0.1:8080", `--fail-with-body -sS ${url}`)),
      );
    } else must(actual);
  } catch (error) {
    failures.push(`${file}: ${command}\n${(error as Error).message}`);
  }
}

/** Everything that the package exports, as text. */
function exportedText(): string {
  const { exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  return Object.values<{ types?: string }>(exports)
    .map(({ types }) => (types === undefined ? "" : readFileSync(join(root, types), "utf8")))
    .join("\n");
}

/** Names of classes and types in an excerpt that neither the package nor the language has. */
function unknownNames(text: string): string[] {
  const names = new Set(text.replaceAll(/\/\/.*$/gm, "").match(/\b[A-Z]\w+\b/g));
  const known = new Set(exportedText().match(/\b\w+\b/g));
  return [...names].filter((name) => !known.has(name) && !(name in globalThis));
}

async function runProgram({ file, text }: Block, n: number): Promise<void> {
  const reason = skippedPrograms.find(([part]) => text.includes(part))?.[1];
  if (reason !== undefined) {
    counts.skipped++;
    console.log(`skipped  ${file}: program ${n}  (${reason})`);
    return;
  }
  if (!/^import /m.test(text)) {
    const unknown = unknownNames(text);
    if (unknown.length > 0)
      failures.push(`${file}: program ${n} names what there is not: ${unknown.join(", ")}`);
    counts.skipped++;
    console.log(`skipped  ${file}: program ${n}  (an excerpt)`);
    return;
  }
  counts.ran++;
  console.log(`runs     ${file}: program ${n}`);
  const path = join(work, `program-${n}.ts`);
  const local = text
    .replaceAll(/deepseek-ai\/DeepSeek-V2-Lite(-Chat)?/g, join(work, "v2-lite"))
    .replaceAll(/deepseek-ai\/(Janus(-Pro|Flow)?-1\.?3?B)/g, join(work, "$1"));
  try {
    if (!local.includes("http://127.0.0.1:8080")) {
      writeFileSync(path, local.replaceAll(/maxTokens: \d+/g, "maxTokens: 4"));
      must(`"${process.execPath}" ${path}`);
      return;
    }
    await served(`deepseek-ts serve ${servedFor(text, "./DeepSeek-V2-Lite-Chat")} --port 0`, (url) => {
      writeFileSync(path, local.replaceAll("http://127.0.0.1:8080", url));
      must(`"${process.execPath}" ${path}`);
    });
  } catch (error) {
    failures.push(`${file}: program ${n}\n${(error as Error).message}`);
  }
}

try {
  await prepare();
  let program = 0;
  for (const block of blocks()) {
    if (block.language === "sh")
      for (const command of commandsOf(block.text)) await runCommand(block.file, command);
    else if (block.language === "ts") await runProgram(block, ++program);
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}
for (const failure of failures) console.error(`\nfailed   ${failure}`);
console.log(`\n${counts.ran} ran, ${counts.skipped} cannot run here, ${failures.length} failed`);
if (failures.length > 0) process.exitCode = 1;
