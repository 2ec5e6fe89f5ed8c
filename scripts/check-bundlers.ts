/**
 * The packed package in a project of a bundler, with its default settings: Vite's development server, and its build
 * behind its preview server, each on an isolated page in Chromium, where a model runs on several threads and writes
 * what it writes in Node, and images have the pixels that they have in Node.
 */
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Browser, chromium } from "playwright-core";
import { build, createServer, type InlineConfig, preview } from "vite";
import { findChromium } from "../test/browser/chromium.ts";
import { call, packPackage, root } from "./support/packed-package.ts";

const executablePath = findChromium();
if (executablePath === null) {
  console.log("skipped: no Chromium is installed");
  process.exit(0);
}

const folder = mkdtempSync(join(tmpdir(), "deepseek-ts-bundlers-"));
const prompt = "export const alpha = ";

/** An image of each format that has a decoder of its own. */
const images = ["jpg-420-one-pixel.jpg", "png-3x2-interlaced.png", "webp-lossy.webp"];

/** Makes the model in `public/model`, and says what it writes and what the images show. Run in the project with Node. */
const makeModel = `
import { mkdirSync, readFileSync } from "node:fs";
import { decodeImage } from "deepseek-ts/vision";
import { completeText, createCpuDevice, createModel, loadTokenizer, modelEntries, saveCheckpoint, toConfigJson } from "deepseek-ts";
import { nodeFolderSink } from "deepseek-ts/node";
import { trainBpe, trainedTokenizerConfig } from "deepseek-ts/tokenizer";

const texts = Array.from({ length: 40 }, (_, i) => "export const alpha_" + i + " = beta(" + i * 7 + ");\\n");
const json = await trainBpe(texts, { vocabSize: 320 });
const settings = trainedTokenizerConfig(256);
const tokenizer = loadTokenizer(json, settings);
const device = await createCpuDevice({ threads: 1 });
const model = createModel(
  {
    model_type: "llama", vocab_size: tokenizer.vocabSize, hidden_size: 128, intermediate_size: 256, num_hidden_layers: 2,
    num_attention_heads: 4, num_key_value_heads: 4, max_position_embeddings: 256, rms_norm_eps: 1e-6, rope_theta: 10000,
    bos_token_id: 0, eos_token_id: 1,
  },
  device,
  { seed: 1, std: 0.2 },
);
mkdirSync("public/model", { recursive: true });
await saveCheckpoint(await nodeFolderSink("public/model"), modelEntries(model), {
  config: toConfigJson(model.config),
  files: { "tokenizer.json": JSON.stringify(json), "tokenizer_config.json": JSON.stringify(settings) },
});
let text = "";
for await (const piece of completeText(model, tokenizer, ${JSON.stringify(prompt)}, { maxTokens: 16, stopIds: [] })) text += piece.text;
await device[Symbol.asyncDispose]();
const images = [];
for (const name of ${JSON.stringify(images)}) {
  const { width, height, rgb } = await decodeImage(readFileSync("public/images/" + name), { name });
  images.push([name, width, height, rgb.reduce((sum, byte, i) => (sum * 31 + byte + i) % 1000003, 7)]);
}
console.log(JSON.stringify({ text, images: JSON.stringify(images) }));
`;

