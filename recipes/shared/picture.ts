/**
 * Writes a test sample of the picture world as a PNG file, and prints its question and answer:
 *
 *     node recipes/shared/picture.ts text 4 page.png --faint
 */
import { parseArgs } from "node:util";
import { WORLD_STREAMS, type WorldStream, worldIndex } from "../../src/data/world/generator.ts";
import { worldSample } from "../../src/data/world/sample.ts";
import { nodeFileSink } from "../../src/files/file-sink.ts";
import { writeWhole } from "../../src/files/sink.ts";
import { encodePng } from "../../src/vision/image/png-writer.ts";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { faint: { type: "boolean" } },
});
const [stream, index, out] = positionals;
if (!Object.hasOwn(WORLD_STREAMS, stream ?? "") || !/^\d{1,9}$/.test(index ?? "") || out === undefined) {
  console.error(`usage: picture.ts ${Object.keys(WORLD_STREAMS).join("|")} INDEX OUT.png [--faint]`);
  process.exit(2);
}
const faint = values.faint ?? false;
const sample = worldSample(stream as WorldStream, 1, worldIndex("test", Number(index)), { faint });
if (sample.image !== null) await writeWhole(await nodeFileSink(out), await encodePng(sample.image));
console.log(JSON.stringify({ question: sample.question, answer: sample.answer }));
