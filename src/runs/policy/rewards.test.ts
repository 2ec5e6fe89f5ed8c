/** Rewards of the user's: modules in threads and commands in processes, what they may answer and how they are stopped. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { lives } from "../../files/process-identity.ts";
import { checkRow } from "../../train/policy/named-rewards.ts";
import { type RewardSample, rewardsOf } from "../../train/policy/rewards.ts";
import { commandReward } from "./reward-command.ts";
import { RewardModule } from "./reward-module.ts";
import { checkRewards, openRewards, programReward, type RewardSettings } from "./rewards.ts";

const folder = mkdtempSync(join(tmpdir(), "deepseek-ts-rewards-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

const samples = ["a", "bb", "ccc"].map(
  (completion, i): RewardSample => ({
    ...{ prompt: "how\nlong?", completion, key: String(i + 1), row: { weight: 2 }, truncated: false },
    ...{ promptIds: [1], completionIds: [1, 2] },
  }),
);
const signal = new AbortController().signal;
const judged = (reward: Parameters<typeof rewardsOf>[0], seconds = 60, stop: AbortSignal = signal) =>
  rewardsOf(reward, samples, { seconds, signal: stop });

const program = (name: string, text: string) => `"${process.execPath}" "${file(name, text)}"`;
/** Reads all of its input, then runs `body` over `samples`. */
const filter = (name: string, body: string) =>
  program(
    name,
    `let text = ""; for await (const part of process.stdin) text += part;
     const samples = text.trim().split("\\n").map((line) => JSON.parse(line)); ${body}`,
  );

async function gone(pid: number): Promise<void> {
  for (let i = 0; i < 200 && lives(pid); i++) await new Promise((resolve) => setTimeout(resolve, 20));
  expect(lives(pid)).toBe(false);
}

describe("commandReward", () => {
  it("gives the command each sample as a line and takes a number a line", async () => {
    const command = filter(
      "lengths.mjs",
      `for (const { prompt, completion, key, row } of samples) {
         console.log(prompt === "how\\nlong?" && String(completion.length) === key ? row.weight / 4 : -1);
       }
       console.log();`,
    );
    expect(await judged(commandReward(command))).toEqual({ rewards: [0.5, 0.5, 0.5], timedOut: false });
    expect((await judged(commandReward("printf '+1e-1\\nnull\\n.5\\n'"))).rewards).toEqual([0.1, null, 0.5]);
  });

  it.each([
    ["status", "echo oh no >&2; exit 3", /command failed.*status 3: oh no/],
    ["lines", "echo 1; echo 2", /one line for each sample.*3 lines.*found: 2/],
    ["words", "echo 1; echo yes; echo 3", /line 2.*yes.*completion "bb"/],
    ["numbers", "echo 1; echo 2; echo NaN", /line 3.*NaN.*completion "ccc"/],
    ["flood", "yes 1", /more than 3000 characters/],
    ["absence", "no-such-command-here", /command failed.*status 127/],
  ])("refuses a wrong %s", async (_, command, message) => {
    await expect(judged(commandReward(command))).rejects.toThrow(message);
  });

  it("ends a command, and what it started, at the time limit and when the run is stopped", async () => {
    const pids = join(folder, "pids");
    const endless = commandReward(`echo $$ > ${pids}; sleep 300 & echo $! >> ${pids}; sleep 300`);
    const read = async () => {
      const { readFileSync } = await import("node:fs");
      return readFileSync(pids, "utf8").trim().split("\n").map(Number);
    };
    expect(await judged(endless, 0.5)).toEqual({ rewards: [0, 0, 0], timedOut: true });
    const first = await read();
    expect(first.length).toBe(2);
    for (const pid of first) await gone(pid);
    const stop = new AbortController();
    const stopped = judged(endless, 60, stop.signal);
    setTimeout(() => stop.abort(new Error("enough")), 500);
    await expect(stopped).rejects.toThrow("enough");
    for (const pid of await read()) await gone(pid);
  });
});

