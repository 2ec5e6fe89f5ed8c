/** `sft` and `dpo` in processes of their own: what they say, killed at random moments, stopped, refused. */
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeModelFolder } from "../src/engine/testing-folder.ts";
import { logOf, tensorsOf } from "../src/runs/staged/testing-runs.ts";
import { writeSums } from "../src/runs/tuned/testing-runs.ts";
import { commandsIn } from "./command-process.ts";

/** Kills of each command; `KILLS=200` for a long look. */
const KILLS = Number(process.env.KILLS ?? 2);

let work: string;
let commands: ReturnType<typeof commandsIn>;
beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), "tuned-cli-"));
  commands = commandsIn(work);
  await writeModelFolder(join(work, "model"));
  writeSums(join(work, "data"), 60);
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

const common = ["--threads", "1", "--seed", "5", "--batch", "4", "--rate", "2e-3", "--save-every", "3"];
const argsOf = {
  sft: ["sft", "model", "--data", "data/chats.jsonl", "--length", "128", "--steps", "20", ...common],
  dpo: [
    "dpo",
    "model",
    "--data",
    "data/pairs.jsonl",
    "--steps",
    "16",
    ...common,
    "--beta",
    "0.3",
    "--sft",
    "0.2",
  ],
} as const;
const casesOf = {
  ...argsOf,
  lora: [...argsOf.sft, "--lora", "rank=4,alpha=8,base=q4"],
};
type Case = keyof typeof casesOf;
const commandOf = (kind: Case) => (kind === "lora" ? "sft" : kind);
const weights = async (run: string): Promise<unknown> => {
  const adapter = join(work, run, "adapter", "adapter_model.safetensors");
  return existsSync(adapter) ? readFileSync(adapter) : tensorsOf(join(work, run, "model"));
};
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe.each(["sft", "dpo", "lora"] as const)("%s", (kind) => {
  const whole = `${kind}-whole`;

  it("says what it reads, learns and leaves", async () => {
    const { code, err, out } = await commands.run(...casesOf[kind], "--out", whole);
    expect({ code, err }).toEqual({ code: 0, err: "" });
    expect(out).toMatch(/^memory {4}at most about/m);
    expect(out).toMatch(/^rows {6}5\d rows to learn, \d held out; /m);
    expect(out).toContain(kind === "dpo" ? "accuracy" : "bits/byte");
    const chat = kind === "lora" ? [join(work, "model"), "--adapter", whole] : [whole];
    expect(out).toContain(`npx deepseek-ts chat ${chat.join(" ")}`);
    const reply = await commands.start(["chat", ...chat], { input: "add 2 and 3\n" }).ended();
    expect(reply.code).toBe(0);
    expect(reply.err).toMatch(kind === "lora" ? /^adapter .* merged into the weights\n$/ : /^$/);
  });

  it(`killed ${KILLS} times at random moments and resumed gives the same bits`, async () => {
    const run = `${kind}-killed`;
    const next = () =>
      existsSync(join(work, run, "run.json"))
        ? [commandOf(kind), "--resume", run, "--threads", "1"]
        : [...casesOf[kind], "--out", run];
    for (let kill = 0; kill < KILLS; kill++) {
      if (["model", "adapter"].some((out) => existsSync(join(work, run, out))))
        rmSync(join(work, run), { recursive: true });
      const { child, ended } = commands.start(next());
      // Until it has begun to work; then anywhere in preparation, scores of the reference, steps, or the writing of a state.
      while (child.exitCode === null && !existsSync(join(work, run, "run.lock"))) {
        if (Math.random() < 0.02) break;
        await pause(5);
      }
      await pause(600 * Math.random());
      child.kill("SIGKILL");
      await ended();
    }
    const { code, err } = await commands.run(...next());
    expect({ code, err }).toEqual({ code: 0, err: "" });
    expect(await weights(run)).toEqual(await weights(whole));
    expect(logOf(join(work, run))).toEqual(logOf(join(work, whole)));
    expect(readdirSync(join(work, run, "checkpoints")).every((name) => /^step-\d+$/.test(name))).toBe(true);
  });
});

