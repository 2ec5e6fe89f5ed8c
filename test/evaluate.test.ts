/** `deepseek-ts evaluate` end to end: an evaluation that is killed gives what one that is not gives; results; comparisons. */
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeModelFolder } from "../src/engine/testing-folder.ts";
import { compareResults } from "../src/evaluate/node-compare.ts";
import { Random } from "../src/tensor/random.ts";
import { commandsIn } from "./command-process.ts";

const work = mkdtempSync(join(tmpdir(), "evaluate-"));
const { run, start } = commandsIn(work);
afterAll(() => rmSync(work, { recursive: true, force: true }));

const WORDS = "the of and to in is that for it as was with on be by at from this have or".split(" ");
const random = new Random(2);
const words = (count: number) => Array.from({ length: count }, () => WORDS[random.int(20)]).join(" ");
const lines = (rows: readonly object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");
const quiz = Array.from({ length: 260 }, () => ({
  context: `${words(12)}:`,
  choices: [words(1), words(2), words(3)],
  gold: random.int(3),
}));
const sums = Array.from({ length: 6 }, (_, i) => ({ prompt: `${i} of the`, answer: i }));

beforeAll(async () => {
  await writeModelFolder(join(work, "one"), { maxPositions: 256 });
  await writeModelFolder(join(work, "two"), { maxPositions: 256, seed: 2 });
  writeFileSync(join(work, "quiz.jsonl"), lines(quiz));
  writeFileSync(join(work, "sums.jsonl"), lines(sums));
  mkdirSync(join(work, "texts"));
  writeFileSync(join(work, "texts/a.txt"), words(1200));
  writeFileSync(join(work, "texts/b.md"), words(50));
  writeFileSync(join(work, "texts/c.png"), Uint8Array.of(0x89, 0x50, 0, 1, 2));
  writeFileSync(
    join(work, "judge.ts"),
    "export default (samples) => samples.map(({ completion, key }) => (completion.length % 2 === Number(key) % 2 ? 1 : 0));\n",
  );
});

interface Results {
  readonly results: Record<string, Record<string, number | string>>;
  readonly [name: string]: unknown;
}

const filesIn = (out: string, start: string) =>
  readdirSync(join(work, out)).filter((name) => name.startsWith(start));

/** The results of an evaluation without its times. */
function results(out: string): Results {
  const [name] = filesIn(out, "results_");
  const {
    date: _,
    total_evaluation_time_seconds: __,
    ...rest
  } = JSON.parse(readFileSync(join(work, out, name), "utf8"));
  return rest;
}

function samples(out: string, task: string): string {
  const [name] = filesIn(out, `samples_${task}_`);
  return readFileSync(join(work, out, name), "utf8");
}

describe("deepseek-ts evaluate", () => {
  const asked = ["--tasks", "quiz.jsonl,texts", "--shots", "2", "--log-samples", "--threads", "1"];

  it("gives the same figures and samples when it was killed", async () => {
    const whole = await run("evaluate", "one", ...asked, "--out", "whole");
    expect(whole).toMatchObject({ code: 0, err: "texts: 1 file left out that hold no text\n" });
    expect(whole.out).toMatch(
      /^task +rows +shots +metric .*\nquiz +260 +2 +acc ↑ +0\.\d{4} +0\.0\d+ +0\.\d+ to 0\.\d+\n/,
    );
    const { child, ended } = start(["evaluate", "one", ...asked, "--out", "killed"]);
    const over = ended();
    const waves = join(work, "killed", "waves.jsonl");
    const done = () => (existsSync(waves) ? readFileSync(waves, "utf8").split("\n").length - 1 : 0);
    while (done() < 1) await new Promise((resolve) => setTimeout(resolve, 5));
    child.kill("SIGKILL");
    expect((await over).signal).toBe("SIGKILL");
    expect(filesIn("killed", "results_")).toEqual([]);
    // As a power cut leaves it.
    writeFileSync(waves, `${readFileSync(waves, "utf8")}{"task":"quiz","do`);
    const resumed = await run("evaluate", "--resume", "killed", "--threads", "1");
    expect(resumed.code).toBe(0);
    expect(resumed.err).toMatch(/waves.jsonl: what follows line \d+ is damaged and done again/);
    expect(resumed.out.split("saved")[0]).toBe(whole.out.split("saved")[0]);
    expect(results("killed")).toEqual(results("whole"));
    for (const task of ["quiz", "texts"]) expect(samples("killed", task)).toBe(samples("whole", task));
    for (const each of await compareResults(join(work, "whole"), join(work, "killed"))) {
      expect(each).toMatchObject({ difference: 0, better: { a: 0, b: 0 }, winner: null });
    }
    // What changed meanwhile is noticed.
    writeFileSync(join(work, "quiz.jsonl"), lines(quiz.slice(1)));
    expect((await run("evaluate", "--resume", "killed")).err).toMatch(/rows have changed.*quiz/);
    writeFileSync(join(work, "quiz.jsonl"), lines(quiz));
  });

  it("writes what lm-evaluation-harness writes", () => {
    const { results: figures, ...rest } = results("whole");
    const { quiz: own, texts } = figures;
    expect(Object.keys(own)).toEqual([
      ...["alias", "acc,none", "acc_stderr,none", "acc_norm,none", "acc_norm_stderr,none"],
    ]);
    expect(texts["bits_per_byte,none"]).toBeCloseTo(Math.log2(texts["byte_perplexity,none"] as number), 9);
    expect(rest).toMatchObject({
      "n-shot": { quiz: 2, texts: 0 },
      "n-samples": { quiz: { original: 260, effective: 260 }, texts: { original: 2, effective: 2 } },
      versions: { quiz: 1, texts: 1 },
      higher_is_better: { quiz: { acc: true, acc_norm: true }, texts: { bits_per_byte: false } },
      configs: {
        quiz: { output_type: "multiple_choice", num_fewshot: 2 },
        texts: { output_type: "loglikelihood_rolling" },
      },
      model_source: "deepseek-ts",
      model_name: "one",
    });
    const logged = samples("whole", "quiz")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(logged.map(({ doc_id }) => doc_id)).toEqual(quiz.map((_, i) => i));
    let right = 0;
    for (const [i, sample] of logged.entries()) {
      expect(sample).toMatchObject({ doc: quiz[i], target: String(quiz[i].gold), filter: "none" });
      expect(sample.doc_hash).toBe(
        createHash("sha256")
          .update(JSON.stringify(quiz[i], null, 2))
          .digest("hex"),
      );
      expect(sample.arguments.gen_args_1.arg_0.endsWith(`\n\n${quiz[i].context}`)).toBe(true);
      expect(sample.arguments.gen_args_1.arg_1).toBe(` ${quiz[i].choices[1]}`);
      const sums = sample.resps.map(([[sum, greedy]]: [[string, string]]) => {
        expect(greedy).toMatch(/^(True|False)$/);
        return Number(sum);
      });
      expect(sample.acc).toBe(sums.indexOf(Math.max(...sums)) === quiz[i].gold ? 1 : 0);
      right += sample.acc;
    }
    expect(figures.quiz["acc,none"]).toBeCloseTo(right / 260, 12);
  });

  it("judges answers by a module and a command, for pass@k", async () => {
    const common = ["one", "--tasks", "sums.jsonl", "--samples", "4", "--max-tokens", "3", "--threads", "1"];
    const module = await run(
      "evaluate",
      ...common,
      "--reward",
      "./judge.ts",
      "--pass-at",
      "1,2",
      "--out",
      "module",
      "--json",
    );
    expect(module).toMatchObject({ code: 0, err: "" });
    const { results: figures } = JSON.parse(module.out) as Results;
    expect(Object.keys(figures.sums).filter((name) => !name.includes("stderr"))).toEqual([
      ...["alias", "reward,none", "pass@1,none", "pass@2,none"],
    ]);
    expect(figures.sums["pass@2,none"]).toBeGreaterThan(figures.sums["pass@1,none"] as number);
    const judge = `${process.execPath} -e "for (const l of require('fs').readFileSync(0,'utf8').trim().split('\\n')) { const {completion, key} = JSON.parse(l); console.log(completion.length % 2 === Number(key) % 2 ? 1 : 0); }"`;
    const command = await run(
      "evaluate",
      ...common,
      "--reward-command",
      judge,
      "--pass-at",
      "1,2",
      "--out",
      "command",
    );
    expect(command).toMatchObject({ code: 0, err: "" });
    expect(results("command").results).toEqual(figures);
  });

  it("compares models on the same rows, and its results with those of the harness", async () => {
    const other = await run(
      "evaluate",
      "two",
      "--tasks",
      "quiz.jsonl",
      "--shots",
      "2",
      "--limit",
      "100",
      "--out",
      "other",
      "--threads",
      "1",
    );
    expect(other).toMatchObject({ code: 0, err: "" });
    const compared = await run("evaluate", "compare", "whole", "other", "--json");
    expect(compared.code).toBe(0);
    expect(compared.err).toMatch(/left out: 160 at most/);
    const [first] = JSON.parse(compared.out);
    expect(first).toMatchObject({ task: "quiz", metric: "acc", rows: 100, onlyA: 160, onlyB: 0 });
    expect(first.difference).toBeCloseTo((first.better.b - first.better.a) / 100, 12);
    // The logs alone, as another program writes them.
    const folder = join(work, "harness", "org__model");
    mkdirSync(folder, { recursive: true });
    for (const name of [...filesIn("whole", "results_"), ...filesIn("whole", "samples_")]) {
      writeFileSync(join(folder, name), readFileSync(join(work, "whole", name)));
    }
    const compare = () => compareResults(join(work, "harness"), join(work, "other"));
    expect(await compare()).toEqual(JSON.parse(compared.out));
    const [task] = filesIn("whole", "samples_quiz");
    writeFileSync(join(folder, task), samples("whole", "quiz").replace(/"doc_hash":"./, '"doc_hash":"x'));
    await expect(compare()).rejects.toThrow(/other rows.*another row 0/s);
    rmSync(join(folder, task));
    await expect(compare()).rejects.toThrow(/no task in common/);
  });

  it("refuses rows by file, line and field, and leaves nothing behind", async () => {
    writeFileSync(join(work, "bad.jsonl"), lines([quiz[0], { ...quiz[1], gold: 7 }]));
    const bad = await run("evaluate", "one", "--tasks", "bad.jsonl", "--out", "bad");
    expect(bad).toMatchObject({ code: 1, out: "" });
    expect(bad.err).toMatch(
      /bad.jsonl line 2: no place of a choice; name: gold; expected: 0 to 2, or the text of one; found: 7/,
    );
    expect(existsSync(join(work, "bad"))).toBe(false);
  });
});
