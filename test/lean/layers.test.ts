/** The layers below the rules of text, on every cheat of the list. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { WasmLean } from "../../src/prove/lean/wasm/wasm-lean.ts";
import { askLoosely, LIMIT, missing, openStrictAndLoose } from "./embedded-lean.ts";
import { type Listed, lines } from "./lists.ts";

describe.skipIf(missing !== null)(`layers of the embedded Lean ${missing ?? ""}`, () => {
  let strict: WasmLean;
  let loose: WasmLean;
  beforeAll(async () => {
    ({ strict, loose } = await openStrictAndLoose());
    await strict.ready();
  }, 10 * LIMIT);
  afterAll(() => strict?.[Symbol.asyncDispose]());

  it("refuse all cheats by what they prove where the rules of text are off", {
    timeout: 20 * LIMIT,
  }, async () => {
    const { accepted, verdicts } = await askLoosely(loose, lines<Listed>("soundness.jsonl"));
    expect(accepted).toEqual([]);
    // Each layer below the rules caught some; nothing of the list gets as far as the kernel.
    expect([...verdicts]).toEqual(
      expect.arrayContaining(["error", "sorry", "forbidden axiom", "changed statement", "missing"]),
    );
  });
});
