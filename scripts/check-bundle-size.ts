/**
 * Bounds what a page downloads: bundles two small pages with Vite from `dist`, compressed as a server would send them,
 * and fails if one has grown beyond its bound. Run after `npm run build`.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "vite";
import { formatBytes } from "../src/text/units.ts";
import { entries } from "./support/entries.ts";

interface Page {
  readonly name: string;
  readonly source: string;
  /** Largest size of the JavaScript that it begins with: measured plus a tenth. */
  readonly most: number;
}

/** Largest size of the kernels, all variants together, of which a page downloads one. */
const MOST_KERNELS = 119_000;

const pages: readonly Page[] = [
  {
    name: "loads a model and completes text",
    source: `
      import { completeText, loadFolder } from "deepseek-ts";
      import { memoryFolder } from "deepseek-ts/checkpoint";
      globalThis.run = async (files) => {
        const { model, tokenizer } = await loadFolder(memoryFolder(files, "model"));
        for await (const { text } of completeText(model, tokenizer, "export ", { maxTokens: 64 })) console.log(text);
      };`,
    most: 125_000,
  },
  {
    name: "answers about pictures",
    source: `
      import { modelTemplate } from "deepseek-ts/chat";
      import { memoryFolder } from "deepseek-ts/checkpoint";
      import { Conversation, ImageEncoder } from "deepseek-ts/engine";
      import { loadFolder } from "deepseek-ts/pretrained";
      globalThis.run = async (files, image) => {
        const opened = await loadFolder(memoryFolder(files, "model"));
        const { model, vision, tokenizer } = opened;
        const images = new ImageEncoder(vision.model, () => vision.imageProcessor());
        const conversation = new Conversation(model, tokenizer, modelTemplate(opened, tokenizer), { images });
        const content = [{ type: "image", image }, { type: "text", text: "Describe the picture." }];
        for await (const piece of conversation.send(content, { maxTokens: 64 })) console.log(piece);
      };`,
    most: 174_000,
  },
  {
    name: "computes with tensors alone",
    source: `
      import { createCpuDevice, differentiate, linear, meanAll } from "deepseek-ts/tensor";
      globalThis.run = async (x, w) => {
        const device = await createCpuDevice();
        const { loss } = differentiate(device, () => ({ loss: meanAll(linear(x, w)) }));
        console.log(await loss.item());
      };`,
    most: 18_200,
  },
];

/** What Vite says of a file that it has written. */
interface OutputFile {
  readonly fileName: string;
  readonly isEntry?: boolean;
  /** Of a chunk: what it needs to begin, and what it may load afterwards. */
  readonly imports?: readonly string[];
}

/** Chunks that no page needs to begin: decoders of images, for example. */
function onDemand(output: readonly OutputFile[]): ReadonlySet<string> {
  const files = new Map(output.map((file) => [file.fileName, file]));
  const begun = new Set<string>();
  const open = output.filter(({ isEntry }) => isEntry).map(({ fileName }) => fileName);
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (begun.has(next)) continue;
    begun.add(next);
    open.push(...(files.get(next)?.imports ?? []));
  }
  // Scripts of workers are no chunks, and begin with the page.
  const chunks = output.filter(({ imports }) => imports !== undefined).map(({ fileName }) => fileName);
  return new Set(chunks.filter((fileName) => !begun.has(fileName)));
}

const folder = mkdtempSync(join(tmpdir(), "deepseek-ts-size-"));
const alias = entries.map(({ specifier, types }) => ({
  find: new RegExp(`^${specifier}$`),
  replacement: types.replace(/\.d\.ts$/, ".js"),
}));
let failed = false;
try {
  for (const [i, { name, source, most }] of pages.entries()) {
    const root = join(folder, String(i));
    mkdirSync(root);
    writeFileSync(
      join(root, "index.html"),
      '<!doctype html><script type="module" src="/main.js"></script>\n',
    );
    writeFileSync(join(root, "main.js"), source);
    const result = await build({
      root,
      configFile: false,
      logLevel: "error",
      resolve: { alias },
      build: { outDir: "out", assetsInlineLimit: 0 },
      worker: { format: "es" },
    });
    const { output } = (Array.isArray(result) ? result[0] : result) as { output: readonly OutputFile[] };
    const later = onDemand(output);
    const sizes = { js: 0, wasm: 0, later: 0 };
    for (const { fileName } of output) {
      const kind = /\.(js|wasm)$/.exec(fileName)?.[1] as "js" | "wasm" | undefined;
      if (kind === undefined) continue;
      const size = gzipSync(readFileSync(join(root, "out", fileName)), { level: 9 }).length;
      const decoder = kind === "wasm" && !/(baseline|relaxed)/.test(fileName);
      sizes[later.has(fileName) || decoder ? "later" : kind] += size;
    }
    if (sizes.js === 0 || sizes.wasm === 0) throw new Error(`${name}: the build lacks scripts or kernels`);
    console.log(
      `a page that ${name}: ${formatBytes(sizes.js)} of JavaScript (at most ${formatBytes(most)}), ` +
        `kernels ${formatBytes(sizes.wasm)} (at most ${formatBytes(MOST_KERNELS)}), ` +
        `${formatBytes(sizes.later)} when it is needed; compressed with gzip`,
    );
    if (sizes.js > most || sizes.wasm > MOST_KERNELS) {
      console.error(`error: the page has grown. Import less, or raise the bound in ${import.meta.filename}.`);
      failed = true;
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
if (failed) process.exit(1);
