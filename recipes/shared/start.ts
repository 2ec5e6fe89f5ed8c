/**
 * What arms start from, trained once for each seed: a tower (contrastive, SigLIP), and a language model that knows the world's
 * language and no picture. Those of seed 1 come with the repository (`recipes/start`).
 */
import { join } from "node:path";
import { WorldRandom, worldIndex } from "../../src/data/world/generator.ts";
import { worldSample } from "../../src/data/world/sample.ts";
import type { CausalLM } from "../../src/models/causal-lm.ts";
import type { TrainableModel } from "../../src/models/token-model.ts";
import type { WorldPresetName } from "../../src/models/world-presets.ts";
import type { Batch, BatchSource } from "../../src/train/batches.ts";
import { type LossOptions, nextTokenLoss } from "../../src/train/objectives/next-token.ts";
import type { TrainOptions } from "../../src/train/trainer.ts";
import type { HybridConfig } from "../../src/vision/tower-config.ts";
import { PageBatches, pageGlyphsNamed, pageObjective } from "./high-tower.ts";
import { highTowerModel, languageModel, towerModel, worldConfig } from "./models.ts";
import { namedGlyphs, probeTower } from "./probe.ts";
import type { ArmContext } from "./program.ts";
import { committedPart, newestStep, once } from "./ready.ts";
import {
  conversationRow,
  EOS,
  layoutRow,
  plainRow,
  promptRow,
  type Row,
  stackRows,
  worldIds,
} from "./rows.ts";
import type { Count } from "./score.ts";
import { runStage, type StageLength } from "./stage.ts";
import { TowerBatches } from "./tower-data.ts";
import { towerObjective } from "./tower-objective.ts";

export function schedule(
  peak: number,
  shape: "cosine" | "constant" = "cosine",
): Pick<TrainOptions, "learningRate" | "optimizer"> {
  return {
    learningRate: { peak, warmupSteps: 40, shape, ...(shape === "cosine" && { finalFraction: 0.1 }) },
    optimizer: { weightDecay: 0 },
  };
}

const committed = (name: string, context: ArmContext): string | null =>
  context.small ? null : committedPart(name, context);

/** How long a stage is: so many steps when it only has to run, else minutes. */
export const lengthOf = (
  { small }: Pick<ArmContext, "small">,
  steps: number,
  minutes: number,
): StageLength => (small ? { steps } : { minutes });

/** Folder of the tower's weights, below `tower.`. */
export const startTower = (context: ArmContext): Promise<string> =>
  once(context, "tower", () => trainTower(context));

async function trainTower(context: ArmContext): Promise<string> {
  const found = committed("tower", context);
  if (found !== null) return found;
  const { device, seed, shared, small, print } = context;
  using model = towerModel("world-vl2", device, seed);
  const objective = towerObjective;
  const config = { recipe: "tower", seed };
  const batch = small ? 12 : 48;
  for (const [views, minutes, peak, shape] of [
    ["filled", 9, 1e-3, "constant"],
    ["all", 6, 1e-3, "cosine"],
  ] as const) {
    await runStage(
      {
        ...{ name: `tower-${views}`, model, objective, config, length: lengthOf(context, 6, minutes) },
        batches: new TowerBatches({ seed, views, scenes: 0.25 }),
        options: { batch, ...schedule(peak, shape) },
      },
      shared,
    );
  }
  const gate = await probeTower(
    model.tower,
    small ? { training: 32, test: 32, steps: 10 } : { training: 3000, test: 600, steps: 200 },
  );
  print(
    `tower: a linear probe names color and shape of ${gate.both.right} of ${gate.both.of} objects (gate: 95 %)`,
  );
  for (const kind of ["filled", "all"] as const) {
    const { right, of } = await namedGlyphs(model, kind, small ? 32 : 512);
    print(`tower: names ${right} of ${of} glyphs in views (${kind})`);
  }
  return await newestStep(join(shared.folder, "tower-all"));
}

/** Minutes, and pages of a step, of the high tower's start. */
const HIGH = { minutes: 24, batch: 8 };

/** Folder of the weights of DeepSeek-VL's high tower, below `tower.`. */
export const startHighTower = (context: ArmContext): Promise<string> =>
  once(context, "high-tower", async () => {
    const found = committed("high-tower", context);
    if (found !== null) return found;
    const { device, seed, shared, small, print } = context;
    using model = highTowerModel(device, seed);
    const { highPixels } = worldConfig("world-vl-hybrid").tower as HybridConfig;
    await runStage(
      {
        ...{ name: "high-tower", model, objective: pageObjective, config: { recipe: "high-tower", seed } },
        batches: new PageBatches(seed, highPixels),
        length: lengthOf(context, 6, HIGH.minutes),
        options: { batch: small ? 2 : HIGH.batch, ...schedule(1e-3) },
      },
      shared,
    );
    const pages = new PageBatches(seed, highPixels, worldIndex("validation", 0));
    const { right, of } = await pageGlyphsNamed(model, pages, small ? 4 : 64);
    print(`high tower: names ${right} of ${of} glyphs on pages`);
    return await newestStep(join(shared.folder, "high-tower"));
  });

