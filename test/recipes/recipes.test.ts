/** Recipes run from end to end in a few steps, can be stopped and go on, and write what they came to. */
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { missing } from "../lean/embedded-lean.ts";

const root = join(import.meta.dirname, "..", "..");
const MINUTE = 60_000;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "recipes-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Runs a recipe; `stopAt` ends it with SIGINT when its output shows this. */
function run(recipe: string, args: readonly string[], stopAt?: RegExp) {
  return new Promise<{ status: number | null; output: string }>((resolve, reject) => {
    const child = spawn(process.execPath, [join(root, "recipes", recipe, "recipe.ts"), ...args], {
      cwd: folder,
    });
    let output = "";
    let stopped = false;
    const read = (data: Buffer) => {
      output += data.toString();
      if (stopAt?.test(output) && !stopped) {
        stopped = true;
        child.kill("SIGINT");
      }
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.on("error", reject);
    child.on("close", (status) => resolve({ status, output }));
  });
}

describe.each(["vl", "vl2"])("recipe %s", (recipe) => {
  const small = (...more: string[]) => ["--small", "--state", join(folder, recipe), ...more];

  it("stops when asked, goes on, and tells its scores", { timeout: 20 * MINUTE }, async () => {
    const first = await run(recipe, small(), /stage-2: step 1/);
    expect(first.output).toMatch(/stopped and saved at step/);
    expect(first.status).toBe(130);
    const second = await run(recipe, small());
    expect(second.output).toMatch(/goes on at step/);
    expect(second.status).toBe(0);
    const last = JSON.parse(second.output.split("\n").find((line) => line.startsWith('{"recipe"'))!);
    expect(last.results.length).toBeGreaterThan(3);
    const lines = (await readFile(join(folder, recipe, "results.jsonl"), "utf8")).trim().split("\n");
    for (const line of lines) {
      const { scores, stages } = JSON.parse(line);
      // Arms that share what reads single views have no stages before these.
      expect(Object.keys(stages).slice(-2)).toEqual(["stage-2", "stage-3"]);
      for (const { right, of } of Object.values<{ right: number; of: number }>(scores)) {
        expect(of).toBeGreaterThan(0);
        expect(right).toBeLessThanOrEqual(of);
      }
      expect(Object.keys(scores)).toContain("language");
    }
    const page = await readFile(join(folder, recipe, "RESULTS.md"), "utf8");
    // Seeds 2 and 3 were not run.
    expect(page).toMatch(/## Not decided/);
    expect(page).toMatch(/\| tiling reads|\| the hybrid tower reads/);
    expect(await readFile(join(folder, recipe, "results.svg"), "utf8")).toMatch(/^<svg/);
  });

  it("refuses what it does not know", { timeout: 2 * MINUTE }, async () => {
    const wrong = await run(recipe, small("--arm", "nothing"));
    expect(wrong.status).not.toBe(0);
    expect(wrong.output).toMatch(/--arm: expected .*found "nothing"/);
    expect((await run(recipe, small("--seed", "0"))).output).toMatch(/--seed: expected whole numbers/);
    expect((await run(recipe, small("--minutes", "-1"))).output).toMatch(/--minutes: expected more than 0/);
  });
});

describe("recipes on text", () => {
  const resultsOf = async (state: string) =>
    (await readFile(join(state, "results.jsonl"), "utf8"))
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));

  it("a stopped arm ends where one that ran through does", { timeout: 10 * MINUTE }, async () => {
    const at = (name: string) => join(folder, `text-${name}`, "schedule");
    const args = (name: string) => [
      "--small",
      "--threads",
      "1",
      "--arm",
      "cosine,cosine-continued",
      "--seed",
      "1",
      "--state",
      at(name),
    ];
    const stopped = await run("schedule", args("stopped"), /cosine-1: step 1 of/);
    expect(stopped.status).toBe(130);
    expect(stopped.output).toMatch(/stopped and saved at step/);
    expect((await run("schedule", args("stopped"))).output).toMatch(/goes on at step/);
    expect((await run("schedule", args("whole"))).status).toBe(0);
    const [first, second] = [await resultsOf(at("stopped")), await resultsOf(at("whole"))];
    expect(first.map(({ figures }) => figures)).toEqual(second.map(({ figures }) => figures));
    expect(first[1].figures.tokens).toBe(2 * first[0].figures.tokens);
  });

  it.each(["infilling", "experts", "multi-token", "precision", "attention", "repository"])(
    "%s runs from end to end",
    { timeout: 10 * MINUTE },
    async (recipe) => {
      const state = join(folder, "text", recipe);
      const { status } = await run(recipe, ["--small", "--threads", "1", "--seed", "1", "--state", state]);
      expect(status).toBe(0);
      for (const { figures, items, data } of await resultsOf(state)) {
        expect(figures.loss).toBeGreaterThan(1);
        // Less than chance over 320 tokens.
        expect(figures.loss).toBeLessThan(Math.log(320));
        const mean = items.loss.reduce((a: number, b: number) => a + b) / items.loss.length;
        expect(mean).toBeCloseTo(figures.loss, 3);
        expect(data.hash).toMatch(/^[0-9a-f]{64}$/);
      }
      const page = await readFile(join(state, "RESULTS.md"), "utf8");
      expect(page).toMatch(/\| not decided: .*one seed/);
    },
  );

  it.each([
    ["format", "answers.json"],
    ["addition", "answers.json"],
  ])(
    "%s: arms go on from one tuned model and one set of its answers",
    { timeout: 10 * MINUTE },
    async (recipe, kept) => {
      const state = join(folder, "text", recipe);
      const { status } = await run(recipe, ["--small", "--threads", "1", "--seed", "1", "--state", state]);
      expect(status).toBe(0);
      const results = await resultsOf(state);
      expect(results[0].arm).toBe("sft");
      for (const { arm, scores, stages } of results) {
        expect(scores["greedy pass@1"].of, arm).toBe(8);
        expect(Object.values<{ steps: number }>(stages)[0].steps, arm).toBeGreaterThan(3);
      }
      const answers = JSON.parse(await readFile(join(state, "shared-1", kept), "utf8"));
      expect(answers).toHaveLength(24);
      expect((await run(recipe, ["--minutes", "1"])).output).toMatch(/unknown option '--minutes'/);
    },
  );

  it("context: arms stretch positions of one model, tuned or not", { timeout: 10 * MINUTE }, async () => {
    const state = join(folder, "text", "context");
    const { status } = await run("context", ["--small", "--threads", "1", "--seed", "1", "--state", state]);
    expect(status).toBe(0);
    const results = await resultsOf(state);
    const named = Object.fromEntries(results.map((each) => [each.arm, each]));
    expect(Object.keys(named.base.scores)).toEqual(["within", "2 times"]);
    expect(named.base.stages.base.steps).toBe(6);
    expect(named["yarn-tuned"].stages.tuned.steps).toBe(3);
    expect(named.yarn.figures["ramp from pair"]).toBeLessThan(named.yarn.figures["ramp to pair"]);
    expect(named.linear.figures).toEqual({});
  });

  it("rewards that are checked: stopped and resumed to the same answers", {
    timeout: 10 * MINUTE,
  }, async () => {
    const at = (name: string) => join(folder, `text-${name}`, "countdown");
    const args = (name: string) => [
      "--small",
      "--threads",
      "1",
      "--arm",
      "grpo",
      "--seed",
      "1",
      "--state",
      at(name),
    ];
    const stopped = await run("countdown", args("stopped"), /grpo: step 1,/);
    expect(stopped.output).toMatch(/grpo: stopped and saved at step [1-7];/);
    expect((await run("countdown", args("stopped"))).output).toMatch(/grpo: goes on at step/);
    expect((await run("countdown", args("whole"))).status).toBe(0);
    const [[first], [second]] = [await resultsOf(at("stopped")), await resultsOf(at("whole"))];
    expect(first.figures).toEqual(second.figures);
    expect(first.items).toEqual(second.items);
    expect(Object.keys(first.scores)).toEqual(["greedy pass@1", "sampled pass@1", "pass@8"]);
  });

  it("the bias balances experts", { timeout: 10 * MINUTE }, async () => {
    const state = join(folder, "text", "balance");
    const arms = ["--arm", "none,bias-5e-3"];
    await run("balance", ["--small", "--threads", "1", "--seed", "1", ...arms, "--state", state]);
    const [none, bias] = await resultsOf(state);
    expect(bias.figures["MaxVio held out"]).toBeLessThan(none.figures["MaxVio held out"]);
  });
});

