/** Runs in stages on disk: frozen parts, mixtures, resume to the bit, the model that is left. */
import {
  copyFileSync,
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
import { modelTemplate } from "../../chat/model-template.ts";
import { worldConversation } from "../../data/world/conversation.ts";
import { worldIndex } from "../../data/world/generator.ts";
import { worldSample } from "../../data/world/sample.ts";
import { worldCheckpoint } from "../../data/world/testing-checkpoints.ts";
import { Conversation } from "../../engine/conversation.ts";
import { ImageEncoder } from "../../engine/image-encoder.ts";
import { load } from "../../pretrained/node-load.ts";
import type { Device } from "../../tensor/tensor.ts";
import { cpuDevice } from "../../tensor/testing.ts";
import { imageBatches } from "../../train/image-rows.ts";
import { imageObjective } from "../../train/objectives/images.ts";
import { encodePng } from "../../vision/image/png-writer.ts";
import type { StageConfig, StagedConfig } from "./config.ts";
import { LessonMaker } from "./lessons.ts";
import { folderReader } from "./model.ts";
import { prepareStaged, stagedMemory } from "./preparation.ts";
import { StagedRun } from "./run.ts";
import { splitPlaces } from "./sources.ts";
import { logOf, tensorsOf } from "./testing-runs.ts";

let root: string;
let device: Device;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "staged-"));
  device = await cpuDevice(2, true);
  for (const kind of ["vl", "vl2"] as const) {
    const folder = join(root, kind);
    mkdirSync(folder);
    const files = await worldCheckpoint(kind, device, { std: 0.1 });
    for (const [name, bytes] of files) writeFileSync(join(folder, name), bytes);
  }
  // Four pictures and their colors, and lines of text alone.
  const lines: string[] = [];
  for (let i = 0; i < 4; i++) {
    const { image, question, answer } = worldSample("questions", 5, i);
    writeFileSync(join(root, `${i}.png`), await encodePng(image!));
    const content = [
      { type: "image", image: `${i}.png` },
      { type: "text", text: question },
    ];
    lines.push(
      JSON.stringify({
        messages: [
          { role: "user", content },
          { role: "assistant", content: answer },
        ],
      }),
    );
  }
  const { question, answer } = worldSample("language", 5, 0);
  lines.push(
    JSON.stringify({
      conversations: [
        { from: "human", value: question },
        { from: "gpt", value: answer },
      ],
    }),
  );
  writeFileSync(join(root, "data.jsonl"), `${lines.join("\n")}\n`);
});
afterAll(async () => {
  rmSync(root, { recursive: true, force: true });
  await device[Symbol.asyncDispose]();
});

const stage = (more: Partial<StageConfig> = {}): StageConfig => ({
  name: "only",
  mixture: [{ data: join(root, "data.jsonl") }],
  steps: 6,
  batch: { size: 4 },
  learningRate: { peak: 3e-3, warmupSteps: 0, shape: "constant" },
  optimizer: { weightDecay: 0 },
  loss: "answers",
  ...more,
});

const settings = (
  kind: "vl" | "vl2",
  stages: readonly StageConfig[],
  more: Partial<StagedConfig["model"]> = {},
) =>
  ({
    kind: "stages",
    seed: 1,
    model: { folder: join(root, kind), start: "weights", frozen: "auto", initStd: 0.02, ...more },
    sequenceLength: 512,
    tokensAtOnce: 512,
    stages,
    saveEvery: 3,
    keep: 2,
  }) satisfies StagedConfig;

let runs = 0;
async function prepared(config: StagedConfig): Promise<string> {
  const out = join(root, `run-${++runs}`);
  await prepareStaged(config, out);
  return out;
}

