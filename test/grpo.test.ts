/** `deepseek-ts grpo` end to end: a run that is killed gives what one that is not gives; modules and commands judge; it learns. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { lives } from "../src/files/process-identity.ts";
import { writeAdder, writeSums } from "../src/runs/policy/testing-adder.ts";
import { Random } from "../src/tensor/random.ts";
import { commandsIn } from "./command-process.ts";

/** Kills of a run; `KILLS=100` for a long look. */
const KILLS = Number(process.env.KILLS ?? 4);

const work = mkdtempSync(join(tmpdir(), "grpo-"));
const { run, start } = commandsIn(work);
beforeAll(async () => {
  await writeAdder(join(work, "adder"));
  writeSums(join(work, "sums.jsonl"));
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

const small = ["--max-tokens", "4", "--rate", "3e-3", "--groups", "10", "--samples", "8", "--threads", "1"];
const answers = ["--reward", "answer", "--answer-in", "whole"];
const grpo = (out: string, ...options: string[]) => [
  "grpo",
  "adder",
  "--data",
  "sums.jsonl",
  "--out",
  out,
  ...small,
  ...options,
];

interface Line {
  readonly kind: string;
  readonly step: number;
  readonly [name: string]: unknown;
}

/** The whole lines of a run's log, without times. */
function logged(out: string): Line[] {
  const path = join(work, out, "metrics.jsonl");
  if (!existsSync(path)) return [];
  const lines = readFileSync(path, "utf8").split("\n").slice(0, -1);
  return lines.map((line) => {
    const { seconds: _, ...rest } = JSON.parse(line);
    return rest;
  });
}

const steps = (out: string) => logged(out).filter(({ kind }) => kind === "step").length;
const weights = (out: string) => readFileSync(join(work, out, "model", "model.safetensors"));

async function until(what: () => boolean, ended: Promise<unknown>): Promise<void> {
  let over = false;
  ended.then(() => (over = true));
  while (!what() && !over) await new Promise((resolve) => setTimeout(resolve, 10));
}

describe("deepseek-ts grpo", () => {
  it("gives the same bits however often it is killed", async () => {
    const options = [
      ...answers,
      "--steps",
      "12",
      "--save-every",
      "3",
      "--evaluate-every",
      "4",
      "--form",
      "dapo",
    ];
    const whole = await run(...grpo("whole", ...options));
    expect(whole).toMatchObject({ code: 0, err: "" });
    expect(whole.out).toMatch(/24 prompts to learn from, 1 held out.*\n.*run {7}whole/);
    expect(whole.out).toMatch(/saved {5}whole\/model, pass@1/);
    const random = new Random(Number(process.env.PROPERTY_SEED) || 11);
    let args = grpo("killed", ...options);
    for (let kill = 0; kill < KILLS; kill++) {
      // All over the run: each kill waits for so many steps, and comes somewhere in the next ones.
      const least = Math.floor((9 * kill) / KILLS);
      const { child, ended } = start(args);
      const over = ended();
      await until(() => steps("killed") > least, over);
      await new Promise((resolve) => setTimeout(resolve, random.int(120)));
      child.kill("SIGKILL");
      expect((await over).signal).toBe("SIGKILL");
      args = ["grpo", "--resume", "killed", "--threads", "1"];
    }
    const last = await run(...args);
    expect(last).toMatchObject({ code: 0, err: "" });
    expect(last.out).toMatch(/continuing after step [1-9]/);
    expect(logged("killed")).toEqual(logged("whole"));
    expect(weights("killed").equals(weights("whole"))).toBe(true);
    const completed = await run("complete", "killed", "1+2=", "--temperature", "0", "--max-tokens", "2");
    expect(completed).toMatchObject({ code: 0 });
  });

  it("learns what it half knows, over seeds", async () => {
    const shares = [];
    for (const seed of [1, 2, 3]) {
      const out = `learned-${seed}`;
      const options = [
        "--steps",
        "40",
        "--groups",
        "20",
        "--beta",
        "0",
        "--seed",
        String(seed),
        "--equal-groups",
        "skip",
      ];
      expect(await run(...grpo(out, ...answers, ...options))).toMatchObject({ code: 0, err: "" });
      const rewards = logged(out).flatMap(({ kind, reward }) => (kind === "step" ? [reward as number] : []));
      const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
      shares.push([mean(rewards.slice(0, 3)), mean(rewards.slice(-3))]);
    }
    for (const [first, last] of shares) {
      expect(first).toBeLessThan(0.5);
      expect(last).toBeGreaterThan(first + 0.25);
    }
  });

  it("judges by a module and a command, which it ends when it is stopped", async () => {
    writeFileSync(
      join(work, "reward.ts"),
      `export default (samples: { completion: string; key: string | null; row: { answer: number } }[]): number[] =>
         samples.map(({ completion, key, row }) => (completion === key && Number(key) === row.answer ? 1 : 0));`,
    );
    const steady = ["--steps", "3", "--save-every", "3", "--held-out", "0"];
    expect(await run(...grpo("by-module", "--reward", "./reward.ts", ...steady))).toMatchObject({
      code: 0,
      err: "",
    });
    const judge = `${process.execPath} -e 'let t = ""; process.stdin.on("data", (d) => t += d).on("end", () => {
      for (const l of t.trim().split("\\n")) { const s = JSON.parse(l); console.log(s.completion === s.key ? 1 : 0); } })'`;
    expect(await run(...grpo("by-command", "--reward-command", judge, ...steady))).toMatchObject({
      code: 0,
      err: "",
    });
    expect(weights("by-command").equals(weights("by-module"))).toBe(true);

    // Several groups are judged at a time: each judge adds a line.
    const pids = join(work, "pids");
    const { child, ended } = start(
      grpo("stuck", "--reward-command", `echo $$ >> ${pids}; sleep 300`, ...steady),
    );
    const over = ended();
    await until(() => existsSync(pids) && readFileSync(pids, "utf8").endsWith("\n"), over);
    child.kill("SIGINT");
    const stopped = await over;
    expect(stopped).toMatchObject({ code: 130 });
    expect(stopped.out).toMatch(/stopped and saved after step 0.*\n.*grpo --resume stuck/);
    const judges = readFileSync(pids, "utf8").trim().split("\n").map(Number);
    expect(judges.every((judge) => judge > 1)).toBe(true);
    for (let i = 0; i < 200 && judges.some(lives); i++)
      await new Promise((resolve) => setTimeout(resolve, 20));
    expect(judges.filter(lives)).toEqual([]);
  });

  it("tells a reward's fault with its sample, and keeps what it has", async () => {
    writeFileSync(
      join(work, "wrong.mjs"),
      "export default (samples) => samples.map((_, i) => (i === 2 ? undefined : 0));",
    );
    const failed = await run(...grpo("faulty", "--reward", "./wrong.mjs", "--steps", "2"));
    expect(failed.code).toBe(1);
    expect(failed.err).toMatch(/reward 2 is nothing.*prompt "\d\+\d=", completion/s);
    expect(existsSync(join(work, "faulty", "run.json"))).toBe(true);
  });

  it("refuses what contradicts itself, before it makes a folder", async () => {
    const refused = async (pattern: RegExp, code: number, ...args: string[]) => {
      const { err, code: found } = await run(...args);
      expect(err).toMatch(pattern);
      expect(found).toBe(code);
    };
    await refused(/no prompts given/, 2, "grpo", "adder", ...answers);
    await refused(/no reward/, 1, ...grpo("none"));
    await refused(/no such reward.*Did you mean answer/s, 1, ...grpo("none", "--reward", "awnser"));
    await refused(/--tags needs --reward format or tags/, 2, ...grpo("none", ...answers, "--tags", "a"));
    await refused(/samples.*2 to/s, 1, ...grpo("none", ...answers, "--samples", "1"));
    await refused(/no such place/, 1, ...grpo("none", "--reward", "answer", "--answer-in", "box"));
    await refused(/sums.jsonl line 1.*absent/s, 1, ...grpo("none", ...answers, "--key", "absent"));
    await refused(/sums.jsonl line 1.*numbers/s, 1, ...grpo("none", "--reward", "countdown"));
    expect(existsSync(join(work, "none"))).toBe(false);
    await refused(
      /--resume uses the run's own settings; remove steps/,
      2,
      "grpo",
      "--resume",
      "whole",
      "--steps",
      "3",
    );
    await refused(/one of `deepseek-ts grpo`/, 2, "train", "--resume", "whole");
    mkdirSync(join(work, "other"));
    writeFileSync(join(work, "other", "run.json"), "{}");
    await refused(/kind.*policy/s, 1, "grpo", "--resume", "other");
  });
});
