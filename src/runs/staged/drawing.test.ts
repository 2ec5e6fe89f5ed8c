/** Runs that learn to draw: pictures with captions of a file and of the world, resumed to the bit; what is refused. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { worldSample } from "../../data/world/sample.ts";
import { worldCheckpoint } from "../../data/world/testing-checkpoints.ts";
import { Random } from "../../tensor/random.ts";
import type { Device } from "../../tensor/tensor.ts";
import { cpuDevice } from "../../tensor/testing.ts";
import type { LogitNormal } from "../../train/objectives/flow.ts";
import { encodePng } from "../../vision/image/png-writer.ts";
import type { StageConfig, StagedConfig } from "./config.ts";
import { LessonMaker } from "./lessons.ts";
import { beginModel } from "./model.ts";
import { OpenedDrawing } from "./opened-drawing.ts";
import { prepareStaged } from "./preparation.ts";
import { StagedRun } from "./run.ts";
import { logOf, tensorsOf } from "./testing-runs.ts";

let root: string;
let device: Device;
let data: string;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "drawn-"));
  device = await cpuDevice(2, true);
  for (const kind of ["vl", "janus", "janusflow"] as const) {
    for (const [name, bytes] of await worldCheckpoint(kind, device, { std: 0.1 })) {
      mkdirSync(dirname(join(root, kind, name)), { recursive: true });
      writeFileSync(join(root, kind, name), bytes);
    }
  }
  const lines: string[] = [];
  for (let i = 0; i < 5; i++) {
    const { image, question } = worldSample("captions", 5, i);
    writeFileSync(join(root, `${i}.png`), await encodePng(image!));
    lines.push(JSON.stringify({ image: `${i}.png`, caption: question }));
  }
  const { question, answer } = worldSample("language", 5, 0);
  const messages = [
    { role: "user", content: question },
    { role: "assistant", content: answer },
  ];
  lines.push(JSON.stringify({ messages }));
  data = join(root, "captions.jsonl");
  writeFileSync(data, `${lines.join("\n")}\n`);
});
afterAll(async () => {
  rmSync(root, { recursive: true, force: true });
  await device[Symbol.asyncDispose]();
});

const stage = (more: Partial<StageConfig> = {}): StageConfig => ({
  name: "only",
  mixture: [{ data, weight: 3 }, { world: "captions", draw: true }, { world: "questions" }],
  steps: 6,
  batch: { size: 4 },
  learningRate: { peak: 3e-3, warmupSteps: 0, shape: "constant" },
  optimizer: { weightDecay: 0 },
  loss: "answers",
  ...more,
});

type Kind = "vl" | "janus" | "janusflow";
const settings = (kind: Kind, stages: readonly StageConfig[], more: Partial<StagedConfig> = {}) =>
  ({
    kind: "stages",
    seed: 1,
    model: { folder: join(root, kind), start: "weights", frozen: "auto", initStd: 0.02 },
    ...{ sequenceLength: 512, tokensAtOnce: 80, stages, saveEvery: 3, keep: 2, ...more },
  }) satisfies StagedConfig;

let runs = 0;
async function prepared(config: StagedConfig): Promise<string> {
  const out = join(root, `run-${++runs}`);
  await prepareStaged(config, out);
  return out;
}

/** Trains a run to its end, and another one that is killed after `at` steps and goes on. */
async function wholeAndParted(config: StagedConfig, at: number) {
  const [whole, parted] = [await prepared(config), await prepared(config)];
  {
    await using run = await StagedRun.open(whole, device);
    expect((await run.train()).finished).toBe(true);
  }
  {
    await using run = await StagedRun.open(parted, device);
    let steps = 0;
    const killed = run.train({
      onStep() {
        if (++steps === at) throw new Error("killed");
      },
    });
    await expect(killed).rejects.toThrow("killed");
  }
  {
    await using run = await StagedRun.open(parted, device);
    expect((await run.train()).finished).toBe(true);
  }
  expect(logOf(parted)).toEqual(logOf(whole));
  const model = await tensorsOf(join(whole, "model"));
  expect(await tensorsOf(join(parted, "model"))).toEqual(model);
  return { model, log: logOf(whole) };
}

const changed = (before: Map<string, string>, after: Map<string, string>) =>
  [...after.keys()].filter((name) => before.get(name) !== after.get(name));

