/** The engine's thread: opens the model, says so, and lets an `EngineHost` answer what arrives. Node only. */
import { parentPort, workerData } from "node:worker_threads";
import { Engine } from "../engine/engine.ts";
import { DeepseekError } from "../tensor/errors.ts";
import { EngineHost } from "./engine-host.ts";
import { openTextModel } from "./open-text-model.ts";
import type { EngineSettings, FromEngine, ToEngine } from "./protocol.ts";
import { unpacked } from "./wire.ts";

const port = parentPort!;
const settings = workerData as EngineSettings;
const send = (message: FromEngine) => port.postMessage(message);

const fail = (error: unknown) => {
  const message = error instanceof Error ? error.message : String(error);
  send({ type: "failed", message, foreseen: error instanceof DeepseekError });
};

try {
  const opened = await openTextModel(settings, (text) => send({ type: "log", text }));
  const { model } = opened.loaded;
  const { maxBatch, maxQueue, prefillChunk, cacheDtype } = settings;
  const { cacheTokens, vocabulary } = opened.info;
  const engine = new Engine(model, {
    ...{ maxBatch, maxQueue, prefillChunk, cacheDtype, cacheTokens },
    vocabularySize: vocabulary,
  });
  const speculative = (settings.speculative ?? false) && model.config.mtpLayers > 0;
  const host = new EngineHost(engine, opened.text, speculative, send, fail);
  port.on("message", async (message: unknown) => {
    if (!(await host.receive(unpacked(message) as ToEngine))) return;
    await opened[Symbol.asyncDispose]();
    send({ type: "stopped" });
    port.close();
  });
  send({ type: "ready", info: { ...opened.info, maxBatch: engine.maxBatch, maxQueue: engine.maxQueue } });
} catch (error) {
  fail(error);
  port.close();
}
