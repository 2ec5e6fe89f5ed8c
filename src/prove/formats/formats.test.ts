import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { segment } from "../text/segments.ts";
import { leanAnswer, proverFixture, type RecordedProof } from "../text/testing.ts";
import { benchmarkTask, promptStatement, readBenchmark, writeBenchmark } from "./benchmark.ts";
import { readRows } from "./fields.ts";
import { readDojo, tracedTactics, writeDojo } from "./leandojo.ts";
import { fencedCode } from "./model-answers.ts";
import { kiminaResult, kiminaStatus, readKiminaRequest, replResponse, splitKiminaHeader } from "./repl.ts";
import { readVerifierAnswer, verifierAnswer } from "./verifier-answer.ts";

const { cases } = proverFixture<{ cases: RecordedProof[] }>("lean-steps.json");
const proofs = new Map(cases.map((proof) => [proof.name, proof]));
const recorded = (name: string) => {
  const proof = proofs.get(name)!;
  return { text: proof.statement + proof.proof, start: proof.statement.length, answer: leanAnswer(proof) };
};

const row = {
  name: "t1",
  split: "valid",
  informal_prefix: "/-- in words -/\n",
  formal_statement: "theorem t1 (n : ℕ) : n = n := by\n",
  goal: "n : ℕ\n⊢ n = n",
  header: "import Mathlib\n\nopen Nat\n\n",
};

describe("benchmarks", () => {
  it("are read by the reference's fields and written with them", async () => {
    const ours = {
      ...row,
      name: "t2",
      formal_proof: "  rfl",
      family: "equ",
      level: 2,
      preamble: "def f := 1",
    };
    const text = [row, ours].map((each) => `${JSON.stringify(each)}\n`).join("");
    const { hash, problems } = await readBenchmark(text, "b.jsonl");
    expect(hash).toMatch(/^[0-9a-f]{64}$/);
    expect(problems[0]).toEqual({
      index: 0,
      name: "t1",
      split: "valid",
      header: row.header,
      informalPrefix: row.informal_prefix,
      statement: row.formal_statement,
      goal: row.goal,
      other: {},
    });
    expect(problems[1]).toMatchObject({
      index: 1,
      preamble: "def f := 1",
      proof: "  rfl",
      other: { family: "equ", level: 2 },
    });
    expect((await readBenchmark(writeBenchmark(problems), "c")).problems).toEqual(problems);
    expect(JSON.parse(writeBenchmark(problems).split("\n")[0])).toEqual(row);
    expect((await readBenchmark(`${text} `, "b.jsonl")).hash).not.toBe(hash);
  });

  it("tolerate missing fields, keep rows of one name apart and what is true to themselves", async () => {
    const least = '{"formal_statement":"theorem a : 1 = 1 :=","truth":"false","header":null}';
    const { problems } = await readBenchmark(`\uFEFF${least}\r\n\n${least}\n`, "b");
    expect(problems).toEqual(
      [0, 1].map((index) => ({ index, name: `row ${index}`, statement: "theorem a : 1 = 1 :=", other: {} })),
    );
  });

  it.each([
    ["{", /b: line 2: not valid JSON/],
    ["[1]", /b: line 2: not an object/],
    [
      '{"name":"x"}',
      /b: line 2: a field is missing; name: formal_statement; expected: a text; found: nothing/,
    ],
    ['{"formal_statement":"x","header":7}', /another type; name: header; expected: a text; found: 7/],
    ['{"formal_statement":["x"]}', /another type; name: formal_statement/],
    ['{"formal_statement":"x","name":false}', /another type; name: name/],
  ])("refuse a row by line and field: %s", async (line, message) => {
    await expect(readBenchmark(`${JSON.stringify(row)}\n${line}`, "b")).rejects.toThrow(message);
  });

  it("are bounded", () => {
    expect(() => readRows('{"a":1}\n{"a":2}\n', "b", { maxRows: 1 })).toThrow(
      /name: rows; expected: at most 1/,
    );
    expect(() => readRows('{"a":"12345"}', "b", { maxRow: 5 })).toThrow(
      /line 1: too large; name: characters/,
    );
    expect(() => readRows("[{},{}]", "b", { maxRows: 1 })).toThrow(/found: 2/);
    expect(() => readRows(`${"[".repeat(100_000)}`, "b")).toThrow(/not valid JSON/);
  });

  it("become tasks: header and definitions above the statement, without its sorry", async () => {
    const [problem] = (await readBenchmark(`${JSON.stringify({ ...row, preamble: "def f := 1" })}\n`, "b"))
      .problems;
    expect(benchmarkTask(problem)).toEqual({
      header: "import Mathlib\n\nopen Nat\n\ndef f := 1\n\n",
      informalPrefix: row.informal_prefix,
      statement: row.formal_statement,
      problem: {
        statement: "theorem t1 (n : ℕ) : n = n := by sorry",
        preamble: "open Nat\n\ndef f := 1",
        trustedPreamble: false,
        imports: ["Mathlib"],
      },
    });
    const statements = ["a := by sorry", "a := sorry", "a := by\n", "a :=", "a", "a := by -- c\n  sorry\n"];
    expect(statements.map(promptStatement)).toEqual([
      "a := by\n",
      "a := by\n",
      "a := by\n",
      "a :=",
      "a := by\n",
      "a := by\n",
    ]);
  });

  it("never turn any JSON into anything but rows or a FormatError", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.json()), async (lines) => {
        try {
          await readBenchmark(lines.join("\n"), "b");
        } catch (error) {
          expect((error as Error).name).toBe("FormatError");
        }
      }),
    );
  });
});

