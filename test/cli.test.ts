/** The program as people start it: every command in its own process. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  cpSync,
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
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Random } from "../src/tensor/random.ts";
import { type CommandInput, commandsIn, type EndedCommand, main } from "./command-process.ts";

const fixtures = fileURLToPath(new URL("./fixtures/", import.meta.url));
const work = mkdtempSync(join(tmpdir(), "deepseek-ts-cli-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));

const { start } = commandsIn(work, { DEBUG: "" });
const run = (args: readonly string[], options?: CommandInput) => start(args, options).ended();

/** Settings of a run of a few seconds. */
const tiny = {
  preset: "v3-small",
  vocabSize: 300,
  model: {
    hidden_size: 32,
    num_hidden_layers: 2,
    intermediate_size: 64,
    moe_intermediate_size: 16,
    n_routed_experts: 4,
    num_experts_per_tok: 2,
    n_group: 2,
    topk_group: 1,
    num_attention_heads: 2,
    num_key_value_heads: 2,
    q_lora_rank: 16,
    kv_lora_rank: 16,
    qk_nope_head_dim: 8,
    qk_rope_head_dim: 8,
    v_head_dim: 8,
    max_position_embeddings: 256,
  },
  data: { heldOut: 0.2, fimRate: 0.5 },
  training: {
    steps: 12,
    sequenceLength: 32,
    batch: { size: 2 },
    saveEvery: 3,
    evaluateEvery: 4,
    evaluateSequences: 4,
  },
};

const train = (out: string) => ["train", "texts", "--config", "tiny.json", "--out", out, "--threads", "2"];
const resume = (out: string) => ["train", "--resume", out, "--threads", "2"];
const weights = (out: string) => readFileSync(join(work, out, "model", "model.safetensors"));

/** One line per step and per evaluation, none twice, losses the same as in another run. */
function metrics(out: string): { kind: string; step: number; loss: number }[] {
  const lines = readFileSync(join(work, out, "metrics.jsonl"), "utf8")
    .trimEnd()
    .split("\n");
  return lines.map((line) => {
    const { kind, step, loss } = JSON.parse(line);
    return { kind, step, loss };
  });
}

