/** Quantizing models that see: what is saved sees the same, and the report tells which part was damaged. */
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { nodeFolder } from "../checkpoint/node-files.ts";
import { loadVisionModel } from "../checkpoint/vision-model.ts";
import { worldCheckpoint } from "../data/world/testing-checkpoints.ts";
import type { VisionLanguageModel } from "../models/vision-language.ts";
import type { StorageFormat } from "../nn/storage.ts";
import { load } from "../pretrained/node-load.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import { encodePng } from "../vision/image/png-writer.ts";
import { type QuantizeEvent, type QuantizeTask, quantizeModel } from "./quantize.ts";

let root: string;
const device = createReferenceDevice();
const at = (...path: string[]) => join(root, ...path);
const pictures = () => ({ folder: at("pictures"), question: "read the text ." });

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "image-report-"));
  for (const kind of ["vl", "vl2"] as const) {
    for (const [name, bytes] of await worldCheckpoint(kind, device, { std: 0.12 })) {
      await mkdir(dirname(at(kind, name)), { recursive: true });
      await writeFile(at(kind, name), bytes);
    }
  }
  await mkdir(at("pictures"));
  for (const [name, width] of [
    ["b.png", 32],
    ["a.PNG", 90],
  ] as const) {
    const rgb = Uint8Array.from({ length: width * 30 * 3 }, (_, i) => (i * width * 7 + (i >> 4) * 13) % 256);
    await writeFile(at("pictures", name), await encodePng({ width, height: 30, rgb }));
  }
  await writeFile(at("pictures", "notes.txt"), "not a picture");
});
afterAll(async () => {
  await device[Symbol.asyncDispose]();
  await rm(root, { recursive: true, force: true });
});

async function quantized(task: Partial<QuantizeTask> & Pick<QuantizeTask, "model" | "out">) {
  const events: QuantizeEvent[] = [];
  const result = await quantizeModel({ dtype: "q8", threads: 1, ...task }, (event) => events.push(event));
  return { result, events };
}

async function tokensOf(model: VisionLanguageModel): Promise<number[]> {
  const side = model.imageSize;
  const pixels = Float32Array.from({ length: 2 * side * side * 3 }, (_, i) => Math.sin(i * 0.7));
  using tokens = model.device.inference(() =>
    model.encodeViews(model.device.tensor(pixels, [2, side, side, 3])),
  );
  return Array.from(await tokens.data());
}

describe.each(["vl", "vl2"] as const)("a quantized %s", (kind) => {
  it.each(["q4", "q8"] as const)("in %s keeps its files and sees as when it was quantized", async (dtype) => {
    const out = at(`${kind}-${dtype}`);
    await quantized({ model: at(kind), out, dtype });
    const names = (await readdir(at(kind))).filter((name) => name.endsWith(".json"));
    for (const name of names.filter((each) => each !== "config.json")) {
      expect(await readFile(join(out, name), "utf8"), name).toBe(await readFile(at(kind, name), "utf8"));
    }
    expect(names.length).toBeGreaterThan(3);
    const config = JSON.parse(await readFile(join(out, "config.json"), "utf8"));
    expect(config).toMatchObject({ quantization_config: { quant_method: "deepseek-ts" } });
    await using opened = await load(out, { device });
    using wanted = await loadVisionModel(nodeFolder(at(kind)), device, { dtype });
    expect(await tokensOf(opened.vision!.model)).toEqual(await tokensOf(wanted));
  });

  it("reports what tower, projector and language model cost, each alone and all", async () => {
    const report = { text: "a red circle is left of the blue square .", tokens: 8, pictures: pictures() };
    const { result, events } = await quantized({ model: at(kind), out: at(`${kind}-report`), report });
    const images = result.images!;
    expect(images.images).toBe(2);
    // 90 x 30 takes three tiles, 32 x 30 one, besides the view of the whole.
    expect(images.views).toBe(kind === "vl" ? 2 : 4 + 2);
    for (const part of ["tower", "projector", "tokens"] as const) {
      expect(images[part].relative, part).toBeGreaterThan(0);
      expect(images[part].relative, part).toBeLessThan(0.05);
      expect(images[part].minCosine, part).toBeGreaterThan(0.99);
    }
    for (const part of ["language", "pictures", "answers"] as const) {
      expect(images[part].meanKl, part).toBeGreaterThan(0);
      expect(images[part].meanKl, part).toBeLessThan(0.1);
    }
    expect(result.divergence!.tokens).toBeGreaterThan(1);
    const seen = events.flatMap((event) =>
      event.type === "picture" ? [`${event.when} ${event.picture}`] : [],
    );
    expect(seen).toEqual(["before 1", "before 2", "after 1", "after 2"]);
  });

  it.each([
    ["tower", kind === "vl" ? "vision_model" : "^vision\\."],
    ["projector", kind === "vl" ? "aligner" : "projector"],
    ["language", "^language"],
  ] as const)("has zeros in the report where nothing but the %s was changed", async (part, pattern) => {
    // All weights as they were but those of one part, which q4 damages.
    const keep: { pattern: string; format: StorageFormat }[] = [
      { pattern, format: "q4" },
      { pattern: "", format: "f32" },
    ];
    const report = { text: "a red circle .", tokens: 8, pictures: pictures() };
    const { result } = await quantized({ model: at(kind), out: at(`${kind}-${part}`), keep, report });
    const { tower, projector, tokens, language, pictures: seen, answers } = result.images!;
    expect([tower, projector].map(({ relative }) => relative > 0)).toEqual([
      part === "tower",
      part === "projector",
    ]);
    expect(tokens.relative > 0.01).toBe(part !== "language");
    expect([language, seen].map(({ meanKl }) => meanKl > 0)).toEqual([
      part === "language",
      part !== "language",
    ]);
    expect(answers.meanKl).toBeGreaterThan(0);
  });
});

describe("pictures for a report", () => {
  const report = (folder: string) => ({
    text: "a red circle .",
    tokens: 8,
    pictures: { folder, question: "read the text ." },
  });

  it("are refused where there are none, before anything is written", async () => {
    await mkdir(at("none"));
    for (const folder of [at("none"), at("nowhere")]) {
      await expect(quantized({ model: at("vl"), out: at("out"), report: report(folder) })).rejects.toThrow(
        /folder (has no pictures|of pictures cannot be read)/,
      );
    }
    expect(await readdir(root)).not.toContain("out");
  });

  it("are refused by name where they are damaged", async () => {
    await mkdir(at("damaged"));
    await writeFile(at("damaged", "x.png"), (await readFile(at("pictures", "b.png"))).subarray(0, 60));
    await expect(
      quantized({ model: at("vl"), out: at("out"), report: report(at("damaged")) }),
    ).rejects.toThrow("x.png");
  });

  it("stop at once when the work is canceled", async () => {
    const stop = new AbortController();
    const task: QuantizeTask = {
      ...{ model: at("vl2"), out: at("out"), dtype: "q4", threads: 1 },
      report: report(at("pictures")),
    };
    const work = quantizeModel(
      task,
      (event) => {
        if (event.type === "picture" && event.picture === 2) stop.abort(new Error("enough"));
      },
      stop.signal,
    );
    await expect(work).rejects.toThrow("enough");
    expect(await readdir(root)).not.toContain("out");
  });
});