describe.each(["janus", "janusflow"])("recipe %s", (recipe) => {
  it("draws after a short run, which stops when asked and goes on", { timeout: 20 * MINUTE }, async () => {
    const small = ["--small", "--minutes", "0.3", "--state", join(folder, recipe)];
    const first = await run(recipe, small, /stage-1: step 1 /);
    expect(first.output).toMatch(/stopped and saved at step/);
    expect(first.status).toBe(130);
    const second = await run(recipe, small);
    expect(second.output).toMatch(/goes on at step/);
    expect(second.status).toBe(0);
    const { arm, scores, figures, pictures } = JSON.parse(
      await readFile(join(folder, recipe, "results.jsonl"), "utf8"),
    );
    expect(arm).toBe("small");
    for (const name of ["strict", "loose", "strict chance", "single loose", "color strict", "questions"]) {
      expect(scores[name].of, name).toBeGreaterThan(0);
    }
    expect(scores.strict.of).toBe(24);
    expect(figures["seconds a picture"]).toBeGreaterThan(0);
    const sheet = await readFile(join(folder, recipe, pictures.drawn));
    expect(sheet.subarray(1, 4).toString()).toBe("PNG");
    const page = await readFile(join(folder, recipe, "RESULTS.md"), "utf8");
    expect(page).toContain(`](${pictures.drawn})`);
  });
});