describe.each(["vl", "vl2"] as const)("a run of two stages from %s", (kind) => {
  const world = [
    { world: "questions", weight: 2 },
    { world: "text", faint: true },
    { world: "language" },
    { data: "data.jsonl" },
  ] as const;
  const two = () => {
    const mixture = world.map((entry) => ("data" in entry ? { data: join(root, entry.data) } : entry));
    return settings(kind, [
      stage({ name: "projector", trained: ["projector"], mixture: mixture.slice(0, 2), steps: 4 }),
      stage({
        name: "all",
        rates: { vision: 0.1 },
        mixture,
        steps: 6,
        textShare: 0.5,
        textWarmup: 0.5,
        loss: "all",
      }),
    ]);
  };

  it("is resumed in the middle of the second to the bit, images included", async () => {
    const [whole, parted] = [await prepared(two()), await prepared(two())];
    {
      await using run = await StagedRun.open(whole, device);
      expect(await run.train()).toMatchObject({
        finished: true,
        step: 10,
        modelFolder: join(whole, "model"),
      });
    }
    // Cut off after seven steps, in the second stage, without saving: the state of step 6 is the newest.
    {
      await using run = await StagedRun.open(parted, device);
      const stop = new AbortController();
      let steps = 0;
      const killed = run.train({
        onStep() {
          if (++steps === 7) throw new Error("killed");
        },
      });
      await expect(killed).rejects.toThrow("killed");
      stop.abort();
    }
    {
      await using run = await StagedRun.open(parted, device);
      expect([run.trainer.step, run.stage, run.trainer.stageStep]).toEqual([6, 1, 2]);
      expect((await run.train()).finished).toBe(true);
    }
    expect(logOf(parted)).toEqual(logOf(whole));
    expect(await tensorsOf(join(parted, "model"))).toEqual(await tensorsOf(join(whole, "model")));
    const modalities = logOf(whole).map(({ modality }) => modality);
    expect(modalities.slice(0, 4)).toEqual(Array(4).fill("images"));
    for (const each of modalities) expect(["images", "text"]).toContain(each);
    // The warm-up begins with text alone.
    expect(modalities[4]).toBe("text");
    const last = JSON.parse(readFileSync(join(whole, "states/step-00000009/trainer.json"), "utf8"));
    expect(last.data.counts["world:questions:"]).toBeGreaterThan(0);
  });

  it("scores what it holds out and never learns it, the same when resumed", async () => {
    const lines = Array.from({ length: 25 }, (_, i) => {
      const { question, answer } = worldSample("language", 5, i);
      return JSON.stringify({
        messages: [
          { role: "user", content: question },
          { role: "assistant", content: answer },
        ],
      });
    });
    const data = join(root, `${kind}-held.jsonl`);
    writeFileSync(data, `${lines.join("\n")}\n`);
    const mixture = [{ data }, { world: "questions" }] as const;
    const config = {
      ...settings(kind, [stage({ mixture, textShare: 0.5, steps: 5, batch: { size: 8 } })]),
      ...{ heldOut: 3, evaluateEvery: 2, saveEvery: 2 },
    };
    const [whole, parted] = [await prepared(config), await prepared(config)];
    {
      await using run = await StagedRun.open(whole, device);
      const told: number[] = [];
      const { evaluation } = await run.train({ onEvaluation: (step) => told.push(step) });
      expect(told).toEqual([2, 4, 5]);
      const scored = (await run.evaluate())!;
      expect(scored).toEqual(evaluation);
      // Two of 25 lines, and as many of the stream as are asked for.
      expect(Object.keys(scored.sources)).toEqual([`data:${data}`, "world:questions:"]);
      // One by one, without padding, by the plain mean.
      let [nats, tokens] = [0, 0];
      const maker = new LessonMaker(await folderReader(join(root, kind), run.model, 512));
      for (let i = 0; i < 3; i++) {
        const sample = worldSample("questions", 1, worldIndex("validation", i));
        const lesson = await maker.make(worldConversation(sample), "answers", "sample");
        const [batch] = imageBatches([lesson], {
          imageId: maker.imageId,
          padId: maker.padId,
          maxTokens: 512,
        });
        using loss = device.inference(() => imageObjective(run.model, batch, {}).loss);
        nats += (await loss.item()) * batch.weight;
        tokens += batch.weight;
      }
      const world = scored.sources["world:questions:"];
      expect(world.tokens).toBe(tokens);
      expect(world.loss).toBeCloseTo(nats / tokens, 4);
    }
    {
      await using run = await StagedRun.open(parted, device);
      let steps = 0;
      const killed = run.train({
        onStep() {
          if (++steps === 3) throw new Error("killed");
        },
      });
      await expect(killed).rejects.toThrow("killed");
    }
    {
      await using run = await StagedRun.open(parted, device);
      await run.train();
    }
    expect(logOf(parted)).toEqual(logOf(whole));
    // 23 lines are learned before one comes again.
    const { learned, held } = splitPlaces(25, 3, 1);
    expect(held).toHaveLength(2);
    expect([...learned, ...held].sort((a, b) => a - b)).toEqual(Array.from({ length: 25 }, (_, i) => i));
    expect(splitPlaces(25, 3, 2).held).not.toEqual(held);
    expect(splitPlaces(9, 3, 1)).toEqual({ learned: Array.from({ length: 9 }, (_, i) => i), held: [] });
  });

  it("leaves a model that answers, with the files of the one before", async () => {
    const out = await prepared(settings(kind, [stage({ steps: 1 })]));
    {
      await using run = await StagedRun.open(out, device);
      await run.train();
    }
    const files = readdirSync(join(root, kind)).filter((name) => !name.includes("safetensors"));
    for (const name of files) expect(readdirSync(join(out, "model"))).toContain(name);
    await using loaded = await load(join(out, "model"), { device });
    expect(loaded.vision?.family).toBe(kind);
    const { vision, tokenizer, model } = loaded;
    using images = new ImageEncoder(vision!.model, () => vision!.imageProcessor());
    using conversation = new Conversation(model, tokenizer!, modelTemplate(loaded, tokenizer!), { images });
    const { image } = worldSample("questions", 5, 0);
    const parts = [
      { type: "image", image: image! },
      { type: "text", text: "what color is the ring ?" },
    ] as const;
    const stream = conversation.send(parts, { maxTokens: 3, temperature: 0 });
    let next = await stream.next();
    while (!next.done) next = await stream.next();
    expect(next.value.stats.imageTokens).toBeGreaterThan(0);
  });
});