/** As a user would write it: the page starts a worker, the worker opens the model. */
const page = `
const worker = new Worker(new URL("./work.js", import.meta.url), { type: "module" });
worker.onmessage = ({ data }) => { globalThis.answer = data; };
worker.onerror = ({ message }) => { globalThis.answer = { error: "the worker failed: " + message }; };
`;
const work = `
import { completeText, createCpuDevice, loadFolder } from "deepseek-ts";
import { memoryFolder } from "deepseek-ts/checkpoint";
import { decodeImage } from "deepseek-ts/vision";

async function run() {
  const files = new Map();
  for (const name of ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]) {
    files.set(name, new Uint8Array(await (await fetch("/model/" + name)).arrayBuffer()));
  }
  const device = await createCpuDevice();
  const { model, tokenizer } = await loadFolder(memoryFolder(files, "model"), { device });
  let text = "";
  const options = { maxTokens: 16, stopIds: [] };
  for await (const piece of completeText(model, tokenizer, ${JSON.stringify(prompt)}, options)) text += piece.text;
  const images = [];
  for (const name of ${JSON.stringify(images)}) {
    const bytes = new Uint8Array(await (await fetch("/images/" + name)).arrayBuffer());
    const { width, height, rgb } = await decodeImage(bytes, { name });
    images.push([name, width, height, rgb.reduce((sum, byte, i) => (sum * 31 + byte + i) % 1000003, 7)]);
  }
  return { text, images: JSON.stringify(images), threads: device.backend.threads, cores: navigator.hardwareConcurrency };
}
run().then(postMessage, (error) => postMessage({ error: String(error.stack ?? error) }));
`;

const headers = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
};
const port = { host: "127.0.0.1", port: 0 };

interface Answer {
  readonly text?: string;
  /** Names, sizes and checksums. */
  readonly images?: string;
  readonly threads?: number;
  readonly cores?: number;
  readonly error?: string;
}

async function look(browser: Browser, what: string, url: string, expected: Answer): Promise<void> {
  const tab = await browser.newPage();
  const scripts: string[] = [];
  const missing: string[] = [];
  tab.on("response", (response) => {
    const { pathname } = new URL(response.url());
    if (response.status() >= 400 && pathname !== "/favicon.ico")
      missing.push(`${response.status()} ${pathname}`);
    if (/\/worker[-.\w]*\.js/.test(pathname)) scripts.push(pathname);
  });
  await tab.goto(url);
  await tab.waitForFunction(() => "answer" in globalThis, null, { timeout: 120_000 });
  const answer = (await tab.evaluate("globalThis.answer")) as Answer;
  await tab.close();
  const fail = (reason: string) => {
    throw new Error(`${what}: ${reason}; ${JSON.stringify({ answer, expected, missing, scripts })}`);
  };
  if (answer.error) fail("the model did not run");
  if (answer.text !== expected.text) fail("another text than in Node");
  if (answer.images !== expected.images) fail("other pixels than in Node");
  if (missing.length > 0) fail("files are missing");
  if (answer.cores! > 1 && !(answer.threads! > 1 && scripts.length > 0)) fail("only one thread ran");
  console.log(`${what}: ${answer.threads} threads, Node's text and pixels`);
}

let browser: Browser | null = null;
try {
  const { file } = packPackage(folder);
  const home = join(folder, "project");
  mkdirSync(home);
  writeFileSync(join(home, "package.json"), '{ "name": "project", "private": true, "type": "module" }\n');
  writeFileSync(join(home, "index.html"), '<!doctype html><script type="module" src="/main.js"></script>\n');
  writeFileSync(join(home, "main.js"), page);
  writeFileSync(join(home, "work.js"), work);
  writeFileSync(join(home, "make-model.js"), makeModel);
  for (const name of images) {
    cpSync(join(root, "test/fixtures/preprocess/files", name), join(home, "public/images", name));
  }
  call("npm", ["install", "--no-audit", "--no-fund", file], home, process.env.PATH!);
  const expected = JSON.parse(call("node", ["make-model.js"], home, process.env.PATH!)) as Answer;

  browser = await chromium.launch({
    executablePath,
    headless: false,
    args: [
      "--headless=new",
      "--no-sandbox",
      "--disable-gpu",
      "--no-first-run",
      "--disable-background-networking",
    ],
  });
  const config: InlineConfig = { root: home, configFile: false, logLevel: "warn" };
  const server = await createServer({ ...config, server: { ...port, headers } });
  try {
    await server.listen();
    await look(browser, "vite dev", server.resolvedUrls!.local[0], expected);
  } finally {
    await server.close();
  }
  await build(config);
  const built = await preview({ ...config, preview: { ...port, headers } });
  try {
    await look(browser, "vite build", built.resolvedUrls!.local[0], expected);
  } finally {
    await built.close();
  }
} finally {
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
}
