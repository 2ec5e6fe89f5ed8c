/** What tests of recorded cases share: the backends, folders with other files, and what a case has to give. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type FileTree, memoryFolder } from "../../src/checkpoint/byte-source.ts";
import { checkParity } from "../../src/parity/parity.ts";
import { createCpuDevice } from "../../src/tensor/cpu/backend.ts";
import { createReferenceDevice } from "../../src/tensor/reference/backend.ts";
import type { Device } from "../../src/tensor/tensor.ts";

export const backends: readonly [name: string, create: () => Promise<Device>][] = [
  ["reference", async () => createReferenceDevice()],
  ["cpu", () => createCpuDevice({ threads: 2 })],
];

/** A folder whose files of these names are others of it. */
export function withFiles(tree: FileTree, files: Readonly<Record<string, string>>): FileTree {
  const actual = (path: string) => files[path] ?? path;
  return {
    name: tree.name,
    list: () => tree.list(),
    has: (path) => tree.has(actual(path)),
    open: (path) => tree.open(actual(path)),
    readText: (path) => tree.readText(actual(path)),
  };
}

/** Names of the outputs of a case that leave their tolerance when one text of one of its files is another. */
export async function failingOutputs(
  tree: FileTree,
  file: string,
  from: string,
  to: string,
): Promise<string[]> {
  const files = new Map<string, Uint8Array>();
  for (const path of await tree.list()) {
    const source = await tree.open(path);
    const bytes = await source.read(0, source.size);
    await source.close?.();
    const text = new TextDecoder().decode(bytes);
    if (path === file) expect(text).toContain(from);
    files.set(path, path === file ? new TextEncoder().encode(text.replace(from, to)) : bytes);
  }
  const { outputs } = await checkParity(memoryFolder(files, tree.name), createReferenceDevice());
  return outputs.filter(({ within }) => !within).map((output) => output.name);
}

/** A case, and how many outputs it compares; the third is for what `open` makes of it. */
export type ParityCase<X = never> = readonly [name: string, outputs: number, other?: X];

/**
 * On every backend each case is found under its name, compares so many outputs, all of them within their tolerance, and leaves
 * nothing in memory.
 */
export function describeCases<X = never>(
  cases: readonly ParityCase<X>[],
  open: (name: string, other?: X) => FileTree,
  foundAs: ((name: string) => string) | null = null,
): void {
  describe.each(backends)("on %s", (_, create) => {
    let device: Device;
    beforeAll(async () => {
      device = await create();
    });
    afterAll(() => device[Symbol.asyncDispose]());

    it.each(cases.map(([name, count, other]) => [name, count, other] as const))(
      "%s, %i outputs",
      async (name, count, other) => {
        const { buffers } = device.backend.memory();
        const { outputs, within, case: found } = await checkParity(open(name, other), device);
        expect(outputs.filter((output) => !output.within)).toEqual([]);
        expect(within).toBe(true);
        if (foundAs !== null) expect(found).toBe(foundAs(name));
        expect(outputs).toHaveLength(count);
        expect(device.backend.memory().buffers).toBe(buffers);
      },
    );
  });
}