describe("frozen parts", () => {
  it("stay as the file has them, bit for bit, in any storage", async () => {
    const before = await tensorsOf(join(root, "vl2"));
    for (const frozen of ["auto", "bf16"] as const) {
      const out = await prepared(
        settings(
          "vl2",
          [stage({ trained: ["projector", "vision"], steps: 2, mixture: [{ world: "questions" }] })],
          { frozen },
        ),
      );
      await using run = await StagedRun.open(out, device);
      await run.train();
      const after = await tensorsOf(join(out, "model"));
      expect([...after.keys()].sort()).toEqual([...before.keys()].sort());
      for (const [name, value] of after) {
        const trained =
          /^(projector|vision|image_newline|view_seperator)/.test(name) && !name.includes("attn_pool");
        if (trained) expect(value === before.get(name), name).toBe(false);
        else expect(value === before.get(name), name).toBe(true);
      }
      expect(run.memory().moments).toBe(2 * run.memory().gradients);
    }
  });
});

it("fine-tunes on four pictures until it knows their answers", async () => {
  const learningRate = { peak: 1e-2, warmupSteps: 5, shape: "cosine" } as const;
  const out = await prepared(settings("vl", [stage({ steps: 120, learningRate, textShare: 0.1 })]));
  await using run = await StagedRun.open(out, device);
  const losses: number[] = [];
  await run.train({ onStep: ({ loss, kind }) => kind === "images" && losses.push(loss) });
  expect(losses[0]).toBeGreaterThan(3);
  expect(losses.at(-1)).toBeLessThan(0.05);
});

