/** Loaded by the page itself: what runs on its own thread, without a worker in between. */
import { type ChatReport, chatReport, type EnginePackage } from "./chat-request.ts";
import {
  type ImageCase,
  type ImageReport,
  imageReport,
  type ModelsPackage,
  type TensorPackage,
  type VisionPackage,
} from "./image-job.ts";
import { type DeepseekPackage, oneForward } from "./ten-steps.ts";
import { type DataPackage, type WorldCase, type WorldReport, worldReport } from "./world-job.ts";

const entry: string = "/dist/index.js";
const engineEntry: string = "/dist/engine/index.js";
const dataEntry: string = "/dist/data/index.js";
const visionEntry: string = "/dist/vision/index.js";
const modelsEntry: string = "/dist/models/index.js";
const tensorEntry: string = "/dist/tensor/index.js";

const onPage = {
  /** What the host in a worker of this page answers. */
  chat: async (script: string): Promise<ChatReport> => {
    const engine = (await import(engineEntry)) as EnginePackage;
    return chatReport(engine, engine.workerChannel(new Worker(script, { type: "module" })));
  },
  /** Logits of a small forward pass, as in `oneForward`. */
  forward: async (threads: number) => oneForward((await import(entry)) as DeepseekPackage, threads),
  /** Images, decoded and cut into tiles on this page. */
  images: async (cases: readonly ImageCase[], processor: unknown): Promise<ImageReport> =>
    imageReport(
      (await import(visionEntry)) as VisionPackage,
      (await import(modelsEntry)) as ModelsPackage,
      (await import(tensorEntry)) as TensorPackage,
      cases,
      processor,
    ),
  /** The message with which a device refuses to start; null if it starts. */
  refusal: async (): Promise<string | null> => {
    const { createCpuDevice, DeepseekError } = (await import(entry)) as DeepseekPackage;
    try {
      await createCpuDevice();
      return null;
    } catch (error) {
      return error instanceof DeepseekError ? error.message : `not a DeepseekError: ${error}`;
    }
  },
  /** The picture world, drawn and read on this page. */
  world: async (cases: readonly WorldCase[]): Promise<WorldReport> =>
    worldReport((await import(dataEntry)) as DataPackage, cases),
};

export type OnPage = typeof onPage;

Object.assign(globalThis, { onPage });
