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
  /** Largest size of all JavaScript: measured plus a tenth. */
  readonly most: number;
}

/** Largest size of the kernels, all variants together, of which a page downloads one. */
const MOST_KERNELS = 101_000;

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
    most: 96_000,
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
    most: 16_700,
  },
];

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
    const { output } = (Array.isArray(result) ? result[0] : result) as {
      output: readonly { readonly fileName: string }[];
    };
    const sizes = { js: 0, wasm: 0 };
    for (const { fileName } of output) {
      const kind = /\.(js|wasm)$/.exec(fileName)?.[1] as keyof typeof sizes | undefined;
      if (kind === undefined) continue;
      sizes[kind] += gzipSync(readFileSync(join(root, "out", fileName)), { level: 9 }).length;
    }
    if (sizes.js === 0 || sizes.wasm === 0) throw new Error(`${name}: the build lacks scripts or kernels`);
    console.log(
      `a page that ${name}: ${formatBytes(sizes.js)} of JavaScript (at most ${formatBytes(most)}), ` +
        `kernels ${formatBytes(sizes.wasm)} (at most ${formatBytes(MOST_KERNELS)}); compressed with gzip`,
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