describe("a run of Janus", () => {
  it("draws ids beside answers, mixed and apart, and is resumed to the bit", async () => {
    const parts = ["aligner", "gen_aligner", "gen_embed", "gen_head"];
    const config = settings("janus", [
      stage({ trained: parts, textShare: 0, steps: 5 }),
      stage({ name: "second", trained: [...parts, "language"], grouped: false, dropped: 0.5, steps: 4 }),
    ]);
    const { model, log } = await wholeAndParted(config, 8);
    const modalities = new Set(log.map(({ modality }) => modality));
    expect(modalities.has("drawing")).toBe(true);
    expect([...modalities].some((each) => each.includes("drawing+"))).toBe(true);
    const moved = changed(await tensorsOf(join(root, "janus")), model);
    for (const part of ["gen_head.", "gen_embed.", "gen_aligner.", "language_model."]) {
      expect(
        moved.some((name) => name.startsWith(part)),
        part,
      ).toBe(true);
    }
    expect(moved.some((name) => /^(gen_vision_model|vision_model)\./.test(name))).toBe(false);
  });

  it("learns a few pictures by heart", async () => {
    const mixture = [{ data }];
    const config = settings("janus", [
      stage({
        mixture,
        textShare: 0,
        steps: 40,
        dropped: 0,
        learningRate: { peak: 1e-2, warmupSteps: 5, shape: "constant" },
      }),
    ]);
    const out = await prepared(config);
    await using run = await StagedRun.open(out, device);
    await run.train();
    const losses = logOf(out).flatMap(({ loss, modality }) => (modality === "drawing" ? [loss] : []));
    expect(losses[0]).toBeGreaterThan(2.5);
    expect(losses.at(-1)).toBeLessThan(0.5 * losses[0]);
  });

  it("shows pictures with captions to be described where that is asked", async () => {
    const config = settings("janus", [stage({ mixture: [{ data, draw: false }], steps: 2, textShare: 0 })]);
    const out = await prepared(config);
    await using run = await StagedRun.open(out, device);
    await run.train();
    expect(logOf(out).map(({ modality }) => modality)).toEqual(["images", "images"]);
  });
});

describe("a run of JanusFlow", () => {
  it("draws by velocities with alignment, keeps an average, and is resumed to the bit", async () => {
    const config = settings(
      "janusflow",
      [
        stage({ trained: ["aligner", "generation"], textShare: 0, steps: 4, alignment: 0.5, alignAfter: 1 }),
        stage({
          name: "second",
          steps: 5,
          averageDecay: 0.5,
          times: { mean: -1, deviation: 0.5 },
          latents: "means",
        }),
      ],
      { heldOut: 2 },
    );
    const { model, log } = await wholeAndParted(config, 7);
    expect([...model.keys()].some((name) => name.startsWith("repa_head"))).toBe(false);
    // The result draws with the autoencoder that lay beside the model.
    const own = readFileSync(join(root, "janusflow", "vae", "config.json"));
    expect(readFileSync(join(root, `run-${runs}`, "model", "vae", "config.json"))).toEqual(own);
    const drawn = log.filter(({ modality }) => modality === "drawing");
    expect(drawn.length).toBeGreaterThan(2);
    for (const { terms } of drawn) expect(terms.alignment).toBeGreaterThan(-1);
    const scores = log.filter(({ kind }) => kind === "evaluation").at(-1).sources;
    expect(scores["world:captions:drawn::drawing"].loss).toBeGreaterThan(0);
    // The model has the average, the state what is learned on.
    const out = join(root, `run-${runs}`);
    await using run = await StagedRun.open(out, device);
    const name = "language_model.lm_head.weight";
    const raw = Buffer.from((await run.model.parameters.get(name).raw()) as Uint8Array).toString("base64");
    expect(raw).not.toBe(model.get(name));
  });
});

