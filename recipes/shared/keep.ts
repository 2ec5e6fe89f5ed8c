/**
 * Keeps a part of a finished stage as a starting point that comes with the repository, in bf16; or a whole model, with its configuration:
 *
 *     node recipes/shared/keep.ts runs/recipe-vl2/shared-1/tower-all/step-00001191 tower. recipes/start/tower
 *     node recipes/shared/keep.ts runs/recipe-janusflow/shared-1/vae-model "" recipes/start/vae
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { openCheckpoint } from "../../src/checkpoint/folder.ts";
import { modelWeights } from "../../src/checkpoint/model.ts";
import { nodeFolder, nodeFolderSink } from "../../src/checkpoint/node-files.ts";
import { f32Entry } from "../../src/checkpoint/safetensors-writer.ts";
import { saveCheckpoint } from "../../src/checkpoint/save.ts";

const [from, part, out] = process.argv.slice(2);
if (out === undefined) {
  console.error("usage: keep.ts STEP_FOLDER FIRST_LETTERS_OF_NAMES OUT_FOLDER");
  process.exit(2);
}
const checkpoint = await openCheckpoint(nodeFolder(from));
try {
  const weights = modelWeights(checkpoint);
  const names = [...weights.names()].filter((name) => name.startsWith(part));
  if (names.length === 0) throw new Error(`${from}: no tensor's name begins with ${part}`);
  const entries = names.map((name) =>
    f32Entry(name, weights.shape(name), async function* () {
      for await (const { values } of weights.readF32(name)) yield values;
    }),
  );
  const config: Record<string, unknown> =
    part === ""
      ? JSON.parse(await readFile(join(from, "config.json"), "utf8"))
      : { kept: part, step: Number(/step-(\d+)/.exec(from)?.[1] ?? 0) };
  const { totalSize } = await saveCheckpoint(await nodeFolderSink(out), entries, { config, dtype: "BF16" });
  console.log(`${out}: ${(totalSize / 1e6).toFixed(1)} MB of tensors`);
} finally {
  await checkpoint.close();
}
