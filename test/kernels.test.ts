/**
 * The contract between the two halves of a kernel: its definition in TypeScript and its WebAssembly function have
 * one name. A definition without a function fails at its first call only, a function without a definition never.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it, vi } from "vitest";
import type { Kernel } from "../src/tensor/backend.ts";

const defined = vi.hoisted(() => [] as Kernel[]);

vi.mock("../src/tensor/kernel.ts", async (original) => {
  const module = await original<typeof import("../src/tensor/kernel.ts")>();
  const defineKernel = (spec: Parameters<typeof module.defineKernel>[0]) => {
    const kernel = module.defineKernel(spec);
    defined.push(kernel);
    return kernel;
  };
  return { ...module, defineKernel };
});

const root = join(import.meta.dirname, "..");
/** Measure the machine; no operation uses them. */
const benchOnly = ["gemm_peak", "read_peak"];

it("every kernel has a definition and a WebAssembly function of one name", async () => {
  const folder = join(root, "src/tensor/ops");
  const files = readdirSync(folder).filter((f) => f.endsWith(".ts") && !f.endsWith(".test.ts"));
  for (const file of files) await import(/* @vite-ignore */ join(folder, file));

  const names = defined.map((kernel) => kernel.name);
  expect(names.length).toBeGreaterThan(30);
  expect(
    names.filter((name, i) => names.indexOf(name) !== i),
    "defined twice",
  ).toEqual([]);

  const table: Record<string, number> = JSON.parse(
    readFileSync(join(root, "kernels/build/kernels.json"), "utf8"),
  );
  const compiled = Object.keys(table);
  expect(
    names.filter((name) => !(name in table)),
    "without a WebAssembly function",
  ).toEqual([]);
  expect(compiled.filter((name) => !names.includes(name)).sort(), "without a definition").toEqual(benchOnly);
  expect(
    compiled.map((name) => table[name]),
    "numbers in order",
  ).toEqual(compiled.map((_, i) => i));
});

it("both builds hold the same exports", async () => {
  const [baseline, relaxed] = await Promise.all(
    ["baseline.wasm", "relaxed.wasm"].map(async (file) => {
      const module = await WebAssembly.compile(readFileSync(join(root, "kernels/build", file)));
      return WebAssembly.Module.exports(module).map(({ name, kind }) => `${kind} ${name}`);
    }),
  );
  expect(relaxed).toEqual(baseline);
  expect(baseline).toContain("function execute");
});