describe("answers of the reference's verifier", () => {
  it.each(cases.map(({ name }) => name))("are written and read back with the same segments: %s", (name) => {
    const { text, start, answer } = recorded(name);
    const written = JSON.parse(JSON.stringify(verifierAnswer(text, answer))) as unknown;
    const read = readVerifierAnswer(written, "answer");
    expect(read.text).toBe(text);
    expect(read.answer.complete).toBe(answer.complete);
    for (const rule of ["line", "tactic"] as const) {
      expect(segment(text, start, read.answer, { rule })).toEqual(segment(text, start, answer, { rule }));
    }
  });

  it("say what broke, and nothing else, where there is no end", () => {
    const { text, answer } = recorded("bullets");
    const written = verifierAnswer(text, { ...answer, complete: false, failure: "timeout" });
    expect(written).toEqual({
      system_messages: "",
      system_errors: "timeout",
      verified_code: text,
      verify_time: 0.001,
      pass: false,
      complete: false,
    });
    expect(readVerifierAnswer(written, "answer").answer.failure).toBe("timeout");
  });

  it("are refused by field", () => {
    const read = (value: unknown) => () => readVerifierAnswer(value, "log");
    expect(read({})).toThrow(/log: a field is missing; name: complete/);
    expect(read({ complete: true, errors: [{ pos: { line: "1", column: 0 } }] })).toThrow(
      /errors\[0\]: pos: .*name: line/,
    );
    expect(read({ complete: true, errors: [], ast: { tactics: [{ pos: -1 }] } })).toThrow(
      /name: pos; expected: an offset/,
    );
  });
});