describe("what cannot be trained", () => {
  const refused = (config: StagedConfig) => {
    const out = join(root, `refused-${++runs}`);
    return prepareStaged(config, out).then(
      () => null,
      (error: Error) => {
        expect(readdirSync(root)).not.toContain(`refused-${runs}`);
        return error.message;
      },
    );
  };

  it.each<
    [string, (data: (text: string) => string) => Partial<StagedConfig> & { stages: StageConfig[] }, RegExp]
  >([
    [
      "a part",
      () => ({ stages: [stage({ trained: ["tower"] })] }),
      /stage only.*name: tower; expected: vision/,
    ],
    [
      "a setting",
      () => ({ stages: [{ ...stage(), textshare: 1 } as StageConfig] }),
      /textshare\. Did you mean stages\[0\]\.textShare/,
    ],
    ["no length", () => ({ stages: [stage({ steps: undefined })] }), /stages\[0\]\.steps/],
    [
      "a stream",
      () => ({ stages: [stage({ mixture: [{ world: "pages" as "text" }] })] }),
      /mixture\[0\]\.world/,
    ],
    [
      "faint scenes",
      () => ({ stages: [stage({ mixture: [{ world: "questions", faint: true }] })] }),
      /faint/,
    ],
    [
      "a missing file",
      () => ({ stages: [stage({ mixture: [{ data: join(root, "none.jsonl") }] })] }),
      /none\.jsonl/,
    ],
    [
      "a missing image",
      (data) => ({
        stages: [
          stage({
            mixture: [
              {
                data: data(
                  '{"image": "x.png", "conversations": [{"from": "human", "value": "<image>\\nred"}, {"from": "gpt", "value": "red"}]}',
                ),
              },
            ],
          }),
        ],
      }),
      /line 1: .*x\.png: image not found/,
    ],
    [
      "a word that the vocabulary lacks",
      (data) => ({
        stages: [
          stage({
            mixture: [
              {
                data: data(
                  '\n{"messages": [{"role": "user", "content": "purple"}, {"role": "assistant", "content": "zebra"}]}',
                ),
              },
            ],
          }),
        ],
      }),
      /line 2: .*zebra/,
    ],
    [
      "a long conversation",
      () => ({ sequenceLength: 20, stages: [stage()] }),
      /data\.jsonl line 1: the conversation is too long; expected: at most 20 tokens.*--length/,
    ],
    [
      "a share of text that is not there",
      () => ({ stages: [stage({ mixture: [{ world: "questions" }], textShare: 0.5 })] }),
      /no source of text alone; name: textShare/,
    ],
    [
      "text where the language model is frozen",
      () => ({ stages: [stage({ trained: ["projector"] })] }),
      /stage only: text alone teaches nothing.*textShare to 0/,
    ],
    [
      "longer samples than the model reads",
      () => ({ sequenceLength: 5000, stages: [stage()] }),
      /at most 1024/,
    ],
  ])("refuses %s before it makes anything", async (_, more, message) => {
    const data = (text: string) => {
      const path = join(root, `lines-${++runs}.jsonl`);
      writeFileSync(path, text);
      return path;
    };
    expect(await refused({ ...settings("vl", []), ...more(data) })).toMatch(message);
  });

  it("refuses data that changed since the run began", async () => {
    const path = join(root, "changing.jsonl");
    copyFileSync(join(root, "data.jsonl"), path);
    const out = await prepared(settings("vl", [stage({ mixture: [{ data: path }] })]));
    writeFileSync(path, readFileSync(path, "utf8").replace("what", "is"));
    await expect(StagedRun.open(out, device)).rejects.toThrow(
      /changing\.jsonl: the data changed since the run began/,
    );
  });

  it("says how much memory it takes, and refuses what is not there", async () => {
    expect(await stagedMemory(settings("vl2", [stage()]))).toMatch(
      /^at most about .* in stage only \(weights .*moments/,
    );
    await expect(stagedMemory({ ...settings("vl2", [stage()]), tokensAtOnce: 1e8 })).rejects.toThrow(
      /one WebAssembly memory/,
    );
  });
});
