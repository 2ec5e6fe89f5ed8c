/** DeepSeek-VL2 on the picture world: what tiling does for small text, whether tiles have places, and grounding. */
import { WorldRandom } from "../../src/data/world/generator.ts";
import { parseTileProcessor } from "../../src/models/deepseek_vl2/processor.ts";
import { worldProcessor } from "../shared/files.ts";
import { type See, seeTiles } from "../shared/image-batches.ts";
import { climb, MINUTES, settle, startReading, takeExams, VL2_PARTS } from "../shared/ladder.ts";
import { visionModel } from "../shared/models.ts";
import { type Arm, type ArmContext, type ArmOutcome, runProgram } from "../shared/program.ts";
import { examine } from "../shared/score.ts";
import { startLanguage, startTower } from "../shared/start.ts";
import { reorderTiles, scoredSystem } from "../shared/systems.ts";
import { loadPart } from "../shared/weights.ts";

const LANGUAGE = 0.3;
const FAINT = 5;
const processor = parseTileProcessor(worldProcessor());

/** The whole page in 64 pixels, its view repeated in the places of nine tiles: as many tokens as tiles give, and no more to see. */
const repeated: See = async (images) => {
  const { pixels, order } = await seeTiles(processor, 1)(images);
  const tiles = images.map(({ width }) => (width > 64 ? ([3, 3] as const) : ([1, 1] as const)));
  const places = tiles.flatMap(([across, down], i) =>
    new Array<number>(1 + across * down).fill(order![2 * i]),
  );
  return { pixels, order: Int32Array.from(places), tiles };
};

/** A tower and a language model that know nothing of each other. */
async function begin(context: ArmContext) {
  const [tower, language] = [await startTower(context), await startLanguage(context, "world-vl2")];
  const model = visionModel("world-vl2", context.device, context.seed);
  await loadPart(tower, "tower.", model.tower.parameters, "vision.");
  await loadPart(language, "", model.language.parameters, "language.");
  return model;
}

/** Of `reader` after the stages that it has in common with `tiles-9`. */
const SETTLE_MINUTES = 20;

interface Extra {
  /** After the exams. */
  readonly scores?: (run: Trained) => Promise<ArmOutcome["scores"]>;
  /** Part of the arm's minutes for going on on what can be learned. */
  readonly settled?: number;
}

async function trained(context: ArmContext, see: See, { scores: further, settled = 0 }: Extra = {}) {
  const reader = { parts: VL2_PARTS, language: LANGUAGE, faint: FAINT };
  // A single view is one tile whatever the arm.
  const start = await startReading(
    context,
    "reading-vl2",
    () => begin(context),
    seeTiles(processor, 1),
    reader,
  );
  using model = visionModel("world-vl2", context.device, context.seed);
  await loadPart(start, "", model.parameters, "");
  const minutes = context.minutes * settled;
  const climbed = await climb(context, model, see, VL2_PARTS, reader, context.minutes - minutes);
  const stages =
    settled === 0
      ? climbed
      : { ...climbed, ...(await settle(context, model, see, VL2_PARTS, reader, minutes)) };
  const scores = await takeExams(context, model, see);
  return { stages, scores: { ...scores, ...(await further?.({ model })) } };
}

interface Trained {
  readonly model: ReturnType<typeof visionModel>;
}

/** Tables again with the tiles in another order. */
async function shuffledScores({ seed, small }: ArmContext, { model }: Trained) {
  const see: See = async (images) => {
    const random = new WorldRandom(seed, 67, images.length);
    return reorderTiles(await seeTiles(processor)(images), (tiles) => random.distinct(tiles, tiles));
  };
  const exam = { stream: "tables", count: small ? 8 : 100 } as const;
  return await examine(scoredSystem(model, see), exam, " shuffled");
}

const arms: readonly Arm[] = [
  {
    name: "tiles-9",
    text: "up to nine tiles: a page of 192 pixels is seen at its full size",
    run: (context) =>
      trained(context, seeTiles(processor), { scores: (run) => shuffledScores(context, run) }),
  },
  {
    name: "tiles-1",
    text: "one tile: pages are reduced to 64 pixels",
    run: (context) => trained(context, seeTiles(processor, 1)),
  },
  {
    name: "repeated",
    text: "control: reduced to 64 pixels, with as many tokens as nine tiles",
    run: (context) => trained(context, repeated),
  },
  {
    name: "tiles-4",
    text: "up to four tiles: pages are reduced to 128 pixels",
    run: (context) => trained(context, seeTiles(processor, 4)),
  },
  {
    name: "reader",
    text: "the model that ships: tiles-9, then single views, short strings on pages and questions alike",
    minutes: MINUTES + SETTLE_MINUTES,
    run: (context) =>
      trained(context, seeTiles(processor), { settled: SETTLE_MINUTES / (MINUTES + SETTLE_MINUTES) }),
  },
];

const short = (z: number) => `short faint z=${z}`;
const text = (z: number) => `text faint z=${z}`;

process.exitCode = await runProgram(
  {
    name: "vl2",
    folder: import.meta.dirname,
    title: "DeepSeek-VL2 on the picture world",
    minutes: MINUTES,
    arms,
    measures: [
      ...[1, 2, 3].map((z) => `short clean z=${z}`),
      ...[1, 2, 3].map(short),
      ...[1, 2, 3].map((z) => `${short(z)} glyphs`),
      ...[1, 2, 3].map((z) => `text clean z=${z}`),
      ...[1, 2, 3].map(text),
      ...["chart-value faint", "table clean", "table faint", "table shuffled"],
      ...["count", "color", "exists", "relation", "find", "describe F1", "language"],
    ],
    pictured: [...[1, 2, 3].map((z) => `short clean z=${z}`), ...[1, 2, 3].map(short), "count", "language"],
    comparisons: [
      {
        claim: "tiling reads what a fixed size cannot",
        better: "tiles-9",
        worse: "tiles-1",
        measure: short(1),
      },
      { claim: "and not by more tokens", better: "tiles-9", worse: "repeated", measure: short(1) },
      { claim: "more tiles read smaller text", better: "tiles-9", worse: "tiles-4", measure: short(1) },
    ],
    notes:
      "Glyphs are 5z x 7z pixels on pages of 192; `short` pages have one string of one or two of them, `text` is the world's own exam " +
      "with strings of three to six. On faint pages an ideal reader names 94 to 100 % of glyphs of z = 1 at full " +
      "size and 22 to 30 % at 64 pixels, which bounds short strings near 16 % and those of text near 1 %; z = 2 and 3 " +
      "can be read at both. `table shuffled` is the " +
      "exam `table clean` with the tiles of each page in a random order: a model that minds where tiles lie does worse. `find` " +
      "counts boxes that overlap by half or more.",
  },
  process.argv.slice(2),
);
