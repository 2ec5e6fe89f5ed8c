/**
 * SIGKILLs at random moments of `prove`, `synthesize` and `grpo` with Lean's verdicts: nothing that was complete is lost, nothing counts twice, and the results are
 * those of a run that nobody killed. `KILLS=100` kills each so often; by default a few. One Lean stays up behind a server of the
 * test, so that what is killed again and again is the command.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startKimina, type TestingKimina } from "../../src/prove/lean/testing-kimina.ts";
import { embeddedRepl } from "../../src/prove/lean/testing-repl.ts";
import { prepareLean } from "../../src/prove/lean/wasm/prepare.ts";
import { openDatabase } from "../../src/prove/store/database.ts";
import { Random } from "../../src/tensor/random.ts";
import { commandsIn } from "../command-process.ts";
import { cache, LIMIT, missing } from "./embedded-lean.ts";
import { runKilled } from "./killed-commands.ts";

const KILLS = Number(process.env.KILLS ?? 3);
/** Samples enough for so many kills. */
const SAMPLES = Math.max(8, 4 * KILLS);
const HOURS = 3 * 3_600_000;

const work = mkdtempSync(join(tmpdir(), "deepseek-ts-kills-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));
const commands = commandsIn(work, { DEEPSEEK_TS_CACHE: cache });
const env = { LEAN_SERVER_API_KEY: "key" };

let server: TestingKimina;
let lean: readonly string[];
beforeAll(async () => {
  if (missing !== null) return;
  server = await startKimina(embeddedRepl(await prepareLean({ cache })), "key");
  lean = ["--lean", `kimina=${server.url}`, "--parallel", "1", "--threads", "1"];
}, 10 * LIMIT);
afterAll(() => server?.[Symbol.asyncDispose]());

const lines = (text: string) =>
  text
    .trim()
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

/** Searches of a store with the numbers of their generations: each once, none left out in a tree. */
async function wholeSearches(path: string): Promise<number> {
  using database = await openDatabase(path);
  const rows = database.all(
    "SELECT search_id, tree, seq, completed FROM attempt ORDER BY search_id, completed",
  );
  for (const search of new Set(rows.map(({ search_id }) => search_id))) {
    const of = rows.filter(({ search_id }) => search_id === search);
    expect(of.map(({ completed }) => completed)).toEqual(of.map((_, i) => i + 1));
    for (const tree of new Set(of.map((row) => row.tree))) {
      const numbers = of.filter((row) => row.tree === tree).map(({ seq }) => seq as number);
      expect(numbers.sort((a, b) => a - b)).toEqual(numbers.map((_, i) => i));
    }
  }
  const twice = database.all(
    "SELECT search_id, side, text_sha256 FROM proof GROUP BY search_id, side, text_sha256 HAVING count(*) > 1",
  );
  expect(twice).toEqual([]);
  return rows.length;
}

/** Generations that a store has, to see that they only grow. */
function growing(path: string) {
  let before = 0;
  return async () => {
    const now = await wholeSearches(path).catch((error: Error) => {
      if (/cannot be opened|no such table/.test(error.message)) return 0;
      throw error;
    });
    expect(now).toBeGreaterThanOrEqual(before);
    before = now;
  };
}

describe.skipIf(missing !== null)(`killed ${KILLS} times`, () => {
  it("prove runs a benchmark as if nothing had happened", { timeout: HOURS }, async () => {
    const row = (name: string, formal_statement: string) =>
      `${JSON.stringify({ name, split: "test", header: "", formal_statement })}\n`;
    writeFileSync(
      join(work, "bench.jsonl"),
      row("sum", "theorem sum (a b : Nat) : a + b = b + a := by\n") +
        row("has", "theorem has : ∃ n : Nat, 2 * n + 1 = 9 := by\n") +
        row("wrong", "theorem wrong (n : Nat) : n < 5 := by\n"),
    );
    const args = ["prove", "bench.jsonl", ...lean, "--batch", "1", "--samples", String(SAMPLES), "--json"];
    const more = ["--search", "sample", "--seed", "4"];
    const store = (name: string) => [...args, ...more, "--store", `${name}.sqlite`];
    const plain = await commands.start(store("plain"), { env }).ended();
    expect([plain.code, plain.err]).toEqual([1, expect.any(String)]);
    const look = growing(join(work, "killed.sqlite"));
    const killed = await runKilled(commands, store("killed"), env, {
      ...{ kills: KILLS, random: new Random(21), lines: 3, look },
    });
    await look();
    console.log(
      `prove: ${killed.kills} kills (${killed.early} before the first line), ${killed.starts} starts`,
    );
    expect(killed.kills).toBeGreaterThan(0);
    const results = (out: string) => lines(out).filter(({ type }) => type === "ended" || type === "report");
    expect(results(killed.end.out)).toEqual(results(plain.out));
    expect(await wholeSearches(join(work, "killed.sqlite"))).toBe(3 * SAMPLES);
  });

  it("prove fills a file as if nothing had happened, and leaves it whole at any moment", {
    timeout: HOURS,
  }, async () => {
    const source = [
      "theorem sum (a b : Nat) : a + b = b + a := by\n  sorry\n",
      "theorem middle (n : Nat) : n * 1 + 0 = n := by\n  have h : n * 1 = n := by\n    sorry\n  omega\n",
      "theorem wrong (n : Nat) : n < 5 := by\n  sorry\n",
    ].join("\n");
    const args = (name: string) => {
      writeFileSync(join(work, `${name}.lean`), source);
      const own = ["prove", `${name}.lean`, "--store", `${name}-file.sqlite`, "--write", "--json"];
      return [
        ...own,
        ...lean,
        "--batch",
        "1",
        "--samples",
        String(SAMPLES),
        "--search",
        "rmaxts",
        "--seed",
        "6",
      ];
    };
    const text = (name: string) => readFileSync(join(work, `${name}.lean`), "utf8");
    const plain = await commands.start(args("whole"), { env }).ended();
    expect([plain.code, plain.err]).toEqual([1, expect.stringContaining("open    theorem wrong")]);
    expect(text("whole")).not.toBe(source);
    const grows = growing(join(work, "parts-file.sqlite"));
    const look = async () => {
      expect([source, text("whole")]).toContain(text("parts"));
      await grows();
    };
    const killed = await runKilled(commands, args("parts"), env, {
      ...{ kills: KILLS, random: new Random(23), lines: 3, look },
    });
    await look();
    console.log(
      `prove FILE: ${killed.kills} kills (${killed.early} before the first line), ${killed.starts} starts`,
    );
    expect(killed.kills).toBeGreaterThan(0);
    expect(text("parts")).toBe(text("whole"));
    const last = (out: string) =>
      lines(out).filter(({ title, type }) => type === "ended" && /wrong/.test(`${title}`));
    expect(last(killed.end.out)).toMatchObject([{ outcome: "open", cost: { samples: SAMPLES } }]);
  });

  it("synthesize gives the same statements, proofs and model", { timeout: HOURS }, async () => {
    const numbers = [3, 5, 7, 11].map(
      (n) => `Show that some natural number y is such that ${n}y is equal to ${72 * n}.`,
    );
    writeFileSync(
      join(work, "problems.jsonl"),
      numbers.map((informal, i) => `${JSON.stringify({ informal, name: `p${i}` })}\n`).join(""),
    );
    const into = (name: string) => [
      ...["synthesize", "problems.jsonl", "--out", name, "--resume", "--json", ...lean, "--no-grading"],
      ...[
        "--per-statement",
        "6",
        "--translations",
        "3",
        "--batch",
        "1",
        "--epochs",
        "4",
        "--batch-rows",
        "1",
      ],
    ];
    const plain = await commands.start(into("plain"), { env }).ended();
    expect([plain.code, plain.err]).toEqual([0, expect.stringContaining("round-1")]);
    const look = growing(join(work, "killed", "synthesis.sqlite"));
    const killed = await runKilled(commands, into("killed"), env, {
      ...{ kills: KILLS, random: new Random(22), lines: 2, look },
    });
    await look();
    console.log(
      `synthesize: ${killed.kills} kills (${killed.early} before the first line), ${killed.starts} starts`,
    );
    expect([killed.end.code, killed.kills > 0]).toEqual([0, true]);
    for (const name of ["statements.jsonl", "proofs.jsonl", "round-1/config.json"]) {
      expect(readFileSync(join(work, "killed", name), "utf8"), name).toBe(
        readFileSync(join(work, "plain", name), "utf8"),
      );
    }
    // The same lessons in the same order from the same start.
    const weights = (name: string) => readFileSync(join(work, name, "round-1", "model.safetensors"));
    expect(weights("killed").equals(weights("plain"))).toBe(true);
    await wholeSearches(join(work, "killed", "synthesis.sqlite"));
  });

  it("grpo learns the same from verdicts, to the bit, and no saved step is lost", {
    timeout: HOURS,
  }, async () => {
    const prover = fileURLToPath(new URL("../../models/world-prover", import.meta.url));
    const statements = [
      "theorem t (n : Nat) : n + 0 = n := by",
      "theorem t (a b : Nat) (h : a = b) : b = a := by",
      "theorem t (p q : Prop) (hp : p) (hq : q) : p ∧ q := by",
      "theorem t (n : Nat) (h : n % 4 = 3) : n % 2 = 1 := by",
    ];
    writeFileSync(
      join(work, "theorems.jsonl"),
      statements.map((statement) => `${JSON.stringify({ statement })}\n`).join(""),
    );
    const fresh = (out: string) => [
      ...["grpo", prover, "--data", "theorems.jsonl", "--out", out, "--reward", "lean", "--form", "prover"],
      ...[
        "--equal-groups",
        "keep",
        "--groups",
        "2",
        "--samples",
        "4",
        "--max-tokens",
        "32",
        "--rate",
        "2e-5",
      ],
      ...["--held-out", "0", "--save-every", "2", "--steps", String(KILLS + 2), ...lean],
    ];
    const saved = (out: string) => {
      const folder = join(work, out, "checkpoints");
      const names = existsSync(folder) ? readdirSync(folder) : [];
      return Math.max(0, ...names.flatMap((name) => /^step-(\d+)$/.exec(name)?.slice(1).map(Number) ?? []));
    };
    const logged = (out: string) =>
      lines(readFileSync(join(work, out, "metrics.jsonl"), "utf8")).map(({ seconds: _, ...rest }) => rest);
    const plain = await commands.start(fresh("policy"), { env }).ended();
    expect([plain.code, plain.err]).toEqual([0, ""]);
    const steps = logged("policy");
    expect(steps.length).toBe(KILLS + 2);
    expect(new Set(steps.map(({ reward }) => reward)).size).toBeGreaterThan(1);
    const threads = ["--parallel", "1", "--threads", "1"];
    const begun = () => existsSync(join(work, "policy-killed", "run.json"));
    // Whole lines; the last one may be half written.
    const told = () => {
      const path = join(work, "policy-killed", "metrics.jsonl");
      return existsSync(path) ? readFileSync(path, "utf8").split("\n").length - 1 : 0;
    };
    const random = new Random(24);
    let [killed, unsaved, before] = [0, 0, 0];
    for (;;) {
      const now = saved("policy-killed");
      expect(now).toBeGreaterThanOrEqual(before);
      before = now;
      const args = begun() ? ["grpo", "--resume", "policy-killed", ...threads] : fresh("policy-killed");
      const { child, ended } = commands.start(args, { env });
      const over = ended();
      if (killed < KILLS) {
        // Every fourth comes at any time from the start on, the others behind one more step of the log, which may not be saved.
        const early = killed % 4 === 3;
        const least = early ? 0 : told() + 1;
        let open = true;
        void over.then(() => (open = false));
        while (open && told() < least) await new Promise((resolve) => setTimeout(resolve, 20));
        await new Promise((resolve) => setTimeout(resolve, random.int(early ? 6000 : 500)));
        child.kill("SIGKILL");
      }
      const end = await over;
      if (end.signal !== "SIGKILL") {
        expect([end.code, end.err]).toEqual([0, ""]);
        break;
      }
      killed++;
      if (told() > saved("policy-killed")) unsaved++;
    }
    console.log(`grpo: ${killed} kills, ${unsaved} of them with steps that were not saved`);
    expect(unsaved).toBeGreaterThan(0);
    // Each step once, with the rewards that it had.
    expect(logged("policy-killed")).toEqual(steps);
    const weights = (out: string) => readFileSync(join(work, out, "model", "model.safetensors"));
    expect(weights("policy-killed").equals(weights("policy"))).toBe(true);
  });
});