describe("RewardModule", () => {
  it("runs TypeScript, several groups at a time", async () => {
    const path = file(
      "reward.ts",
      `interface Sample { prompt: string; completion: string; key: string | null; row: { weight: number } }
       export default async (samples: Sample[]): Promise<number[]> => {
         await new Promise((resolve) => setTimeout(resolve, 10));
         const rewards = samples.map(({ completion, key, row }) => (String(completion.length) === key ? row.weight : 0));
         samples.length = 0;
         return rewards;
       };`,
    );
    await using module = await RewardModule.open(path);
    const all = await Promise.all([judged(module.reward), judged(module.reward), judged(module.reward)]);
    for (const { rewards } of all) expect(rewards).toEqual([2, 2, 2]);
  });

  it("refuses what is no reward when it is opened, and what is no number with its sample", async () => {
    const open = (name: string, text: string) => RewardModule.open(file(name, text));
    await expect(open("none.mjs", "export const reward = 1;")).rejects.toThrow(
      /none.mjs.*default export.*nothing/,
    );
    await expect(open("syntax.mjs", "export default (")).rejects.toThrow(/syntax.mjs/);
    await expect(RewardModule.open(join(folder, "absent.ts"))).rejects.toThrow(/absent.ts/);
    const answer = async (name: string, value: string) => {
      await using module = await open(name, `export default (samples) => ${value};`);
      return await judged(module.reward);
    };
    await expect(answer("few.mjs", "[1]")).rejects.toThrow(/1 rewards for 3 samples/);
    await expect(answer("word.mjs", "[1, true, 3]")).rejects.toThrow(/reward 1 is true.*completion "bb"/);
    await expect(answer("nan.mjs", "[1, 2, 0 / 0]")).rejects.toThrow(/reward 2 is NaN.*completion "ccc"/);
    await expect(answer("object.mjs", "({})")).rejects.toThrow(/no list of numbers/);
    await expect(answer("throws.mjs", "samples.nothing.length")).rejects.toThrow(
      /throws.mjs.*undefined.*line 1.*completion "a"/,
    );
    await expect(answer("exits.mjs", "process.exit(0)")).rejects.toThrow(/ended its thread/);
    expect((await answer("typed.mjs", "Float32Array.of(1, 2, 3)")).rewards).toEqual([1, 2, 3]);
  });

  it("ends code that never returns and goes on with the next group", async () => {
    const path = file(
      "endless.mjs",
      `import { existsSync } from "node:fs";
       export default (samples) => {
         while (!existsSync(${JSON.stringify(join(folder, "go"))}));
         return samples.map(() => 1);
       };`,
    );
    await using module = await RewardModule.open(path);
    expect(await judged(module.reward, 0.3)).toEqual({ rewards: [0, 0, 0], timedOut: true });
    file("go", "");
    expect(await judged(module.reward)).toEqual({ rewards: [1, 1, 1], timedOut: false });
  });
});

describe("openRewards", () => {
  const settings = (...parts: RewardSettings["parts"]): RewardSettings => ({ parts, answerIn: "whole" });

  it("adds parts by weight", async () => {
    const module = file("two.mjs", "export default (samples) => samples.map((_, i) => i);");
    await using opened = await openRewards(
      settings(
        { name: "own", weight: 10 },
        { module, weight: 2 },
        { command: "printf '1\\n0\\n1\\n'", weight: 0.5 },
        { name: "language", weight: 100 },
      ),
      { maxTokens: 8, others: { own: (group) => group.map(() => 1) } },
    );
    expect((await judged(opened.reward)).rewards).toEqual([110.5, 112, 114.5]);
  });

  it("refuses settings by name", () => {
    const check = (value: unknown) => () => checkRewards({ where: "test" }, value, ["lean"]);
    expect(check({ parts: [{ name: "answers", weight: 1 }] })).toThrow(
      /parts\[0\].name.*Did you mean answer/,
    );
    expect(check({ parts: [] })).toThrow(/parts/);
    expect(check({ parts: [{ name: "lean" }] })).toThrow(/parts\[0\].weight/);
    expect(check({ parts: [{ name: "lean", command: "x", weight: 1 }] })).toThrow(/parts\[0\]/);
    expect(check({ parts: [{ name: "lean", weight: 1 }], answer: 1 })).toThrow(/answer/);
    expect(check({ parts: [{ name: "lean", weight: 1 }], answerIn: "box" })).toThrow(/answerIn/);
    expect(check({ parts: [{ name: "lean", weight: 1 }], answerIn: { after: "####" } })).not.toThrow();
  });
});

describe("code", () => {
  const fence = "```";
  const programs = [
    "function add(a, b) { return a + b; }",
    `First:\n${fence}js\nfunction add() {}\n${fence}\nThat was wrong:\n${fence}ts\nfunction add(a: number, b: number): number { return a - b; }\n${fence}\nDone.`,
    "I do not know.",
  ];
  const coded = programs.map((completion) => ({
    ...samples[0],
    completion,
    row: { tests: ["add(2, 0) === 2", "add(2, 2) === four"], before: "const four = 4;\n" },
  }));
  const opened = (more: Partial<RewardSettings> = {}) =>
    openRewards({ parts: [{ name: "code", weight: 1 }], ...more }, { maxTokens: 8 });

  it("gives the share of tests that a program passes, or all or nothing", async () => {
    await using share = await opened();
    expect(await share.reward(coded, { signal })).toEqual([1, 0.5, 0]);
    await using all = await opened({ codeScoring: "all" });
    expect(await all.reward(coded, { signal })).toEqual([1, 0, 0]);
  });

  it("ends programs that do not come back, and goes on with the next", async () => {
    await using shares = await RewardModule.open(
      fileURLToPath(new URL("./code-reward-module.ts", import.meta.url)),
    );
    // A single step for the interpreter, which cannot be asked to stop in it.
    const endless = { ...coded[0], completion: "/^(a+)+$/.test('a'.repeat(60) + 'b');" };
    expect(await programReward(shares, "share", 300)([endless], { signal })).toEqual([0]);
    expect(await programReward(shares)([coded[0]], { signal })).toEqual([1]);
    const stop = new AbortController();
    setTimeout(() => stop.abort(new Error("stopped")), 50);
    await expect(programReward(shares, "share", 60_000)([endless], { signal: stop.signal })).rejects.toThrow(
      "stopped",
    );
  });

  it.each([
    [{}, /tests/],
    [{ tests: [] }, /a list of 0/],
    [{ tests: ["a", 1] }, /1 to 64 texts/],
    [{ tests: Array(65).fill("true") }, /a list of 65/],
    [{ tests: "true", before: 3 }, /before/],
  ])("asks for tests in each row: %j", (row, message) => {
    expect(() => checkRow("code", "rows.jsonl line 1", { key: null, row })).toThrow(message);
  });
});
