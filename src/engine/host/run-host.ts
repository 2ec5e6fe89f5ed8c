/** From an open model to a host that answers: what workers of Node and of pages have in common. */
import type { LoadedModel } from "../../pretrained/load.ts";
import { DeepseekError } from "../../tensor/errors.ts";
import { codeGrid } from "../draw/code-sampler.ts";
import { draw } from "../draw/draw.ts";
import { defaultFlowSteps } from "../draw/flow-sampler.ts";
import { Engine } from "../engine.ts";
import type { MachineMemory } from "./cache-plan.ts";
import { DrawingJobs } from "./drawing-jobs.ts";
import { type DrawingEvents, EngineHost } from "./engine-host.ts";
import { ImageJobs } from "./image-jobs.ts";
import type { FromEngine, HostSettings, ToEngine } from "./protocol.ts";
import { describeModel } from "./text-model.ts";
import { unpacked } from "./wire.ts";

/** How a host reaches those who ask it. */
export interface HostPort {
  send(message: FromEngine): void;
  /** Called once, when the model is open, with what takes every message that arrives, as it was posted. */
  listen(onMessage: (message: unknown) => void): void;
  /** Called when nothing more is sent. */
  close(): void;
}

export interface HostSurroundings {
  /** The machine's memory, measured once the weights are loaded; without it caches have the default size. */
  readonly memory?: () => MachineMemory;
  /** Bytes of this thread's heap in use. */
  readonly heapBytes?: () => number;
}

/** What draws for requests, several at a time: Janus in the engine's passes, JanusFlow in passes between them. */
function drawingJobs(loaded: LoadedModel, engine: Engine, events: DrawingEvents): DrawingJobs {
  const { generation, model } = loaded.drawing!;
  const codes = generation.kind === "codes";
  return new DrawingJobs((request) => draw(loaded, request, { engine }), {
    ...events,
    parts: ({ solver = "euler", steps }) => (codes ? codeGrid(model) : (steps ?? defaultFlowSteps(solver))),
    concurrency: engine.maxBatch,
    maxQueue: engine.maxQueue,
    software: "deepseek-ts serve",
  });
}

/**
 * Opens a model, says that it is ready, and answers what arrives until it is told to shut down; then the model is
 * disposed of. What fails before is said in a message of type `failed`, and nothing is thrown.
 * @param open resolves to the model, which belongs to the host from then on; `notice` takes lines for the log
 */
export async function runHost(
  port: HostPort,
  settings: HostSettings,
  open: (notice: (text: string) => void) => Promise<LoadedModel>,
  { memory, heapBytes }: HostSurroundings = {},
): Promise<void> {
  const started = performance.now();
  const notice = (text: string) => port.send({ type: "log", text });
  const onFailure = (error: unknown) => {
    const message = error instanceof Error ? error.message : String(error);
    port.send({ type: "failed", message, foreseen: error instanceof DeepseekError });
  };
  let loaded: LoadedModel | null = null;
  try {
    loaded = await open(notice);
    const { text, info, images } = await describeModel(loaded, settings, memory?.() ?? null, notice);
    const { model } = loaded;
    const { maxBatch, maxQueue, prefillChunk, cacheDtype } = settings;
    const engine = new Engine(model, {
      ...{ maxBatch, maxQueue, prefillChunk, cacheDtype },
      cacheTokens: info.cacheTokens,
      vocabularySize: info.vocabulary,
    });
    const speculative = (settings.speculative ?? false) && model.config.mtpLayers > 0;
    const imageJobs = images && new ImageJobs(images, model.config.hiddenSize * 4);
    const opened = loaded;
    const draws = info.imageOutput !== null && info.imageOutput.missing === null;
    const host = new EngineHost(engine, text, imageJobs, {
      ...(draws && { drawings: (events: DrawingEvents) => drawingJobs(opened, engine, events) }),
      speculative,
      send: port.send,
      onFailure,
      heapBytes,
    });
    port.listen(async (message) => {
      if (!(await host.receive(unpacked(message) as ToEngine))) return;
      await opened.dispose();
      port.send({ type: "stopped" });
      port.close();
    });
    const loadSeconds = (performance.now() - started) / 1000;
    port.send({
      type: "ready",
      info: { ...info, maxBatch: engine.maxBatch, maxQueue: engine.maxQueue, loadSeconds },
    });
  } catch (error) {
    await loaded?.dispose();
    onFailure(error);
    port.close();
  }
}