interface TextBatch extends Batch {
  readonly ids: Int32Array;
  readonly targets: Int32Array;
}

/** Stream of the numbers that layouts are drawn from. */
const LAYOUT_STREAM = 70;

/** Samples of the language stream, and captions as plain text, one in six; and steps of layouts, every second one where asked. */
class LanguageBatches implements BatchSource<TextBatch> {
  readonly #seed: number;
  readonly #layouts: boolean;
  #next = 0;

  constructor(seed: number, layouts = false) {
    this.#seed = seed;
    this.#layouts = layouts;
  }

  async next(batch: number): Promise<TextBatch> {
    const rows: Row[] = [];
    const layouts = this.#layouts && Math.floor(this.#next / batch) % 2 === 0;
    for (let i = 0; i < batch; i++) {
      const index = this.#next++;
      if (layouts) {
        rows.push(layoutRow(new WorldRandom(this.#seed, LAYOUT_STREAM, index)));
        continue;
      }
      const sample = worldSample(index % 6 === 5 ? "captions" : "language", this.#seed, index);
      rows.push(sample.answer === "" ? plainRow(sample.question) : conversationRow([sample], 0, "answers"));
    }
    const { length, ids, targets } = stackRows(rows);
    return { batch, length, ids, targets };
  }

  state(): unknown {
    return { next: this.#next };
  }

  restore(state: unknown): void {
    this.#next = (state as { next: number }).next;
  }
}

/** Answers of the language stream that a model gives greedily, by task. */
export async function languageGate(
  model: TrainableModel,
  samples: number,
): Promise<Readonly<Record<string, Count>>> {
  const { device } = model;
  const { vocabSize } = model.config;
  const groups = new Map<string, { ids: number[]; answer: number[]; task: string }[]>();
  for (let i = 0; i < samples; i++) {
    const sample = worldSample("language", 1, worldIndex("test", i));
    const [ids, answer] = [promptRow(sample, 0), [...worldIds(sample.answer), EOS]];
    const key = `${ids.length} ${answer.length}`;
    groups.set(key, [...(groups.get(key) ?? []), { ids, answer, task: sample.task }]);
  }
  const counts: Record<string, { right: number; of: number }> = {};
  for (const group of groups.values()) {
    // An answer is what greedy decoding gives if each of its tokens is the likeliest after those before it.
    const rows = group.map(({ ids, answer }) => [...ids, ...answer.slice(0, -1)]);
    using logits = device.inference(() => model.logits(model.hidden(model.ids(rows))));
    const values = await logits.data();
    group.forEach(({ ids, answer, task }, row) => {
      const likeliest = answer.map((_, j) => {
        const at = (row * rows[0].length + ids.length - 1 + j) * vocabSize;
        const each = values.subarray(at, at + vocabSize);
        return each.indexOf(Math.max(...each));
      });
      const count = (counts[task] ??= { right: 0, of: 0 });
      count.of++;
      if (likeliest.every((id, j) => id === answer[j])) count.right++;
    });
  }
  return counts;
}

/** Folder of a language model's weights, under official names. */
export const startLanguage = (context: ArmContext, preset: WorldPresetName): Promise<string> =>
  once(context, preset, () => trainLanguage(context, preset));

async function trainLanguage(context: ArmContext, preset: WorldPresetName): Promise<string> {
  const name = `language-${preset === "world-vl2" ? "vl2" : "vl"}`;
  const found = committed(name, context);
  if (found !== null) return found;
  const { device, seed, shared, small, print } = context;
  using model = languageModel(preset, device, seed);
  const moe = model.config.moe !== null;
  const objective = (language: CausalLM, { ids, targets, batch }: TextBatch, options: LossOptions) =>
    nextTokenLoss(language, { sequences: batch, ids, targets }, options);
  const balance = moe && { balanceAlpha: 1e-3 };
  for (const [stage, layouts, minutes, peak] of [
    [name, false, 5, 2e-3],
    [`${name}-layouts`, true, 2.5, 1e-3],
  ] as const) {
    await runStage(
      {
        ...{ name: stage, model, objective, config: { recipe: stage, seed } },
        batches: new LanguageBatches(seed, layouts),
        length: lengthOf(context, 6, minutes),
        options: { batch: small ? 12 : 36, ...schedule(peak), ...balance },
      },
      shared,
    );
  }
  for (const [task, { right, of }] of Object.entries(await languageGate(model, small ? 30 : 300))) {
    print(`${name}: ${task} ${right} of ${of} (gates: add 90 %, reverse 95 %, order 99 %)`);
  }
  return await newestStep(join(shared.folder, `${name}-layouts`));
}
