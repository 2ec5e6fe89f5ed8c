import { describe, expect, it } from "vitest";
import { readLeanFile } from "./lean-file.ts";
import { readProofLines } from "./proof-lines.ts";

const row = (...items: readonly object[]) => items.map((item) => JSON.stringify(item)).join("\n");
const statement = "theorem t : 1 + 1 = 2 := sorry";
const proof = "theorem t : 1 + 1 = 2 := rfl";

describe("lines of proofs", () => {
  it("are read with their limits, and named by their line if they have no name", () => {
    const options = { timeoutMs: 3000, maxHeartbeats: 7, trustedPreamble: true };
    const text = `${row({ name: "a", preamble: "open Nat", statement, proof, options })}\n\n${row({ statement, proof })}\n`;
    expect(readProofLines("x", text)).toEqual([
      {
        ...{ name: "a", code: proof, timeout: 3000, heartbeats: 7 },
        problem: { statement, preamble: "open Nat", trustedPreamble: true, imports: undefined },
      },
      {
        ...{ name: "line 3", code: proof, timeout: undefined, heartbeats: undefined },
        problem: { statement, preamble: "", trustedPreamble: undefined, imports: undefined },
      },
    ]);
  });

  it("of miniF2F and its kin begin with imports and end openly", () => {
    const header = "import Mathlib\nimport Aesop\n\nopen Nat\n";
    const text = row({
      name: "a",
      header,
      formal_statement: "theorem t : 1 + 1 = 2 := by\n",
      formal_proof: "  rfl",
    });
    expect(readProofLines("x", text)).toEqual([
      expect.objectContaining({
        code: "theorem t : 1 + 1 = 2 := by\n  rfl",
        problem: {
          ...{ statement, preamble: "open Nat", imports: ["Mathlib", "Aesop"], trustedPreamble: undefined },
        },
      }),
    ]);
  });

  it("take their statements from another file, whatever they say themselves", () => {
    const proofs = row({
      name: "b",
      statement: "theorem t : True := sorry",
      proof: "theorem t : True := trivial",
    });
    const statements = { where: "s", text: row({ name: "a", statement: "x" }, { name: "b", statement }) };
    expect(readProofLines("x", proofs, statements)[0].problem.statement).toBe(statement);
    const missing = { where: "s", text: row({ name: "a", statement }) };
    expect(() => readProofLines("x", proofs, missing)).toThrow(/no statement of this name; name: b/);
    const twice = { where: "s", text: row({ name: "b", statement }, { name: "b", statement }) };
    expect(() => readProofLines("x", proofs, twice)).toThrow(/s, line 2: two statements have one name/);
  });

  it.each([
    ["{", /x, line 1: a line is not valid JSON/],
    ["[1]", /must be an object/],
    [row({ statement }), /x, line 1: a field is missing; expected: proof or formal_proof/],
    [row({ proof }), /expected: statement or formal_statement/],
    [row({ statement, proof: 3 }), /name: proof; expected: a string; found: number/],
    [row({ statement, proof, imports: "Init" }), /name: imports/],
    [row({ statement, proof, imports: [3] }), /name: imports; expected: a list of module names/],
    [row({ statement, proof, options: { strict: false } }), /name: options\.strict/],
    [row({ statement, proof, options: { timeoutMs: "3" } }), /name: options\.timeoutMs/],
    [row({ statement, proof, options: { timeoutMs: 0 } }), /name: options\.timeoutMs.*found: 0/],
  ])("that are wrong are refused by name: %s", (text, message) => {
    expect(() => readProofLines("x", text)).toThrow(message);
  });

  it("of an empty file are refused: there is nothing that could be proved", () => {
    expect(() => readProofLines("x", "\n \n")).toThrow(/there are no proofs.*x/s);
  });
});

describe("the head of a Lean file", () => {
  it("gives its imports, and leaves all places as they were", () => {
    const text =
      "/- 𝔸 -/\nmodule\npublic import Init.Data.List\nimport all Std\n\n-- import No\nopen Nat\nimport Late";
    const { imports, code } = readLeanFile(text);
    expect(imports).toEqual(["Init.Data.List", "Std"]);
    expect(code).toHaveLength(text.length);
    expect(code.split("\n")).toHaveLength(text.split("\n").length);
    expect(code.trimStart()).toBe("-- import No\nopen Nat\nimport Late");
    expect(code.indexOf("open Nat")).toBe(text.indexOf("open Nat"));
  });

  it("is missing in most", () => {
    for (const text of ["", "theorem t : True := trivial", "-- import X\n", '"import X"']) {
      expect(readLeanFile(text)).toEqual({ imports: [], code: text });
    }
  });
});
