/** The engine's thread of a server: opens the model and lets an engine's host answer what arrives. Node only. */
import { parentPort, workerData } from "node:worker_threads";
import { type HostPort, runHost } from "../engine/host/run-host.ts";
import { thisMachine } from "../files/machine.ts";
import type { LoadDtype, LoadedModel } from "../pretrained/load.ts";
import { load } from "../pretrained/node-load.ts";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import { formatPercent } from "../text/units.ts";
import type { EngineSettings } from "./engine-settings.ts";

/** Milliseconds between two lines for the log about how far loading is, and between two messages. */
const LOGGED_EVERY = 2000;
const TOLD_EVERY = 200;

/** The model of `settings` on its own device. @throws ConfigError, FormatError, ShapeError, HubError */
async function open(settings: EngineSettings, notice: (text: string) => void): Promise<LoadedModel> {
  const device = await createCpuDevice({ threads: settings.threads });
  try {
    let [logged, told] = [performance.now(), Number.NEGATIVE_INFINITY];
    const loaded = await load(settings.model, {
      device,
      revision: settings.revision,
      file: settings.file,
      offline: settings.offline,
      dtype: (settings.dtype ?? "auto") as LoadDtype,
      drawing: settings.drawing ?? true,
      vae: settings.vae,
      adapter: settings.adapter,
      onNotice: notice,
      onProgress: (progress) => {
        const { stage, done, total } = progress;
        const now = performance.now();
        if (now - told >= TOLD_EVERY) {
          told = now;
          port.send({ type: "loading", stage, done, total });
        }
        if (now - logged < LOGGED_EVERY) return;
        logged = now;
        notice(`${stage}: ${formatPercent(done / (total || 1), 0)}`);
      },
    });
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

const thread = parentPort!;
const settings = workerData as EngineSettings;
const port: HostPort = {
  send: (message) => thread.postMessage(message),
  listen: (onMessage) => thread.on("message", onMessage),
  close: () => thread.close(),
};
await runHost(port, settings, (notice) => open(settings, notice), {
  memory: thisMachine,
  heapBytes: () => process.memoryUsage().heapUsed,
});