describe.skipIf(missing !== null)(`recipe prover ${missing ?? ""}`, () => {
  it("stops when asked, goes on, and searches with one model", { timeout: 20 * MINUTE }, async () => {
    const args = ["--small", "--arm", "sample-16,rmaxts-16,rl", "--state", join(folder, "prover")];
    const first = await run("prover", args, /taught-\d+: step 1 /);
    expect(first).toMatchObject({ status: 130, output: expect.stringMatching(/the same command goes on/) });
    expect((await run("prover", args)).status).toBe(0);
    const lines = (await readFile(join(folder, "prover", "results.jsonl"), "utf8")).trim().split("\n");
    const results = lines.map((line) => JSON.parse(line));
    expect(results.map(({ arm }) => arm)).toEqual(["sample-16", "rmaxts-16", "rl"]);
    // The first generation is the same in all searches.
    expect(results[0].items["solved@1"]).toEqual(results[1].items["solved@1"]);
    for (const { scores, figures } of results.slice(0, 2)) {
      expect(Object.keys(scores).sort()).toEqual(["solved@1", "solved@4"]);
      expect(scores["solved@4"].of).toBe(14);
      expect(figures.generations).toBeLessThanOrEqual(4 * 14);
    }
    expect(results[2].stages.policy.steps).toBe(2);
    expect(results[2].scores["pass@1"].of).toBe(14);
  });
});

describe("recipe scaling", () => {
  it("stops when asked, goes on, and gives a verdict on each claim", { timeout: 30 * MINUTE }, async () => {
    const args = ["--small", "--state", join(folder, "scaling")];
    const first = await run("scaling", args, /grid-\S+: \d/);
    expect(first).toMatchObject({ status: 130, output: expect.stringMatching(/stopped and saved/) });
    const second = await run("scaling", args);
    expect(second.status).toBe(0);
    const { fit, verdicts } = JSON.parse(await readFile(join(folder, "scaling", "results.json"), "utf8"));
    expect(fit.missing).toBe(0);
    expect(fit.diverged).toEqual([]);
    // Each budget has its minimum or says why not.
    for (const { verdict } of fit.budgets) expect(["ok", "outside", "not convex"]).toContain(verdict);
    expect(verdicts).toHaveLength(2);
    for (const { verdict } of verdicts) expect(second.output).toContain(verdict);
  });
});