describe("an adapter that is served", () => {
  /** Starts a server and asks it once. */
  async function answerOf(...model: readonly string[]) {
    const { child, ended } = commands.start(["serve", ...model, "--port", "0", "--threads", "1"]);
    let said = "";
    const url = await new Promise<string>((resolve, reject) => {
      child.stdout.on("data", (text: string) => {
        said += text;
        const found = /http:\/\/127\.0\.0\.1:\d+/.exec(said)?.[0];
        if (found !== undefined) resolve(found);
      });
      child.on("close", (code) => reject(new Error(`serve ended with ${code}`)));
    });
    const { data } = await (await fetch(`${url}/v1/models`)).json();
    const response = await fetch(`${url}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        ...{ model: data[0].id, messages: [{ role: "user", content: "add 2 and 3" }], temperature: 0 },
        ...{ max_tokens: 8, logprobs: true },
      }),
    });
    expect(response.status).toBe(200);
    const { choices } = await response.json();
    child.kill("SIGTERM");
    const { code, err } = await ended();
    expect(code).toBe(0);
    const scores: number[] = choices[0].logprobs.content.map(({ logprob }: { logprob: number }) => logprob);
    return { text: choices[0].message.content as string, scores, err };
  }

  it("answers over HTTP as the merged model does, and not as the base", async () => {
    const more = ["--length", "128", "--steps", "60", "--batch", "4", "--rate", "1e-2", "--threads", "1"];
    const lora = ["--lora", "rank=8,alpha=16,base=f32", "--out", "taught"];
    const data = ["--data", "data/chats.jsonl"];
    expect(await commands.run("sft", "model", ...data, ...more, ...lora)).toMatchObject({ code: 0 });
    expect(await commands.run("convert", "model", "merged", "--adapter", "taught")).toMatchObject({
      code: 0,
    });
    const [base, adapted, whole] = [
      await answerOf("model"),
      await answerOf("model", "--adapter", "taught"),
      await answerOf("merged"),
    ];
    expect(adapted.err).toMatch(/adapter .* merged into the weights/);
    expect(adapted.text).toBe(whole.text);
    expect(adapted.scores).toEqual(whole.scores);
    expect(base.text).not.toBe(adapted.text);
    // Over 8-bit weights it is computed beside them.
    const beside = await answerOf("model", "--adapter", "taught", "--dtype", "q8");
    expect(beside.err).toMatch(/adapter .* beside/);
    const away = ({ scores }: { scores: readonly number[] }) => Math.abs(scores[0] - whole.scores[0]);
    expect(away(base)).toBeGreaterThan(3 * away(beside));
  });
});

describe("Ctrl-C", () => {
  it("saves, says how to go on and exits with 130", async () => {
    cpSync(join(work, "sft-whole"), join(work, "stopped"), { recursive: true });
    for (const name of ["checkpoints", "model", "metrics.jsonl"])
      rmSync(join(work, "stopped", name), { recursive: true });
    const { child, ended } = commands.start(["sft", "--resume", "stopped", "--threads", "1"]);
    while (child.exitCode === null && !existsSync(join(work, "stopped", "metrics.jsonl"))) await pause(5);
    child.kill("SIGINT");
    const { code, out } = await ended();
    expect(code).toBe(130);
    expect(out).toContain("npx deepseek-ts sft --resume stopped");
    expect((await commands.run("sft", "--resume", "stopped")).code).toBe(0);
    expect(await weights("stopped")).toEqual(await weights("sft-whole"));
  });
});

describe("wrong usage", () => {
  it.each([
    [["sft"], 2, "no model given"],
    [["sft", "model"], 1, "no data to learn from"],
    [["sft", "model", "--data", "none.jsonl"], 1, "neither a file or folder here nor the name of a data set"],
    [["sft", "model", "--data", "data/pairs.jsonl"], 1, "pairs.jsonl line 1: not a row of this kind of data"],
    [
      ["sft", "model", "--data", "data/chats.jsonl", "--steps", "2", "--epochs", "3"],
      1,
      "several lengths of the run",
    ],
    [["sft", "model", "--data", "data/chats.jsonl", "--length", "100000"], 1, "at most 512"],
    [["dpo", "model", "--data", "data/pairs.jsonl", "--label-smoothing", "0.6"], 2, "below 0.5"],
    [
      ["dpo", "model", "--data", "data/pairs.jsonl", "--loss", "ipo", "--label-smoothing", "0.1"],
      1,
      "only the sigmoid loss has label smoothing",
    ],
    [["dpo", "--resume", "sft-whole"], 2, "the run is one of `deepseek-ts sft`"],
    [["train", "--resume", "sft-whole"], 2, "the run is one of `deepseek-ts sft`"],
    [["sft", "--resume", "sft-whole", "--rate", "1"], 2, "remove rate"],
    [["sft", "model", "--data", "data/chats.jsonl", "--lora", "rank=4,dropout=0.1"], 2, "without dropout"],
    [["sft", "model", "--data", "data/chats.jsonl", "--lora", "targets=qproj"], 1, "Did you mean"],
    [
      ["sft", "model", "--data", "data/chats.jsonl", "--lora", "rank=4", "--dtype", "bf16"],
      1,
      "saved in f32",
    ],
    [["complete", "lora-whole", "hi"], 1, "this is an adapter"],
    [["complete", "model", "hi", "--adapter", "data"], 1, "no adapter there"],
    [
      ["sft", "model", "--data", "data/chats.jsonl", "--out", "sft-whole"],
      1,
      "the run folder already exists",
    ],
  ])("%j", async (args, status, message) => {
    const { code, err } = await commands.run(...args);
    expect(err).toContain(message);
    expect(code).toBe(status);
  });
});
