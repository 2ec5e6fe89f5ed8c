import { describe, expect, it } from "vitest";
import { ProgramSandbox } from "./program-sandbox.ts";

const sandbox = new ProgramSandbox({ turns: 100, bytes: 4 << 20 });
const passed = (program: string, ...tests: string[]) => sandbox.passed(program, tests);

describe("ProgramSandbox", () => {
  it("tells which tests a program passes", async () => {
    const program = "export const twice = (x) => 2 * x;\nexport default function add(a, b) { return a + b; }";
    expect(
      await passed(
        program,
        ...[
          "add(1, 2) === 3",
          "add(1, 2) === 4",
          "const x = twice(3); assert(x === 6, 'six');",
          "assert.equal(twice(1), 3)",
        ],
        ...[
          "await Promise.resolve(add(1, 1)) === 2",
          "Promise.reject(add)",
          "new Promise(() => {})",
          "no program (",
        ],
        ...[
          "assert.deepEqual([{ a: [1, NaN] }], [{ a: [1, NaN] }])",
          "assert.deepEqual({ a: 1 }, { a: 1, b: 2 })",
        ],
        ...["assert.throws(() => add.none.none)", "assert.throws(() => add(1, 2))", "undefined"],
      ),
    ).toEqual([true, false, true, false, true, false, false, false, true, false, true, false, true]);
  });

  it("begins each test with the program anew", async () => {
    expect(await passed("let n = 0; const count = () => ++n;", "count() === 1", "count() === 1")).toEqual([
      true,
      true,
    ]);
  });

  it("lets programs neither bring their own assertions nor change what these compare with", async () => {
    const program = `var assert = () => 1; globalThis.assert = assert; Object.is = Array.isArray = () => true;
      Object.keys = () => []; Function.prototype.call = () => true; Promise.prototype.then = () => 1; Error = null;
      function add() { return 9; }`;
    const tests = [
      "assert.equal(add(1, 2), 3)",
      "assert.deepEqual([add(1, 2)], [3])",
      "assert(false)",
      "await 1 === 2",
    ];
    expect(await passed(program, ...tests)).toEqual([false, false, false, false]);
  });

  it("has nothing of the machine, and draws the same numbers every time", async () => {
    const names = ["process", "require", "fetch", "setTimeout", "std", "os", "Worker", "WebAssembly"];
    const drawn = "Math.random() === 48271 / 2147483647";
    expect(await passed("", ...names.map((name) => `typeof ${name} === "undefined"`), drawn)).toEqual(
      [...names, drawn].map(() => true),
    );
    await expect(passed("", "await import('node:fs')", "await import('/etc/passwd')")).resolves.toEqual([
      false,
      false,
    ]);
  });

  it.each([
    ["loops", "for (;;);"],
    ["promises", "const again = () => Promise.resolve().then(again); again();"],
    ["recursion", "const f = (n) => f(n + 1) + 1; f(0);"],
    ["memory", "const all = []; for (;;) all.push({});"],
    ["one large text", "'a'.repeat(2 ** 29)"],
    ["deep values", "JSON.parse('['.repeat(1e5) + ']'.repeat(1e5))"],
  ])("ends %s without end, and judges the next program as ever", async (_, program) => {
    expect(await passed(program, "1 === 2")).toEqual([false]);
    expect(await passed("const one = 1;", "one === 1")).toEqual([true]);
  });
});
