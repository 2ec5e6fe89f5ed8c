/** Loaded by the page itself: what runs on its own thread, without a worker in between. */
import { type ChatReport, chatReport, type EnginePackage, FILES } from "./chat-request.ts";
import type { DrawingReport } from "./drawing-job.ts";
import { type EvaluatePackage, evaluationReport } from "./evaluation-job.ts";
import {
  type ImageCase,
  type ImageReport,
  imageReport,
  type ModelsPackage,
  type TensorPackage,
  type VisionPackage,
} from "./image-job.ts";
import {
  type CheckpointPackage,
  type Judged,
  type ProofReport,
  type ProvePackage,
  searchReport,
  type VerdictReport,
  verdictsOf,
} from "./lean-job.ts";
import {
  drawnHash,
  type HostedReport,
  hostedReport,
  type PictureAnswer,
  type PictureCase,
} from "./picture-job.ts";
import { type DeepseekPackage, oneForward } from "./ten-steps.ts";
import { type DataPackage, type WorldCase, type WorldReport, worldReport } from "./world-job.ts";

const entry: string = "/dist/index.js";
const engineEntry: string = "/dist/engine/index.js";
const dataEntry: string = "/dist/data/index.js";
const evaluateEntry: string = "/dist/evaluate/index.js";
const visionEntry: string = "/dist/vision/index.js";
const modelsEntry: string = "/dist/models/index.js";
const proveEntry: string = "/dist/prove/browser.js";
const checkpointEntry: string = "/dist/checkpoint/index.js";
const tensorEntry: string = "/dist/tensor/index.js";

const readFile = async (path: string) => new Uint8Array(await (await fetch(`/${path}`)).arrayBuffer());

const onPage = {
  /** What the host in a worker of this page answers. */
  chat: async (script: string): Promise<ChatReport> => {
    const engine = (await import(engineEntry)) as EnginePackage;
    return chatReport(engine, engine.workerChannel(new Worker(script, { type: "module" })));
  },
  /** Logits of a small forward pass, as in `oneForward`. */
  forward: async (threads: number) => oneForward((await import(entry)) as DeepseekPackage, threads),
  /** Values of an evaluation of the model in a folder of the site. */
  evaluation: async (folder: string): Promise<readonly unknown[]> => {
    const read = FILES.map(async (name) => [name, await readFile(`${folder}/${name}`)] as const);
    return evaluationReport(
      (await import(entry)) as DeepseekPackage,
      (await import(evaluateEntry)) as EvaluatePackage,
      new Map(await Promise.all(read)),
    );
  },
  /** Images, decoded and cut into tiles on this page. */
  images: async (cases: readonly ImageCase[], processor: unknown): Promise<ImageReport> =>
    imageReport(
      (await import(visionEntry)) as VisionPackage,
      (await import(modelsEntry)) as ModelsPackage,
      (await import(tensorEntry)) as TensorPackage,
      cases,
      processor,
    ),
  /** What a worker of this page answers about pictures. */
  pictures: (folder: string, cases: readonly PictureCase[]): Promise<readonly PictureAnswer[]> =>
    new Promise((resolve, reject) => {
      const worker = new Worker("/picture-worker.js", { type: "module" });
      worker.onmessage = ({ data: { answers, error } }) => {
        worker.terminate();
        if (answers) resolve(answers);
        else reject(new Error(error));
      };
      worker.onerror = ({ message }) => reject(new Error(message));
      worker.postMessage([folder, cases]);
    }),
  /** What a worker of this page draws with the model of a folder that has these files. */
  drawings: (folder: string, names: readonly string[]): Promise<DrawingReport> =>
    new Promise((resolve, reject) => {
      const worker = new Worker("/drawing-worker.js", { type: "module" });
      worker.onmessage = ({ data: { report, error } }) => {
        worker.terminate();
        if (report) resolve(report);
        else reject(new Error(error));
      };
      worker.onerror = ({ message }) => reject(new Error(message));
      worker.postMessage([folder, names]);
    }),
  /** What a host in a worker of this page answers about pictures. */
  hostedPictures: async (
    folder: string,
    ...rest: readonly [readonly PictureCase[], readonly string[], string]
  ): Promise<HostedReport> => {
    const engine = (await import(engineEntry)) as EnginePackage;
    const worker = new Worker(`/host-worker.js?folder=${folder}`, { type: "module" });
    return hostedReport(engine, engine.workerChannel(worker), ...rest, readFile);
  },
  /** Shows a picture with boxes on this page; the hash of the pixels that are seen. */
  show: async (file: string, boxes: PictureAnswer["boxes"]): Promise<string> => {
    const vision = (await import(visionEntry)) as VisionPackage;
    return drawnHash({ vision }, file, boxes, readFile, ({ width, height, rgb }) => {
      const canvas = document.body.appendChild(document.createElement("canvas"));
      Object.assign(canvas, { width, height });
      const context = canvas.getContext("2d")!;
      const rgba = Uint8ClampedArray.from({ length: width * height * 4 }, (_, i) =>
        i % 4 === 3 ? 255 : rgb[(i >> 2) * 3 + (i % 4)],
      );
      context.putImageData(new ImageData(rgba, width, height), 0, 0);
      return Uint8Array.from(context.getImageData(0, 0, width, height).data.filter((_, i) => i % 4 < 3));
    });
  },
  /** Verdicts of a Lean in this page, whose files are in a folder of the site. */
  verdicts: async (url: string, proofs: readonly Judged[]): Promise<VerdictReport[]> => {
    const { openPageLean } = (await import(proveEntry)) as ProvePackage;
    await using lean = await openPageLean({ url });
    return await verdictsOf(lean, proofs);
  },
  /** A search with Lean and the model of a folder in this page. */
  proof: async (url: string, folder: string, statement: string): Promise<ProofReport> => {
    const packages = {
      deepseek: (await import(entry)) as DeepseekPackage,
      checkpoint: (await import(checkpointEntry)) as CheckpointPackage,
      engine: (await import(engineEntry)) as EnginePackage,
      prove: (await import(proveEntry)) as ProvePackage,
    };
    await using lean = await packages.prove.openPageLean({ url });
    return await searchReport(packages, lean, folder, statement, readFile);
  },
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
