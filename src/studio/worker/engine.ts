/** A worker with an engine: opens the model whose files it is given, and answers as the engine's thread of a server does. */
import { blobFolder } from "../../checkpoint/byte-source.ts";
import { workerPort } from "../../engine/host/page-worker.ts";
import { runHost } from "../../engine/host/run-host.ts";
import { type LoadDtype, type LoadedModel, loadFolder, loadGguf } from "../../pretrained/load.ts";
import { createCpuDevice } from "../../tensor/cpu/backend.ts";
import type { EngineStart, PickedFile } from "./messages.ts";

/** Milliseconds between two messages about how far loading is. */
const TOLD_EVERY = 200;

const treeOf = (name: string, files: readonly PickedFile[]) =>
  blobFolder(new Map(files.map(({ path, file }) => [path, file])), name);

async function open(
  { settings, name, files, gguf, vae }: EngineStart,
  notice: (text: string) => void,
): Promise<LoadedModel> {
  const device = await createCpuDevice({ threads: settings.threads });
  try {
    let told = Number.NEGATIVE_INFINITY;
    const tree = treeOf(name, files);
    const options = {
      device,
      dtype: (settings.dtype ?? "auto") as LoadDtype,
      drawing: true,
      ...(vae.length > 0 ? { vae: async () => treeOf("vae", vae) } : {}),
      onNotice: notice,
      onProgress({ stage, done, total }: { stage: "load"; done: number; total: number }) {
        const now = performance.now();
        if (now - told < TOLD_EVERY) return;
        told = now;
        port.send({ type: "loading", stage, done, total });
      },
    };
    const loaded = gguf === null ? await loadFolder(tree, options) : await loadGguf(tree, gguf, options);
    const dispose = async () => {
      await loaded.dispose();
      await device[Symbol.asyncDispose]();
    };
    return { ...loaded, dispose, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await device[Symbol.asyncDispose]();
    throw error;
  }
}

const port = workerPort(self);
self.addEventListener(
  "message",
  ({ data }: MessageEvent<EngineStart>) => void runHost(port, data.settings, (notice) => open(data, notice)),
  { once: true },
);
