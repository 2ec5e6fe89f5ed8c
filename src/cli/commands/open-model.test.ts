/** What commands make of their MODEL: training runs, folders, names. */
import { mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { modelEntries } from "../../checkpoint/entries.ts";
import { nodeFolderSink } from "../../checkpoint/node-files.ts";
import { saveCheckpoint } from "../../checkpoint/save.ts";
import { temporaryName } from "../../files/temporary.ts";
import { createModel } from "../../models/causal-lm.ts";
import { tinyConfigs } from "../../models/testing.ts";
import { locateModel } from "../../pretrained/node-load.ts";
import { modelPath } from "../../runs/model-path.ts";
import { createReferenceDevice } from "../../tensor/reference/backend.ts";
import { trainBpe } from "../../tokenizer/train-bpe.ts";
import { stepFolder } from "../../train/state.ts";
import { openModel, openPlace, openTokenizer, withModel } from "./open-model.ts";

const device = createReferenceDevice();
const config = { ...tinyConfigs.llama, vocab_size: 270 };
let root: string;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "open-model-"));
  using model = createModel(config, device, { seed: 1 });
  const tokenizer = JSON.stringify(await trainBpe(["let x = 1;\n".repeat(9)], { vocabSize: 270 }));
  const save = async (path: string, files: Record<string, string>) =>
    saveCheckpoint(await nodeFolderSink(join(root, path)), modelEntries(model), { config, files });
  await save("run-1/model", { "tokenizer.json": tokenizer });
  await save(join("run-2/checkpoints", stepFolder(7)), { "tokenizer.json": tokenizer });
  await save("bare", {});
  await mkdir(join(root, "run-3"));
  await writeFile(join(root, "run-3", "run.json"), "{}");
  await mkdir(join(root, "ggufs"));
  await writeFile(join(root, "ggufs", "a.gguf"), "GGUF");
});
afterAll(() => rm(root, { recursive: true, force: true }));

describe("modelPath", () => {
  it("finds the model in a training run, also while it trains, and leaves the rest", async () => {
    expect(await modelPath(join(root, "run-1"))).toBe(join(root, "run-1", "model"));
    expect(await modelPath(join(root, "run-2"))).toBe(join(root, "run-2", "checkpoints", stepFolder(7)));
    for (const path of [join(root, "bare"), join(root, "ggufs"), "org/name", join(root, "none")]) {
      expect(await modelPath(path)).toBe(path);
    }
    // Killed between the two renames of a replacement.
    for (const [folder, path] of [
      [join(root, "run-1", "model"), join(root, "run-1")],
      [join(root, "bare"), join(root, "bare")],
    ]) {
      await rename(folder, temporaryName(folder, "old").replace(`-${process.pid}-`, `-${2 ** 30}-`));
      expect((await locateModel(await modelPath(path))).source.path).toBe(folder);
    }
    await expect(modelPath(join(root, "run-3"))).rejects.toThrow(/saved nothing yet/);
    await expect(modelPath(root)).rejects.toThrow(/neither a model nor a training run/);
  });
});

describe("openModel", () => {
  it("opens a run under its own name", async () => {
    const opened = await openModel(join(root, "run-1"), device, "f32");
    expect(opened.name).toBe("run-1");
    expect(opened.folder).toBe(join(root, "run-1", "model"));
    expect(opened.tokenizer.encode("let x").length).toBeGreaterThan(0);
    await opened.dispose();
    expect((await openTokenizer(await openPlace(opened.folder, {}))).vocabSize).toBe(
      opened.tokenizer.vocabSize,
    );
  });

  it("needs a tokenizer", async () => {
    await expect(openModel(join(root, "bare"), device, { dtype: "auto" })).rejects.toThrow(/no tokenizer/);
    await expect(openPlace(join(root, "bare"), {}).then(openTokenizer)).rejects.toThrow(/no tokenizer/);
  });

  it("stops on a signal", async () => {
    const reason = new Error("enough");
    await expect(openModel(join(root, "run-1"), device, "auto", AbortSignal.abort(reason))).rejects.toBe(
      reason,
    );
  });
});

describe("withModel", () => {
  it("adds the options", () => {
    const command = withModel(new Command())
      .exitOverride()
      .configureOutput({ writeErr: () => {} });
    expect(command.parse(["--dtype", "q4", "--gguf", "Q4_0", "--offline"], { from: "user" }).opts()).toEqual({
      ...{ dtype: "q4", gguf: "Q4_0", offline: true },
    });
    expect(() => command.parse(["--dtype", "q2"], { from: "user" })).toThrow(/auto, f32, bf16, f16, q8, q4/);
  });
});
