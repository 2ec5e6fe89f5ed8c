/**
 * Asks a model of the picture world, as it lies in a folder: test samples of questions, lines of text in single views by their
 * length, and strings of one or two letters on whole pages by their size, clean and faint.
 *
 *     node recipes/shared/exam.ts models/world-vl2 400
 */
import { nodeFolder } from "../../src/checkpoint/node-files.ts";
import { loadVisionModel } from "../../src/checkpoint/vision-model.ts";
import { worldIndex } from "../../src/data/world/generator.ts";
import { type WorldSample, worldSample } from "../../src/data/world/sample.ts";
import { parseCanvasProcessor } from "../../src/models/deepseek_vl/processor.ts";
import { parseTileProcessor } from "../../src/models/deepseek_vl2/processor.ts";
import { processorFiles } from "../../src/pretrained/load-vision.ts";
import { createCpuDevice } from "../../src/tensor/cpu/backend.ts";
import { formatPercent } from "../../src/text/units.ts";
import { seeCanvas, seeTiles } from "./image-batches.ts";
import { askedSample, shortSample } from "./samples.ts";
import { answersTo, type Count, examine, interval, scoresOf } from "./score.ts";
import { scoredSystem } from "./systems.ts";

const [folder, samples = "400"] = process.argv.slice(2);
const count = Number(samples);
if (folder === undefined || !(count >= 1 && count <= 100_000)) {
  console.error("usage: exam.ts FOLDER [SAMPLES]");
  process.exit(2);
}

function row(name: string, { right, of }: Count): void {
  const [low, high] = interval({ right, of }).map((share) => formatPercent(share));
  console.log(
    `${name.padEnd(32)} ${formatPercent(right / of).padStart(6)}  (${low} to ${high}, ${of} answers)`,
  );
}

await using device = await createCpuDevice();
const tree = nodeFolder(folder);
using model = await loadVisionModel(tree, device, { dtype: "auto" });
const { preprocessor, processor } = await processorFiles(tree);
const see =
  model.tiles === null
    ? seeCanvas(parseCanvasProcessor(preprocessor))
    : seeTiles(parseTileProcessor(processor));
const system = scoredSystem(model, see);
for (const [name, score] of Object.entries(await examine(system, { stream: "questions", count }))) {
  row(name, score);
}
const shown = (faint: boolean) => (faint ? "faint" : "clean");
for (const faint of [false, true]) {
  for (let glyphs = 1; glyphs <= 6; glyphs++) {
    const asked: WorldSample[] = [];
    for (let i = 0; asked.length < Math.ceil(count / 4); i++) {
      const { image, turns } = askedSample("lines", 1, worldIndex("test", i), {
        ...{ faint: faint ? 10 : 0, lines: 1, glyphs },
      });
      const [{ question, answer }] = turns;
      if (answer.length !== glyphs) continue;
      asked.push({ ...worldSample("text", 1, worldIndex("test", i)), image, question, answer });
    }
    const answers = await answersTo(system, asked);
    const right = asked.filter(({ answer }, i) => answers[i].replaceAll(" ", "") === answer).length;
    row(`${shown(faint)} line of ${glyphs}`, { right, of: asked.length });
  }
  const pages = Array.from({ length: count }, (_, i) => shortSample(1, worldIndex("test", i), faint));
  const scores = await scoresOf(system, pages, () => "page");
  for (const z of [1, 2, 3]) {
    const score = scores[`page z=${z}`];
    if (score) row(`${shown(faint)} page, letters of ${5 * z} x ${7 * z}`, score);
  }
}
