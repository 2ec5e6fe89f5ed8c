/** Runs on disk: one writer, damaged states and logs, figures that are not finite. */
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import { ConfigError, FormatError, NotFiniteError } from "../tensor/errors.ts";
import type { Device } from "../tensor/tensor.ts";
import { mergeConfig, preset } from "./config.ts";
import { RUN_LOCK } from "./lock.ts";
import { prepareRun, selectTexts } from "./preparation.ts";
import { Run } from "./run.ts";

const config = mergeConfig(preset("llm-small"), {
  vocabSize: 280,
  model: {
    hidden_size: 16,
    num_hidden_layers: 1,
    intermediate_size: 16,
    num_attention_heads: 2,
    num_key_value_heads: 2,
  },
  data: { heldOut: 0.3 },
  training: {
    steps: 8,
    sequenceLength: 16,
    batch: { size: 2 },
    saveEvery: 2,
    evaluateEvery: 4,
    evaluateSequences: 2,
    keep: 3,
  },
});

const root = mkdtempSync(join(tmpdir(), "run-"));
const whole = join(root, "whole");
const folder = join(root, "run");
let device: Device;

beforeAll(async () => {
  device = await createCpuDevice({ threads: 1 });
  mkdirSync(join(root, "texts"));
  for (let i = 0; i < 12; i++) {
    const lines = Array.from(
      { length: 20 },
      (_, n) => `export const name_${i}_${n} = call(${(i * 7 + n * 13) % 101});`,
    );
    writeFileSync(join(root, "texts", `file-${i}.ts`), lines.join("\n"));
  }
  await prepareRun(await selectTexts(join(root, "texts"), config), whole, config);
  await using run = await Run.open(whole, device);
  await run.train();
});
afterAll(async () => {
  await device[Symbol.asyncDispose]();
  rmSync(root, { recursive: true, force: true });
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const copy = () => cpSync(whole, folder, { recursive: true });
const state = (step: number, ...more: string[]) =>
  join(folder, "checkpoints", `step-0000000${step}`, ...more);
const states = () => readdirSync(join(folder, "checkpoints")).sort();
const weights = (run: string) => readFileSync(join(run, "model", "model.safetensors"));
const lines = (run: string) => {
  const text = readFileSync(join(run, "metrics.jsonl"), "utf8").trimEnd().split("\n");
  return text.map((line) => {
    const { kind, step, loss } = JSON.parse(line);
    return { kind, step, loss };
  });
};

/** Opens the run, trains it to its end, and returns what it had to say. */
async function resume(): Promise<string[]> {
  const notes: string[] = [];
  await using run = await Run.open(folder, device, { onNotice: (text) => notes.push(text) });
  const { finished } = await run.train();
  expect(finished).toBe(true);
  return notes;
}

describe("one writer", () => {
  it("is refused a second time in the same process, until the first is done", async () => {
    copy();
    {
      await using _run = await Run.open(folder, device);
      await expect(Run.open(folder, device)).rejects.toThrow(/this process already trains the run/);
    }
    expect(existsSync(join(folder, RUN_LOCK))).toBe(false);
    await using _again = await Run.open(folder, device);
  });

  it("is refused while another process has the run, by its number", async () => {
    copy();
    // The parent runs for as long as this test does.
    writeFileSync(join(folder, RUN_LOCK), JSON.stringify({ pid: process.ppid, id: "x" }));
    const failed = Run.open(folder, device);
    await expect(failed).rejects.toThrow(ConfigError);
    await expect(failed).rejects.toThrow(`the run is being trained by process ${process.ppid}.`);
    expect(existsSync(join(folder, RUN_LOCK))).toBe(true);
  });

  it("is free again where opening failed", async () => {
    copy();
    rmSync(join(folder, "tokenizer"), { recursive: true });
    await expect(Run.open(folder, device)).rejects.toThrow(/tokenizer.*: no such file/);
    expect(existsSync(join(folder, RUN_LOCK))).toBe(false);
  });
});

describe("damage", () => {
  const cut = (path: string) => truncateSync(path, 100);
  it.each<[string, () => void]>([
    ["cut weights", () => cut(state(8, "model.safetensors"))],
    ["cut moments", () => cut(state(8, "optimizer.safetensors"))],
    ["no weights", () => rmSync(state(8, "model.safetensors"))],
    ["an empty position", () => writeFileSync(state(8, "trainer.json"), "")],
    ["a position that is none", () => writeFileSync(state(8, "trainer.json"), '{"format":1,"step":"x"}')],
    [
      "a file in its place",
      () => {
        rmSync(state(8), { recursive: true });
        writeFileSync(state(8), "x");
      },
    ],
  ])("of the newest state (%s) loses only the steps since the one before", async (_, damage) => {
    copy();
    damage();
    const notes = await resume();
    expect(notes).toEqual([
      expect.stringMatching(
        /^the state of step 8 is damaged \(.*\) and now lies in .*damaged-step-00000008$/,
      ),
      "continuing after step 6, the newest whole state",
    ]);
    expect(weights(folder).equals(weights(whole))).toBe(true);
    expect(lines(folder)).toEqual(lines(whole));
    expect(states()).toEqual(["damaged-step-00000008", "step-00000004", "step-00000006", "step-00000008"]);
  });

  it("of all states is refused, and deletes none", async () => {
    copy();
    for (const step of [4, 6, 8]) cut(state(step, "model.safetensors"));
    const failed = Run.open(folder, device);
    await expect(failed).rejects.toThrow(FormatError);
    await expect(failed).rejects.toThrow(
      /all checkpoints of the run are damaged; found: step 8: .*; step 6: .*; step 4: /,
    );
    expect(states()).toEqual(["step-00000004", "step-00000006", "step-00000008"]);
  });

  it("of the log drops the line, and the run goes on", async () => {
    copy();
    rmSync(state(8), { recursive: true });
    const log = join(folder, "metrics.jsonl");
    const [first, ...rest] = readFileSync(log, "utf8").split(/(?<=\n)/);
    writeFileSync(log, [first, "x\n", ...rest].join(""));
    expect(await resume()).toEqual([`${log}: line 2 was damaged and is dropped`]);
    expect(lines(folder)).toEqual(lines(whole));
  });

  it.each<[string, (text: string) => string | Uint8Array, RegExp]>([
    [
      "cut short",
      (text) => text.slice(0, 200),
      /run\.json: not valid JSON; found: .* at line \d+, column \d+/,
    ],
    ["a torn value", (text) => text.replace('"seed": 1', '"seed": x'), /at line 3, column 11/],
    [
      "half a character",
      (text) => Buffer.concat([Buffer.from(text.slice(0, 9)), Buffer.from([0xe2])]),
      /run\.json: the text ends inside a character; found: 0xE2 at byte 9 \(line 2, column 8\)/,
    ],
    [
      "a lost setting",
      (text) => text.replace('"seed": 1,', ""),
      /run\.json: a setting is missing; name: seed/,
    ],
    [
      "a damaged setting",
      (text) => text.replace('"steps": 8', '"steps": -8'),
      /run\.json: .*name: training\.steps; .*found: -8/,
    ],
    ["empty", () => "", /run\.json: not valid JSON/],
  ])("of run.json (%s) is refused with its place", async (_, damage, message) => {
    copy();
    const path = join(folder, "run.json");
    writeFileSync(path, damage(readFileSync(path, "utf8")));
    await expect(Run.open(folder, device)).rejects.toThrow(message);
    expect(existsSync(join(folder, RUN_LOCK))).toBe(false);
  });
});

describe("figures that are not finite", () => {
  const edit = (from: string, to: string) => {
    const path = join(folder, "run.json");
    const text = readFileSync(path, "utf8");
    expect(text).toContain(from);
    writeFileSync(path, text.replace(from, to));
  };

  it("stop the run with the step, and keep every state", async () => {
    copy();
    edit('"steps": 8', '"steps": 20');
    await using run = await Run.open(folder, device);
    const { tensor } = run.model.parameters.group("model.norm.weight");
    let failure: unknown = null;
    const onStep = ({ step }: { step: number }) => {
      if (step === 10) tensor.set(new Float32Array(tensor.size).fill(Number.NaN));
    };
    await run.train({ onStep }).catch((error) => {
      failure = error;
    });
    expect(failure).toBeInstanceOf(NotFiniteError);
    // Weights are looked at before they are saved, after step 10.
    expect(String(failure)).toMatch(
      /after training step 10: .*name: model\.norm\.weight.* The state after step 8 is kept\./,
    );
    expect(states()).toEqual(["step-00000004", "step-00000006", "step-00000008"]);
  });

  it("stop it at an evaluation too", async () => {
    copy();
    edit('"steps": 8', '"steps": 20');
    await using run = await Run.open(folder, device);
    const { tensor } = run.model.parameters.group("model.norm.weight");
    const onStep = ({ step }: { step: number }) => {
      if (step === 12) tensor.set(new Float32Array(tensor.size).fill(Number.NaN));
    };
    await expect(run.train({ onStep })).rejects.toThrow(
      /after training step 12: the loss on held-out text is not finite; found: NaN.* The state after step 10 is kept/,
    );
    expect(states()).toEqual(["step-00000006", "step-00000008", "step-00000010"]);
  });

  it("in a saved state make it count as damaged", async () => {
    copy();
    const path = state(8, "model.safetensors");
    const bytes = readFileSync(path);
    new DataView(bytes.buffer, bytes.byteOffset).setFloat32(bytes.length - 4, Number.NaN, true);
    writeFileSync(path, bytes);
    expect(await resume()).toEqual([
      expect.stringMatching(/step 8 is damaged \(.*a weight is not a number/),
      "continuing after step 6, the newest whole state",
    ]);
    expect(weights(folder).equals(weights(whole))).toBe(true);
  });
});

describe("what somebody put into a run", () => {
  it("stays, in a state that would be deleted and in the model of a finished run", async () => {
    copy();
    for (const at of ["notes.md", "data/train/notes.md"]) writeFileSync(join(folder, at), "mine");
    writeFileSync(state(4, "notes.md"), "mine");
    rmSync(state(6), { recursive: true });
    rmSync(state(8), { recursive: true });
    rmSync(join(folder, "model"), { recursive: true });
    const notes: string[] = [];
    const json = JSON.parse(readFileSync(join(folder, "run.json"), "utf8"));
    writeFileSync(
      join(folder, "run.json"),
      JSON.stringify({ ...json, training: { ...json.training, keep: 1 } }),
    );
    {
      await using run = await Run.open(folder, device);
      await run.train({ onNotice: (text) => notes.push(text) });
    }
    expect(states()).toEqual(["step-00000004", "step-00000008"]);
    expect(readFileSync(state(4, "notes.md"), "utf8")).toBe("mine");
    expect(notes).toEqual([`${state(4)} is kept: not written by this program: notes.md`]);

    writeFileSync(join(folder, "model", "README.md"), "mine");
    await resume();
    for (const at of ["notes.md", "model/README.md", "data/train/notes.md"]) {
      expect(readFileSync(join(folder, at), "utf8")).toBe("mine");
    }
  });

  it("is named before the training, where the model would have to go", async () => {
    copy();
    rmSync(state(8), { recursive: true });
    writeFileSync(join(folder, "model", "README.md"), "mine");
    await using run = await Run.open(folder, device);
    await expect(run.train()).rejects.toThrow(/did not write.*README\.md/);
    expect(run.trainer.step).toBe(6);
    expect(readFileSync(join(folder, "model", "README.md"), "utf8")).toBe("mine");
  });
});
