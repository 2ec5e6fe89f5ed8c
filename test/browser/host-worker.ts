/**
 * A worker of the page that runs an engine's host over the model in the folder that `?folder=` names, `model` by default,
 * but for the file that `?without=` names.
 */
import { type EnginePackage, modelFiles } from "./chat-request.ts";
import type { DeepseekPackage } from "./ten-steps.ts";

const entry: string = "/dist/index.js";
const engineEntry: string = "/dist/engine/index.js";

const { loadFolder, memoryFolder } = (await import(entry)) as DeepseekPackage;
const { runHost, workerPort } = (await import(engineEntry)) as EnginePackage;

await runHost(workerPort(self), {}, async () => {
  const files = new Map<string, Uint8Array>();
  const { searchParams } = new URL(self.location.href);
  const folder = searchParams.get("folder") ?? "model";
  const without = searchParams.get("without");
  for (const name of modelFiles(folder)) {
    if (name === without) continue;
    files.set(name, new Uint8Array(await (await fetch(`/${folder}/${name}`)).arrayBuffer()));
  }
  return loadFolder(memoryFolder(files, folder));
});