describe("what drawing learns", () => {
  it("is encoded once, cut to pieces, and dropped as often as asked", async () => {
    const config = settings("janus", [stage()]);
    using made = await beginModel(config, device);
    using drawing = await OpenedDrawing.open(config, made, true);
    const lessons = new LessonMaker(made.reader);
    lessons.drawnSide = drawing.side;
    expect(drawing.side).toBe(32);
    const wide = worldSample("captions", 5, 0, { size: 128 }).image!;
    const pictures = await Promise.all(
      ["a ring", "a cross", "two rings"].map((caption, i) =>
        lessons.draw(wide, caption, `p${i % 2}`, "here"),
      ),
    );
    expect(pictures[0].picture.width).toBe(32);
    const { maker } = drawing.batchesOf(config.stages[0])!;
    const all = { dropped: 1, times: "uniform" as const, latents: "sampled" as const };
    const batches = await maker.batches(pictures, new Random(1), all);
    // 80 tokens at once: rows of 16 ids and ten tokens.
    expect(batches.map(({ batch }) => batch)).toEqual([3]);
    expect(batches.map(({ weight }) => weight)).toEqual([48]);
    const [first] = batches;
    if (!("codes" in first)) throw new Error("Janus draws ids");
    expect(first.codes.slice(0, 16)).toEqual(first.codes.slice(32));
    expect(first.prompts[0].slice(1, -1).every((id) => id === 0)).toBe(true);
    const none = await maker.batches(pictures, new Random(1), { ...all, dropped: 0 });
    if (!("prompts" in none[0])) throw new Error("no prompts");
    expect(none[0].prompts[0]).toEqual(pictures[0].prompt);
    await expect(lessons.draw(wide, "a wombat", "p", "line 3")).rejects.toThrow(/line 3/);
  });

  it("takes latents from their distributions, or the means that these scatter around", async () => {
    const config = settings("janusflow", [stage({ textShare: 0 })]);
    using made = await beginModel(config, device);
    using drawing = await OpenedDrawing.open(config, made, true);
    const lessons = new LessonMaker(made.reader);
    lessons.drawnSide = drawing.side;
    const { image } = worldSample("captions", 5, 0, { size: 64 });
    const ring = await lessons.draw(image!, "a ring", "p", "here");
    const { maker } = drawing.batchesOf(config.stages[0])!;
    const latentsOf = async (latents: "means" | "sampled", seed: number) => {
      const [batch] = await maker.batches([ring], new Random(seed), {
        dropped: 0,
        times: "uniform",
        latents,
      });
      if (!("latents" in batch)) throw new Error("JanusFlow draws latents");
      return batch.latents;
    };
    const means = await latentsOf("means", 1);
    expect(await latentsOf("means", 2)).toEqual(means);
    const average = new Float64Array(means.length);
    const [draws, apart] = [64, { one: 0, mean: 0 }];
    for (let seed = 0; seed < draws; seed++) {
      const drawn = await latentsOf("sampled", seed);
      for (let i = 0; i < means.length; i++) {
        average[i] += drawn[i] / draws;
        apart.one += (drawn[i] - means[i]) ** 2 / draws;
      }
    }
    for (let i = 0; i < means.length; i++) apart.mean += (average[i] - means[i]) ** 2;
    expect(apart.one).toBeGreaterThan(0);
    // The variance of a mean of 64 is a 64th.
    expect(apart.mean / apart.one).toBeGreaterThan(0.5 / draws);
    expect(apart.mean / apart.one).toBeLessThan(2 / draws);
  });
});

describe("refused before anything is trained", () => {
  it.each<[string, Kind, Partial<StageConfig>, RegExp]>([
    [
      "drawing by a model that only sees",
      "vl",
      { mixture: [{ world: "captions", draw: true }] },
      /does not draw/,
    ],
    [
      "captions to draw with a model that only sees",
      "vl",
      {
        mixture: [
          {
            get data() {
              return data;
            },
            draw: true,
          },
        ],
      },
      /does not draw/,
    ],
    ["times of Janus", "janus", { times: "uniform" }, /times.*JanusFlow/s],
    ["latents of no name", "janusflow", { latents: "modes" as "means" }, /latents.*means.*modes/s],
    ["latents of Janus", "janus", { latents: "means" }, /latents.*JanusFlow/s],
    ["times of no name", "janusflow", { times: "cosine" as "uniform" }, /times.*logit-normal.*cosine/s],
    ["times that are all the same", "janusflow", { times: { mean: 0, deviation: 0 } }, /deviation.*above 0/s],
    ["times without a mean", "janusflow", { times: { deviation: 1 } as LogitNormal }, /mean/],
    [
      "alignment without pictures to draw",
      "janusflow",
      { mixture: [{ world: "questions" }], alignment: 1 },
      /alignment/,
    ],
    [
      "dropped captions where none are drawn",
      "vl",
      { mixture: [{ world: "questions" }], dropped: 0.2 },
      /dropped/,
    ],
    ["a block that is not there", "janusflow", { alignAfter: 3 }, /alignAfter.*1 to 2/s],
    [
      "questions to draw",
      "janus",
      { mixture: [{ world: "questions", draw: true }] },
      /only captions are drawn/,
    ],
    ["a decay that is none", "janus", { averageDecay: 2 }, /averageDecay/],
  ])("%s", async (_, kind, change, message) => {
    await expect(prepared(settings(kind, [stage(change)]))).rejects.toThrow(message);
  });

  it("an autoencoder that is not where it is named", async () => {
    const config = settings("janusflow", [stage()]);
    const elsewhere = { ...config, model: { ...config.model, vae: join(root, "nowhere") } };
    await expect(prepared(elsewhere)).rejects.toThrow(/no autoencoder of this name/);
  });

  it("lines of captions without a picture, or without words", async () => {
    for (const [line, message] of [
      [{ caption: "a ring" }, /without its picture/],
      [{ image: "0.png", caption: " " }, /empty; name: caption/],
      [{ image: "0.png", caption: "a ring", messages: [] }, /not a conversation/],
      [{ image: "9.png", caption: "a ring" }, /image not found/],
    ] as const) {
      const path = join(root, "wrong.jsonl");
      writeFileSync(path, JSON.stringify(line));
      await expect(prepared(settings("janus", [stage({ mixture: [{ data: path }] })]))).rejects.toThrow(
        message,
      );
    }
  });
});
