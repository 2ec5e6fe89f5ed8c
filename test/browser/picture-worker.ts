/** A worker of the page with a model that sees: answers each message of a folder and cases, or says what is wrong. */
import type { EnginePackage } from "./chat-request.ts";
import type { VisionPackage } from "./image-job.ts";
import { type ChatPackage, type PictureCase, pictureAnswers } from "./picture-job.ts";
import type { DeepseekPackage } from "./ten-steps.ts";

const entry: string = "/dist/index.js";
const engineEntry: string = "/dist/engine/index.js";
const chatEntry: string = "/dist/chat/index.js";
const visionEntry: string = "/dist/vision/index.js";

const read = async (path: string) => new Uint8Array(await (await fetch(`/${path}`)).arrayBuffer());

self.addEventListener("message", async ({ data }) => {
  try {
    const packages = {
      deepseek: (await import(entry)) as DeepseekPackage,
      engine: (await import(engineEntry)) as EnginePackage,
      chat: (await import(chatEntry)) as ChatPackage,
      vision: (await import(visionEntry)) as VisionPackage,
    };
    const [folder, cases] = data as [string, readonly PictureCase[]];
    self.postMessage({ answers: await pictureAnswers(packages, folder, cases, read) });
  } catch (error) {
    self.postMessage({ error: String((error as Error)?.stack ?? error) });
  }
});