describe("answers of REPL and Kimina", () => {
  it("hold messages, sorries with their goals, and tactics with the goals before them", () => {
    const { text, answer } = recorded("sorry in the middle");
    const response = replResponse(text, answer, 3);
    expect(response.env).toBe(3);
    expect(response.sorries).toEqual([
      {
        pos: { line: 3, column: 4 },
        endPos: { line: 3, column: 9 },
        goal: "case refine_1\na b : Nat\nh : a < b\n⊢ a ≤ b",
      },
    ]);
    expect(response.tactics?.[0]).toEqual({
      pos: { line: 2, column: 2 },
      endPos: { line: 2, column: 17 },
      tactic: "refine ⟨?_, ?_⟩",
      goals: "a b : Nat\nh : a < b\n⊢ a ≤ b ∧ b ≠ a",
    });
    expect(replResponse("x", { ...answer, messages: [], sorries: [], steps: [] })).toEqual({});
    expect(() => replResponse(text, { ...answer, failure: "crash" })).toThrow(/without an answer/);
  });

  it("are judged as Kimina's client does", () => {
    const of = (name: string, change = {}) => {
      const { text, answer } = recorded(name);
      return kiminaStatus(kiminaResult({ id: "a", code: text }, { ...answer, ...change }));
    };
    expect(of("bullets")).toBe("valid");
    expect(of("error in the middle")).toBe("lean_error");
    const { answer } = recorded("bullets");
    expect(of("bullets", { sorries: [{ start: answer.steps[0].start, end: answer.steps[0].end }] })).toBe(
      "sorry",
    );
    expect(of("bullets", { failure: "timeout" })).toBe("timeout_error");
    expect(of("bullets", { failure: "crash" })).toBe("server_error");
    expect(of("bullets", { refused: { reason: "axiom", at: answer.steps[0].start } })).toBe("lean_error");
    expect(kiminaStatus({ response: { message: "unknown command" } })).toBe("repl_error");
  });

  it("are asked in both forms of request, each field checked", () => {
    expect(readKiminaRequest({ snippets: [{ id: "a", code: "x" }], infotree: "original" })).toEqual({
      snippets: [{ id: "a", code: "x" }],
      timeout: 30,
      steps: true,
    });
    expect(readKiminaRequest({ codes: [{ custom_id: 7, proof: "x" }], timeout: 5 })).toEqual({
      snippets: [{ id: "7", code: "x" }],
      timeout: 5,
      steps: false,
    });
    expect(() => readKiminaRequest({ snippets: [] })).toThrow(/1 to 10000 texts; found: 0/);
    expect(() => readKiminaRequest({ snippets: ["a"] })).toThrow(/snippets\[0\]: not an object/);
    const twice = [1, 2].map(() => ({ id: "a", code: "x" }));
    expect(() => readKiminaRequest({ snippets: twice })).toThrow(/each once/);
    expect(() => readKiminaRequest({ snippets: [{ id: "a", code: "x" }], timeout: -1 })).toThrow(
      /name: timeout/,
    );
  });

  it("share one header for any part of Mathlib", () => {
    const code = "import Mathlib.Tactic\nimport Mathlib\nimport Aesop\n\ntheorem t : True := trivial";
    expect(splitKiminaHeader(code)).toEqual({
      header: "import Mathlib\nimport Aesop",
      body: "theorem t : True := trivial",
      lines: 4,
    });
  });
});

describe("LeanDojo's theorems", () => {
  it("are read as its files hold them, and written so", () => {
    const premise = { full_name: "Nat.le", def_path: "a.lean", def_pos: [1, 2], def_end_pos: [3, 4] };
    const theorem = {
      url: "https://example.org/r",
      commit: "c0ffee",
      file_path: "A.lean",
      full_name: "A.t",
      start: [5, 1],
      end: [7, 9],
      traced_tactics: [
        {
          tactic: "exact h",
          annotated_tactic: ["exact <a>h</a>", [premise]],
          state_before: "h : p\n⊢ p",
          state_after: "no goals",
        },
      ],
    };
    const text = JSON.stringify([theorem]);
    expect(readDojo(text, "train.json")).toEqual([theorem]);
    expect(readDojo(writeDojo(readDojo(text, "a")), "b")).toEqual([theorem]);
    const bare =
      '{"full_name":"x"}\n{"full_name":"y","traced_tactics":[{"tactic":"rfl","state_before":"⊢ 1","state_after":"no goals"}]}';
    expect(readDojo(bare, "a")[1].traced_tactics[0].annotated_tactic).toEqual(["rfl", []]);
    expect(() => readDojo('[{"full_name":"x","start":[1]}]', "a")).toThrow(
      /item 1: .*name: start; expected: line and column/,
    );
    expect(() =>
      readDojo('[{"full_name":"x","traced_tactics":[{"tactic":"a","annotated_tactic":"a"}]}]', "a"),
    ).toThrow(/traced_tactics\[0\].*annotated_tactic/);
  });

  it("come from checked proofs", () => {
    const { text, answer } = recorded("unfinished");
    expect(
      tracedTactics(text, answer).map(({ tactic, state_after }) => [
        tactic,
        state_after.split("⊢").length - 1,
      ]),
    ).toEqual([
      ["constructor", 2],
      ["· exact hp", 1],
      ["exact hp", 0],
    ]);
  });
});

describe("answers of chat models", () => {
  it("hold their proof in the last Lean fence", () => {
    expect(fencedCode("plan\n```lean4\na\n```\nbetter:\n```lean4\nb\n  c\n```\nand ```x```")).toBe("b\n  c");
    expect(fencedCode("```tactics\nx\n```\n```lean\ny\n```")).toBe("y");
    expect(fencedCode("```\nplain\n```")).toBe("plain");
    expect(fencedCode("```lean4\ncut off")).toBe("cut off");
  });

  it("hold none without one: such text is not sent to Lean", () => {
    expect(fencedCode("theorem t : True := trivial")).toBeNull();
    expect(fencedCode("```lean4\n\n```")).toBeNull();
    expect(fencedCode("")).toBeNull();
  });
});
