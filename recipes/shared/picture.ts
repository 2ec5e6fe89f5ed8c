/**
 * Writes a test sample of the picture world, a view of one line of text or a page with a short string as a PNG file, and prints its
 * question and answer:
 *
 *     node recipes/shared/picture.ts text 4 page.png --faint
 *     node recipes/shared/picture.ts line 12 line.png
 *     node recipes/shared/picture.ts short 1 page.png
 */
import { parseArgs } from "node:util";
import { WORLD_STREAMS, type WorldStream, worldIndex } from "../../src/data/world/generator.ts";
import { worldSample } from "../../src/data/world/sample.ts";
import { nodeFileSink } from "../../src/files/file-sink.ts";
import { writeWhole } from "../../src/files/sink.ts";
import { encodePng } from "../../src/vision/image/png-writer.ts";
import { type Asked, askedSample, shortSample } from "./samples.ts";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { faint: { type: "boolean" } },
});
const [stream, index, out] = positionals;
if (
  (stream !== "line" && stream !== "short" && !Object.hasOwn(WORLD_STREAMS, stream ?? "")) ||
  !/^\d{1,9}$/.test(index ?? "") ||
  out === undefined
) {
  console.error(
    `usage: picture.ts ${Object.keys(WORLD_STREAMS).join("|")}|line|short INDEX OUT.png [--faint]`,
  );
  process.exit(2);
}
const faint = values.faint ?? false;
const at = worldIndex("test", Number(index));

function drawn(): Asked {
  if (stream === "line") return askedSample("lines", 1, at, { lines: 1, faint: faint ? 10 : 0 });
  const { image, question, answer } =
    stream === "short" ? shortSample(1, at, faint) : worldSample(stream as WorldStream, 1, at, { faint });
  return { image, turns: [{ question, answer }] };
}

const { image, turns } = drawn();
if (image !== null) await writeWhole(await nodeFileSink(out), await encodePng(image));
console.log(JSON.stringify(turns[0]));
