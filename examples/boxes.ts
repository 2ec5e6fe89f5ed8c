/**
 * Boxes in answers of DeepSeek-VL2: read while the answer is written, and drawn on the picture. The picture and its answer
 * come from the built-in world; `groundingMessage` is what a model is asked with.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { worldSample } from "deepseek-ts/data";
import { drawBoxes, encodePng, type GroundedBox, GroundingStream } from "deepseek-ts/vision";

/** The first sample that is described with boxes. */
function described() {
  for (let index = 0; ; index++) {
    const { task, image, question, answer } = worldSample("questions", 1, index);
    if (task === "describe" && image !== null) return { image, question, answer };
  }
}

const { image, question, answer } = described();
console.log(question);
const reader = new GroundingStream(image);
const boxes: GroundedBox[] = [];
// As a model writes it: a few characters at a time.
const pieces = answer.match(/.{1,5}/gs) ?? [];
for (const event of [...pieces.flatMap((piece) => reader.push(piece)), ...reader.end()]) {
  if ("text" in event) process.stdout.write(event.text);
  else {
    boxes.push(...event.boxes);
    for (const { label, box, flags } of event.boxes) {
      console.log(`${label.trim()}: ${box.join(", ")}${flags.length > 0 ? ` (${flags.join(", ")})` : ""}`);
    }
  }
}

const folder = await mkdtemp(join(tmpdir(), "deepseek-ts-"));
try {
  const labeled = boxes.map(({ label, box }) => ({ label: label.trim(), box }));
  const png = await encodePng(drawBoxes(image, labeled));
  await writeFile(join(folder, "boxes.png"), png);
  console.log(`\n${boxes.length} boxes drawn, ${png.length} bytes`);
} finally {
  await rm(folder, { recursive: true });
}
