/** Runs, and what a training can begin with, as tests and pictures of the studio's page show them. */
import { presets } from "../../../src/runs/config.ts";
import type { FileList, RunDetail, RunSeries, TrainPresets } from "../../../src/studio/backend/wire.ts";

const STEPS = Array.from({ length: 200 }, (_, i) => 10 * (i + 1));
const curve = (of: (i: number) => number) => ({
  least: STEPS.map((_, i) => 0.95 * of(i)),
  most: STEPS.map((_, i) => of(i) * (i === 150 ? 2.5 : 1.05)),
  last: STEPS.map((_, i) => of(i)),
});

export interface ExampleRun {
  readonly detail: RunDetail;
  readonly series: RunSeries;
}

/** A run whose loss falls; `pace` says how fast, from 0.5 to 2. */
export function exampleRun(
  path: string,
  state: RunDetail["state"],
  { pace = 1, config = {} as object, kind = "train" as RunDetail["kind"] } = {},
): ExampleRun {
  const loss = curve((i) => 2 + 4 * Math.exp((-i * pace) / 40) + 0.1 * Math.sin(i));
  const bits = (i: number) => 1.5 + 2 * Math.exp((-i * pace) / 60);
  const held = { ...curve(bits), last: STEPS.map((_, i) => (i % 20 === 19 ? bits(i) : null)) };
  const experts = STEPS.slice(0, 60).map((_, t) =>
    [0, 1].map((layer) =>
      Array.from({ length: 8 }, (_, e) => 1 + Math.sin(e + layer + t / 20) * Math.exp(-t / 30)),
    ),
  );
  return {
    detail: {
      run: { root: "runs", path },
      kind,
      state,
      step: 2000,
      steps: state === "finished" ? 2000 : 4000,
      loss: loss.last.at(-1)!,
      heldOut: held.last.at(-1)!,
      speed: 6200,
      changed: 1_790_000_000_000,
      curve: loss.last.filter((_, i) => i % 5 === 0),
      config: {
        seed: 1,
        training: { steps: 4000, batch: { size: 16 } },
        data: { extensions: ["md"] },
        ...config,
      },
      samples: [
        { step: 1000, prompt: "function", text: " a( {" },
        { step: 2000, prompt: "function", text: " add(a, b) {\n  return a + b;\n}" },
      ],
      job: state === "running" ? "job-1" : null,
    },
    series: {
      read: { lines: 2000, bytes: 240_000, of: 260_000 },
      steps: STEPS,
      curves: {
        learningRate: curve((i) => 3e-4 * (1 - i / 220)),
        loss,
        gradientNorm: curve((i) => 1 + Math.abs(Math.sin(i / 9))),
        "heldOut.bitsPerByte": held,
      },
      experts,
    },
  };
}

const { extensions, includeNodeModules, maxBytes, filters } = presets.demo.data;

export const examplePresets: TrainPresets = {
  presets: [
    {
      name: "demo",
      note: "the small V3 of the demo, for TypeScript",
      system: "DeepSeek-V3",
      total: 4.9e6,
      activated: 2.7e6,
    },
    {
      ...{ name: "v3-small", system: "DeepSeek-V3", total: 20.4e6, activated: 5.6e6 },
      note: "latent attention, mixture of experts with auxiliary-loss-free balancing, multi-token prediction",
    },
    {
      name: "v2-small",
      note: "latent attention, mixture of experts",
      system: "DeepSeek-V2",
      total: 20.1e6,
      activated: 6.1e6,
    },
    { name: "moe-small", note: "mixture of experts", system: "DeepSeekMoE", total: 20.9e6, activated: 6.9e6 },
    { name: "llm-small", note: "dense", system: "DeepSeek LLM", total: 6.9e6, activated: 6.9e6 },
  ].map(({ total, activated, ...rest }) => ({
    ...rest,
    parameters: { total, activated, mtp: 0 },
    memory: 34 * total,
    tokensPerSecond: 1.7e10 / activated,
    seconds: rest.name === "demo" ? 120 : (2000 * 8 * 256 * activated) / 1.7e10,
    config: presets[rest.name] as unknown as TrainPresets["builtIn"],
  })),
  speed: { run: "runs/demo-1", measured: null },
  extensions: ["code", "typescript", "text", "all"],
  builtIn: { extensions, includeNodeModules, maxBytes, filters },
  pictures: [
    {
      ...{ model: "models/world-vl2", draws: false },
      config: {
        kind: "stages",
        seed: 1,
        stages: [{ name: "world", seconds: 300, mixture: [{ world: "questions" }] }],
      },
    },
  ],
};

const folder = (name: string) => ({ name, folder: true, size: null, changed: 0, holds: null });
const file = (name: string, size: number) => ({ name, folder: false, size, changed: 0, holds: null });

export const exampleFiles: Readonly<Record<string, FileList["entries"]>> = {
  runs: [folder("demo-1"), folder("notes"), file("poems.txt", 48_200)],
  "runs/notes": [folder("2025"), file("ideas.md", 12_400), file("letters.md", 380_000)],
};
