/** A worker of the page with a model that draws: reads a folder's files by their names, and tells what it drew. */
import type { EnginePackage } from "./chat-request.ts";
import { drawingReport } from "./drawing-job.ts";
import type { DeepseekPackage } from "./ten-steps.ts";

const entry: string = "/dist/index.js";
const engineEntry: string = "/dist/engine/index.js";

self.addEventListener("message", async ({ data }) => {
  try {
    const packages = {
      deepseek: (await import(entry)) as DeepseekPackage,
      engine: (await import(engineEntry)) as EnginePackage,
    };
    const [folder, names] = data as [string, readonly string[]];
    const files = new Map<string, Uint8Array>();
    for (const name of names)
      files.set(name, new Uint8Array(await (await fetch(`/${folder}/${name}`)).arrayBuffer()));
    self.postMessage({ report: await drawingReport(packages, files) });
  } catch (error) {
    self.postMessage({ error: String((error as Error)?.stack ?? error) });
  }
});