/** Resolves once the run's metrics hold step `step`. */
async function reached(out: string, step: number, child: ChildProcess): Promise<void> {
  const path = join(work, out, "metrics.jsonl");
  while (child.exitCode === null) {
    if (existsSync(path) && readFileSync(path, "utf8").includes(`"step":${step},`)) return;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

beforeAll(async () => {
  const random = new Random(5);
  const names = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"];
  mkdirSync(join(work, "texts"));
  for (let file = 0; file < 20; file++) {
    const lines = Array.from({ length: 30 }, () => {
      const [a, b, c] = [0, 0, 0].map(() => names[random.int(names.length)]);
      return `export const ${a}_${random.int(100)} = ${b}(${c}, ${random.int(1000)});`;
    });
    writeFileSync(join(work, "texts", `file-${file}.ts`), `${lines.join("\n")}\n`);
  }
  writeFileSync(join(work, "tiny.json"), JSON.stringify(tiny));
  const { code, err } = await run(train("whole"));
  expect({ code, err }).toEqual({ code: 0, err: "" });
});

/** Command lines that load no model, one after the other in one process: what they say does not depend on how they start. */
async function inOneProcess(lines: readonly (readonly string[])[]): Promise<EndedCommand[]> {
  const program = commandsIn(work, { DEBUG: "", COLUMNS: "80" }, [
    fileURLToPath(new URL("command-lines.ts", import.meta.url)),
  ]);
  const { code, out, err } = await program.start([], { input: JSON.stringify(lines) }).ended();
  expect({ code, err }).toEqual({ code: 0, err: "" });
  return JSON.parse(out);
}

describe("usage", () => {
  it("has help with examples for every command", async () => {
    const names = [
      ...["train", "complete", "fill", "check-parity", "inspect", "demo", "sft", "dpo", "grpo", "evaluate"],
      ...["chat", "ask", "ground", "draw", "serve", "download", "quantize", "convert", "bench", "completion"],
      ...["prove", "synthesize", "prover-worker"],
    ];
    const ended = await inOneProcess(names.map((name) => [name, "--help"]));
    for (const [i, { code, out, err }] of ended.entries()) {
      expect({ code, err }, names[i]).toEqual({ code: 0, err: "" });
      expect(
        out.split("\n").filter((line) => line.length > 80),
        names[i],
      ).toEqual([]);
      expect(out).toContain(`Usage: deepseek-ts ${names[i]}`);
      expect(out).toMatch(new RegExp(`Examples:\\n  .*deepseek-ts ${names[i]}`));
    }
  });

  it("says its version, the package's, and shows help, in a process of its own", async () => {
    const { out } = await run(["--version"]);
    expect(out.trim()).toBe(
      JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")).version,
    );
    const { code, out: help, err } = await run(["prove", "--help"], { env: { COLUMNS: "80" } });
    expect({ code, err }).toEqual({ code: 0, err: "" });
    expect(help).toContain("Usage: deepseek-ts prove");
  });

  it("ends with exit status 2 where it is wrong", async () => {
    const cases = [
      [["complete", "x", "y", "--tempreature", "1"], "unknown option '--tempreature'"],
      [["complete", "x", "y", "--max-tokens", "0"], "Expected an integer, 1 or more"],
      [["finish"], "unknown command 'finish'"],
      [["train"], "no folder given"],
      [["train", "texts", "--steps", "2", "--seconds", "2"], "mutually exclusive"],
      [["train", "--resume", "whole", "--seed", "2"], "remove seed"],
      [["fill", "whole"], "--prefix and --suffix, or --file and --at"],
    ] as const;
    const ended = await inOneProcess(cases.map(([args]) => args));
    for (const [i, [args, message]] of cases.entries()) {
      const { code, out, err } = ended[i];
      expect({ code, out }, args.join(" ")).toEqual({ code: 2, out: "" });
      expect(err).toContain(message);
    }
    // As a process, too.
    expect(await run(["finish"])).toMatchObject({ code: 2, out: "" });
  });

  it("fails in one line", async () => {
    const cases = [
      [["complete", "nowhere", "x"], "nowhere: neither an existing file or folder"],
      [["train", "texts", "--preset", "huge"], "no such preset"],
      [["train", "texts", "--config", "tiny.json", "--out", "whole"], "the run folder already exists"],
      [["train", "nowhere"], "no such folder or file"],
      [["train", "--resume", "texts"], "Is this the folder of a training run?"],
      [["fill", "whole", "--file", "texts/file-0.ts", "--at", "99:1"], "the file has fewer lines"],
    ] as const;
    const ended = await inOneProcess(cases.map(([args]) => args));
    ended.push(await run(["complete", "whole", ""]));
    for (const [i, message] of [...cases.map(([, each]) => each), "the prompt is empty"].entries()) {
      const { code, err } = ended[i];
      expect(err).toContain(message);
      expect(err.trimEnd().split("\n")).toHaveLength(1);
      expect(code, message).toBe(1);
    }
  });

  it("names the file and the next step", async () => {
    writeFileSync(join(work, "list.json"), "[1]");
    writeFileSync(join(work, "ext.json"), '{"data": {"extensions": [1]}}');
    writeFileSync(join(work, "latin.json"), Buffer.from('{"\xe9": 1}', "latin1"));
    const cases = [
      [["train", "nowhere"], /^error: nowhere: no such folder or file\. Pass/],
      [["train", "texts", "--config", "list.json"], /^error: list\.json: .*object/],
      [["train", "texts", "--config", "ext.json"], /^error: ext\.json: .*name: data\.extensions/],
      [["train", "texts", "--config", "none.json"], /^error: none\.json: /],
      [["bench", "--shape", "list.json"], /^error: list\.json: not a model configuration/],
      [
        ["bench", "--shape", "latin.json"],
        /^error: latin\.json: not UTF-8 text; found: 0xE9 at byte 2 \(line 1/,
      ],
      [["bench", "--shape", "none.json"], /^error: none\.json: no such file or folder\. Check the path\.\n$/],
      [["fill", "nowhere", "--prefix", "@latin.json", "--suffix", "x"], /^error: latin\.json: not UTF-8/],
      [["convert", "nowhere", "x.gguf"], /^error: nowhere: neither/],
    ] as const;
    const ended = await inOneProcess(cases.map(([args]) => args));
    for (const [i, [, message]] of cases.entries()) {
      const { code, err } = ended[i];
      expect(err).toMatch(message);
      expect(err).not.toContain("not foreseen");
      expect(code).toBe(1);
    }
  });

  it("shows the stack with DEBUG=1", async () => {
    const { code, err } = await run(["inspect", "nowhere"], { env: { DEBUG: "1" } });
    expect(code).toBe(1);
    expect(err).toMatch(/\n\s+at .*open-model\.ts/);
  });
});

describe("train", () => {
  it("tells what it made", async () => {
    expect(
      metrics("whole")
        .filter(({ kind }) => kind === "step")
        .map(({ step }) => step),
    ).toEqual(Array.from({ length: 12 }, (_, i) => i + 1));
    expect(readdirSync(join(work, "whole", "model")).sort()).toEqual([
      ".deepseek-ts.json",
      "config.json",
      "model.safetensors",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
  });

  it("killed at a random moment and resumed gives the same bits", async () => {
    const step = 1 + Math.floor(Math.random() * 10);
    const { child, ended } = start(train("killed"));
    await reached("killed", step, child);
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 30));
    child.kill("SIGKILL");
    const first = await ended();
    if (first.code === null) expect(first.signal).toBe("SIGKILL");
    const { code, err, out } = await run(resume("killed"));
    expect({ code, err }).toEqual({ code: 0, err: "" });
    expect(out).toContain("peak memory");
    expect(weights("killed").equals(weights("whole")), `killed after step ${step}`).toBe(true);
    expect(metrics("killed")).toEqual(metrics("whole"));
    expect(readdirSync(join(work, "killed", "checkpoints")).every((name) => /^step-\d+$/.test(name))).toBe(
      true,
    );
  });

  it("Ctrl-C saves, says how to go on and exits with 130; the rest gives the same bits", async () => {
    const { child, ended } = start(train("stopped"));
    await reached("stopped", 2, child);
    child.kill("SIGINT");
    const { code, out, err } = await ended();
    expect({ code, err }).toEqual({ code: 130, err: "" });
    expect(out).toContain("npx deepseek-ts train --resume stopped");
    const saved = readdirSync(join(work, "stopped", "checkpoints")).sort();
    const steps = metrics("stopped").filter(({ kind }) => kind === "step");
    expect(saved.at(-1)).toBe(`step-${String(steps.length).padStart(8, "0")}`);
    // A run that still trains can be used already.
    const early = await run(["complete", "stopped", "export ", "--max-tokens", "4", "--json"]);
    expect(early.code).toBe(0);
    expect((await run(resume("stopped"))).code).toBe(0);
    expect(weights("stopped").equals(weights("whole"))).toBe(true);
    expect(metrics("stopped")).toEqual(metrics("whole"));
  });

  it.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)(
    "answers %s within a long step, takes a second one with it as the same, and saves",
    async (signal) => {
      const out = `long-${signal}`;
      const long = {
        ...tiny,
        model: { ...tiny.model, num_hidden_layers: 16, hidden_size: 64 },
        training: { ...tiny.training, sequenceLength: 256, batch: { size: 16 } },
      };
      writeFileSync(join(work, "long.json"), JSON.stringify(long));
      const { child, ended } = start([
        "train",
        "texts",
        "--config",
        "long.json",
        "--out",
        out,
        "--threads",
        "1",
      ]);
      await reached(out, 1, child);
      const logged = () => metrics(out).filter(({ kind }) => kind === "step").length;
      const before = logged();
      const noted = new Promise<void>((resolve) => {
        // The line of the step before may still be on its way.
        child.stdout.on(
          "data",
          (text: string) => text.includes("finishing this step and saving") && resolve(),
        );
      });
      child.kill(signal);
      child.kill(signal);
      await noted;
      expect(logged()).toBe(before);
      const { code, err } = await ended();
      expect({ code, err }).toEqual({ code: { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 }[signal], err: "" });
      expect(readdirSync(join(work, out, "checkpoints"))).toEqual([
        `step-${String(logged()).padStart(8, "0")}`,
      ]);
    },
  );

  it("saves where nobody reads its output any more", async () => {
    const long = { ...tiny, training: { ...tiny.training, steps: 40, batch: { size: 64 } } };
    writeFileSync(join(work, "unread.json"), JSON.stringify(long));
    const { child, ended } = start(["train", "texts", "--config", "unread.json", "--out", "unread"]);
    await reached("unread", 1, child);
    child.stdout.destroy();
    expect(await ended()).toMatchObject({ code: 141, err: "" });
    const steps = metrics("unread").filter(({ kind }) => kind === "step").length;
    expect(steps).toBeLessThan(40);
    expect(readdirSync(join(work, "unread", "checkpoints")).at(-1)).toBe(
      `step-${String(steps).padStart(8, "0")}`,
    );
  });

  it("refuses a second process on the same run, by the number of the first", async () => {
    const { child, ended } = start(train("shared"));
    await reached("shared", 1, child);
    child.kill("SIGSTOP");
    const second = await run(resume("shared"));
    expect(second.code).toBe(1);
    expect(second.err).toContain(`the run is being trained by process ${child.pid}`);
    child.kill("SIGCONT");
    expect((await ended()).code).toBe(0);
    expect(metrics("shared")).toEqual(metrics("whole"));
  });

  it("another seed gives other weights", async () => {
    const { code } = await run([...train("seeded"), "--seed", "9"]);
    expect(code).toBe(0);
    expect(weights("seeded").equals(weights("whole"))).toBe(false);
  });
});

describe.concurrent("generation", () => {
  const prompt = "export const alpha_1 = ";
  const complete = (...more: string[]) => run(["complete", "whole", prompt, "--max-tokens", "24", ...more]);
  let greedy: Promise<EndedCommand>;
  beforeAll(() => {
    greedy = complete();
  });

  it("completes, the same with the same seed, from an argument or standard input", async () => {
    const sampled = ["--temperature", "1", "--seed", "3"];
    const first = await complete(...sampled);
    expect({ code: first.code, err: first.err }).toEqual({ code: 0, err: "" });
    expect(first.out.length).toBeGreaterThan(0);
    expect((await complete(...sampled)).out).toBe(first.out);
    expect((await complete("--temperature", "1", "--seed", "4")).out).not.toBe(first.out);
    const piped = await run(["complete", "whole", "-", "--max-tokens", "24", ...sampled], { input: prompt });
    expect(piped.out).toBe(first.out);
  });

  it("speculative decoding writes what plain greedy decoding writes", async () => {
    const plain = await greedy;
    const drafted = await complete("--speculative", "--stats");
    expect(drafted.out).toBe(plain.out);
    expect(drafted.err).toMatch(/drafts accepted: \d+ of \d+ \(\d+\.\d%\)/);
  });

  it("--json writes one object", async () => {
    const { out } = await complete("--json");
    const result = JSON.parse(out);
    expect(result.text).toBe((await greedy).out);
    expect(result.stats.generatedTokens).toBeLessThanOrEqual(24);
  });

  it("--stop ends before the text", async () => {
    const { out } = await greedy;
    const stop = out.slice(3, 5);
    expect((await complete("--stop", stop)).out).toBe(out.slice(0, out.indexOf(stop)));
  });

  it("refuses more than the context holds", async () => {
    const { code, err } = await run(["complete", "whole", prompt, "--max-tokens", "1000"]);
    expect(code).toBe(1);
    expect(err).toContain("max_position_embeddings = 256");
  });

  it("fills in, at a place of a file too, however long", async () => {
    const options = ["--max-tokens", "16", "--temperature", "1", "--seed", "2"];
    const whole = [
      "fill",
      "whole",
      "--prefix",
      "export const ",
      "--suffix",
      "(eta, 3);\n",
      "--whole",
      ...options,
    ];
    const first = await run(whole);
    expect({ code: first.code, err: first.err }).toEqual({ code: 0, err: "" });
    expect(first.out).toMatch(/^export const [\s\S]*\(eta, 3\);\n$/);
    expect((await run(whole)).out).toBe(first.out);
    writeFileSync(join(work, "suffix.txt"), "(eta, 3);\n");
    const fromFile = whole.map((arg) => (arg === "(eta, 3);\n" ? "@suffix.txt" : arg));
    expect((await run(fromFile)).out).toBe(first.out);
    const file = join(work, "texts", "file-1.ts");
    const text = readFileSync(file, "utf8");
    const placed = await run(["fill", "whole", "--file", file, "--at", "20:14", "--whole", ...options]);
    expect({ code: placed.code, err: placed.err }).toEqual({ code: 0, err: "" });
    const at = text.split("\n").slice(0, 19).join("\n").length + 1 + 13;
    expect(placed.out.startsWith(text.slice(0, at))).toBe(true);
    expect(placed.out.endsWith(text.slice(at))).toBe(true);
  });

  it("is quiet when the reader goes away", async () => {
    const { child, ended } = start(["complete", "whole", prompt, "--max-tokens", "150"]);
    child.stdout.destroy();
    const { code, err } = await ended();
    expect({ code, err }).toEqual({ code: 0, err: "" });
  });

  it.skipIf(process.platform !== "linux")("says in one line that the output cannot be written", async () => {
    for (const args of [["complete", "whole", prompt], ["inspect", "whole"], ["--help"]]) {
      const command = `exec "$0" "$@" > /dev/full`;
      const child = spawn("/bin/sh", ["-c", command, process.execPath, main, ...args], { cwd: work });
      let err = "";
      child.stderr.setEncoding("utf8").on("data", (text: string) => (err += text));
      child.stdin.end();
      const [code] = await once(child, "close");
      expect(err).toMatch(/^error: standard output: the disk is full\..*\n$/);
      expect(code).toBe(1);
    }
  });

  it("inspects", async () => {
    const { code, out } = await run(["inspect", "whole"]);
    expect(code).toBe(0);
    expect(out).toContain("deepseek_v3");
    // Two layers of 16 + 8 floats against two heads of 8 + 8 + 8.
    expect(out).toContain("192 bytes per token (float32); multi-head attention would need 384 bytes (2.0x)");
    const json = JSON.parse((await run(["inspect", "whole", "--json"])).out);
    expect(json.bytesByDtype).toEqual({ F32: json.bytes });
  });
});

describe("quantized and converted", () => {
  const prompt = "export const alpha_1 = ";
  const complete = (model: string) => run(["complete", model, prompt, "--max-tokens", "16", "--json"]);

  it("quantizes with a report, opens what it saved, and converts it to GGUF and back", async () => {
    const report = await run(["quantize", "whole", "whole-q8", "--dtype", "q8", "--report", "--json"]);
    expect({ code: report.code, err: report.err }).toEqual({ code: 0, err: "" });
    const { bitsPerWeight, perplexityBefore, perplexityAfter, meanKl } = JSON.parse(report.out);
    expect(bitsPerWeight).toBeGreaterThan(8.5);
    expect(Math.abs(perplexityAfter / perplexityBefore - 1)).toBeLessThan(0.02);
    expect(meanKl).toBeLessThan(0.01);

    const saved = await complete("whole-q8");
    expect({ code: saved.code, err: saved.err }).toEqual({ code: 0, err: "" });
    const q4 = await run(["quantize", "whole", "whole-q4"]);
    expect(q4.code).toBe(0);
    expect(q4.out).toMatch(/^saved {7}whole-q4: \d/);

    const leftOut =
      /^left out {4}multi-token-prediction layers \(\d+ tensors\): GGUF has no place for them\n$/;
    for (const [told, ...args] of [
      [leftOut, "whole", "whole.gguf", "--type", "f32"],
      [leftOut, "whole-q8", "whole-q8.gguf"],
      [/^$/, "whole.gguf", "whole-again", "--type", "f32"],
    ] as const) {
      const { code, err } = await run(["convert", ...args]);
      expect(code).toBe(0);
      expect(err).toMatch(told);
    }
    const [plain, gguf, again] = await Promise.all(["whole", "whole.gguf", "whole-again"].map(complete));
    expect([plain.err, gguf.err, again.err]).toEqual(["", "", ""]);
    expect(JSON.parse(gguf.out).text).toBe(JSON.parse(plain.out).text);
    expect(JSON.parse(again.out).text).toBe(JSON.parse(plain.out).text);
    const converted = await complete("whole-q8.gguf");
    expect(converted.err).toBe("");
    expect(JSON.parse(converted.out).text.length).toBeGreaterThan(0);
    const { code, out } = await run(["inspect", "whole.gguf", "--json"]);
    expect(code).toBe(0);
    expect(JSON.parse(out).modelType).toBe("deepseek_v3");
  });

  it("replaces nobody's folder, and its own only when told to", async () => {
    mkdirSync(join(work, "app", "src"), { recursive: true });
    writeFileSync(join(work, "app", "config.json"), "{}");
    writeFileSync(join(work, "app", "src", "a.ts"), "keep");
    for (const args of [
      ["quantize", "whole", "app"],
      ["convert", "whole-q8.gguf", "app"],
    ]) {
      for (const force of [[], ["--force"]]) {
        const refused = await run([...args, ...force]);
        expect(refused.code).toBe(1);
        expect(refused.err).toMatch(
          /^error: .*app: the folder was not made by this program.*config\.json, src.*\n$/,
        );
      }
    }
    expect(readFileSync(join(work, "app", "src", "a.ts"), "utf8")).toBe("keep");
    expect((await run(["quantize", "whole", "whole/model", "--force"])).err).toMatch(/this is what is read/);
    expect((await run(["quantize", "whole", "whole", "--force"])).err).toMatch(
      /not made by this program|is read/,
    );
    expect((await run(["quantize", "whole", "whole-q4"])).err).toMatch(/already exists.*--force/);
    expect((await run(["quantize", "whole", "whole-q4", "--force"])).code).toBe(0);
  });

  it("measures a shape", async () => {
    const config = { ...JSON.parse(readFileSync(join(work, "whole", "model", "config.json"), "utf8")) };
    writeFileSync(join(work, "shape.json"), JSON.stringify(config));
    const { code, out } = await run([
      "bench",
      "--shape",
      "shape.json",
      "--prompt",
      "16",
      "--tokens",
      "4",
      "--batch",
      "2",
      "--json",
    ]);
    expect(code).toBe(0);
    const figures = JSON.parse(out);
    expect(figures.decodeTokensPerSecond).toBeGreaterThan(0);
    expect(figures.batchTokensPerSecond).toBeGreaterThan(0);
    expect(figures.firstTokenSeconds).toBeGreaterThan(0);
    const unknown = await run(["bench", "--shape", "deepseek-v9"]);
    expect(unknown.code).toBe(1);
    expect(unknown.err).toContain("deepseek-v2-lite");
  });
});

describe("check-parity", () => {
  it("exits with 0 on a fixture", async () => {
    const { code, out } = await run(["check-parity", join(fixtures, "v3/base"), "--json"]);
    expect(code).toBe(0);
    const report = JSON.parse(out);
    expect(report.within).toBe(true);
    expect(report.outputs.length).toBeGreaterThan(20);
  });

  it("exits with 1 on a copy with one weight changed, and does without gradients", async () => {
    const copy = join(work, "fixture");
    cpSync(join(fixtures, "llm/gqa"), copy, { recursive: true });
    rmSync(join(copy, "grads.safetensors"));
    const whole = await run(["check-parity", copy, "--device", "reference"]);
    expect(whole.code).toBe(0);
    expect(whole.out).toMatch(/all \d+ outputs within tolerance/);
    expect(whole.out).not.toContain("grad.");
    const path = join(copy, "model.safetensors");
    const bytes = readFileSync(path);
    bytes.writeFloatLE(bytes.readFloatLE(bytes.length - 4) + 0.5, bytes.length - 4);
    writeFileSync(path, bytes);
    const { code, out } = await run(["check-parity", copy]);
    expect(code).toBe(1);
    expect(out).toContain("OUTSIDE");
  });
});
