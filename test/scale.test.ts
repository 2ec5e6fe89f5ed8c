/** `deepseek-ts scale` end to end: a sweep that is killed, or that processes share, gives what one process gives at once. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { redisProgram, startRedis } from "../src/jobs/testing-redis.ts";
import { writeTexts } from "../src/scaling/testing-sweep.ts";
import { Random } from "../src/tensor/random.ts";
import { commandsIn } from "./command-process.ts";

/** Kills of a sweep; `KILLS=100` for a long look. */
const KILLS = Number(process.env.KILLS ?? 2);

const work = mkdtempSync(join(tmpdir(), "scale-"));
const { run, start } = commandsIn(work);
const random = new Random(Number(process.env.PROPERTY_SEED) || 5);

const settings = {
  run: {
    vocabSize: 300,
    data: { heldOut: 0.2, nearDuplicates: null },
    training: { sequenceLength: 16, evaluateSequences: 50 },
  },
  seeds: [1],
  ladder: [
    { width: 8, layers: 1 },
    { width: 8, layers: 2 },
    { width: 16, layers: 1 },
  ],
  ...{ budgets: [4e7, 8e7, 1.6e8], sizesPerBudget: 3, warmupSteps: 5 },
  expected: { coefficient: 2.5, exponent: 0.52 },
  grid: { budgets: [4e7, 8e7], learningRates: [0.5, 1], batches: [0.5] },
};

/** Results of a sweep without times. */
function results(folder: string): Record<string, unknown> {
  const names = readdirSync(join(work, folder, "results")).sort();
  return Object.fromEntries(
    names.map((name) => {
      const {
        seconds: _,
        sha256: __,
        ...rest
      } = JSON.parse(readFileSync(join(work, folder, "results", name), "utf8"));
      return [name, rest];
    }),
  );
}

async function plan(out: string): Promise<void> {
  const { code, out: text } = await run("scale", "plan", "texts", "--config", "scale.json", "--out", out);
  expect(code).toBe(0);
  expect(text).toMatch(/in all: 13 runs, C \S+; without shared steps/);
}

/** Kills a run some time after it has begun to train. */
async function killed(folder: string): Promise<void> {
  const { child, ended } = start(["scale", "run", folder, "--parallel", "2"]);
  const end = ended();
  await Promise.race([
    end,
    new Promise((begun) => child.stderr.on("data", (text) => /: \d+ runs/.test(text) && begun(null))),
  ]);
  await wait(random.uniform() * 1500);
  child.kill("SIGKILL");
  await end;
}

beforeAll(async () => {
  writeTexts(join(work, "texts"));
  writeFileSync(join(work, "scale.json"), JSON.stringify(settings));
  await plan("whole");
  const { code, out, err } = await run("scale", "run", "whole", "--parallel", "2");
  expect({ code, out }).toMatchObject({ code: 0, out: expect.stringMatching(/all runs are done/) });
  expect(err).toMatch(/grid: 4 runs/);
  expect(err).toMatch(/9 of 9 {2}\S+ at C/);
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

describe("deepseek-ts scale", () => {
  it("gives the same results however often it is interrupted or killed", async () => {
    await plan("killed");
    const { child, ended } = start(["scale", "run", "killed"]);
    child.stderr.on("data", (text) => /: \d+ runs/.test(text) && child.kill("SIGINT"));
    const { code, err } = await ended();
    expect(code).toBe(130);
    expect(err).toMatch(
      /finishing steps and saving.*\n.*stopped and saved\. Continue with:\n.*scale run killed/s,
    );
    for (let kill = 0; kill < KILLS; kill++) await killed("killed");
    expect(await run("scale", "run", "killed")).toMatchObject({ code: 0 });
    expect(Object.keys(results("killed"))).toHaveLength(13);
    expect(results("killed")).toEqual(results("whole"));
  });

  it.skipIf(redisProgram === null)("shares a sweep among processes", async () => {
    using redis = await startRedis();
    await plan("shared");
    const args = ["scale", "run", "shared", "--queue", redis.url];
    const both = [start(args), start(args)];
    for (const each of both) expect(await each.ended()).toMatchObject({ code: 0 });
    expect(results("shared")).toEqual(results("whole"));
  });

  it("fits what is there, and refuses what it does not take", async () => {
    const fit = await run("scale", "fit", "whole", "--json");
    const { budgets, problems, missing } = JSON.parse(fit.out);
    expect(budgets).toHaveLength(3);
    expect(missing).toBe(0);
    expect(fit.code).toBe(problems.length > 0 && JSON.parse(fit.out).lossLaw === null ? 1 : 0);
    const refused = await run("scale", "fit", "whole", "--parallel", "2");
    expect(refused).toMatchObject({ code: 2, err: expect.stringMatching(/fit takes no --parallel/) });
    const nothing = await run("scale", "run", "whole", "--target", "1e9");
    expect(nothing).toMatchObject({
      code: 1,
      err: expect.stringMatching(/^error: whole: nothing was predicted/),
    });
    const none = await run("scale", "run", "texts");
    expect(none).toMatchObject({ code: 1, err: expect.stringMatching(/scale plan makes one/) });
  });
});
