/** Jobs that are not answers: what each kind does with its body. */

import { dirname } from "node:path";
import { checkFolderPlace, realPlace } from "../../files/place.ts";
import { makeFolders } from "../../files/temporary.ts";
import { type JsonValue, toPlain } from "../../json/index.ts";
import { downloadModel } from "../../pretrained/hub.ts";
import { parseHubName } from "../../pretrained/hub-name.ts";
import type { HubOptions } from "../../pretrained/hub-settings.ts";
import { object } from "../body.ts";
import { invalidRequest } from "../errors.ts";
import type { JobPlan } from "./jobs.ts";
import { bytesNeeded } from "./model-facts.ts";
import type { StoredModels } from "./model-list.ts";
import type { OpenModels } from "./open-models.ts";
import { openPlan } from "./open-plan.ts";
import type { JobKind } from "./protocol.ts";
import { type BodyOf, bodyOf } from "./requests.ts";
import type { Roots } from "./roots.ts";
import { shownPath } from "./shown-path.ts";
import type { StudioLean } from "./studio-lean.ts";

export interface WorkParts {
  readonly open: OpenModels;
  readonly stored: StoredModels;
  readonly roots: Roots;
  readonly lean: StudioLean;
  readonly threads?: number;
  readonly text?: string;
  readonly hub?: HubOptions;
}

/** Makes the plans of one kind of job. */
type Planner = (body: unknown) => Promise<JobPlan>;

export class WorkPlans {
  readonly #planners: Partial<Record<JobKind, Planner>>;
  readonly #parts: WorkParts;

  constructor(parts: WorkParts) {
    this.#parts = parts;
    this.#planners = {
      open: (body) => this.#open(bodyOf("open", body)),
      train: async (body) => {
        const { trainPlan } = await import("./train-jobs.ts");
        return await trainPlan(bodyOf("train", body), parts);
      },
      resume: async (body) => {
        const { resumePlan } = await import("./train-jobs.ts");
        return await resumePlan(bodyOf("resume", body), parts);
      },
      verify: async (body) => {
        const { verifyPlan } = await import("./prove-jobs.ts");
        return verifyPlan(object(body), parts);
      },
      check: async (body) => {
        const { checkPlan } = await import("./prove-jobs.ts");
        return checkPlan(bodyOf("check", body), parts);
      },
      prove: async (body) => {
        const { provePlan } = await import("./prove-jobs.ts");
        return await provePlan(bodyOf("prove", body), parts);
      },
      convert: (body) => this.#convert(bodyOf("convert", body)),
      quantize: (body) => this.#quantize(bodyOf("quantize", body)),
      download: async (body) => downloadPlan(bodyOf("download", body).model, parts.hub),
    };
  }

  /** Kinds of job that there are plans for. */
  get kinds(): readonly JobKind[] {
    return Object.keys(this.#planners) as JobKind[];
  }

  /** @throws ApiError 400 for a kind that there is none of, and for a body that is none of its kind */
  async plan(kind: string, body: JsonValue, inside: boolean): Promise<JobPlan> {
    const planner = Object.hasOwn(this.#planners, kind) ? this.#planners[kind as JobKind] : undefined;
    if (planner === undefined) {
      const known = ["chat", "complete", "draw", ...this.kinds].join(", ");
      throw invalidRequest(
        `There is no job of the kind '${kind}'; there are ${known}.`,
        "kind",
        "invalid_value",
      );
    }
    if (inside) {
      throw invalidRequest("Only answers have an inside.", "inside", "unsupported_parameter");
    }
    return await planner(toPlain(body));
  }

  /** Writes a model with fewer bits. */
  async #quantize({ model, dtype, out }: BodyOf<"quantize">): Promise<JobPlan> {
    const { stored, roots, threads } = this.#parts;
    const { path } = await stored.find(model);
    const folder = await roots.place(out);
    await checkFolderPlace(await realPlace(folder), { sources: [path] });
    return {
      ...{ lane: "files", title: `quantize ${model} to ${dtype} as ${shownPath(out)}`, model, leaves: {} },
      async run({ signal, progress }) {
        const { workInThread } = await import("../../runs/work-thread.ts");
        const task = { model: path, offline: true, out: folder, dtype, threads };
        const text = "quantizes";
        progress({ done: 0, total: null, unit: "bytes", text });
        const { bytes, bitsPerWeight } = await workInThread(
          "quantize",
          task,
          (event) => {
            if (event.type !== "progress") return;
            progress({ done: event.progress.done, total: event.progress.total, unit: "bytes", text });
          },
          signal,
        );
        return { model: shownPath(out), bytes, bitsPerWeight };
      },
    };
  }

  /** Writes a model as a GGUF file. */
  async #convert({ model, type, out }: BodyOf<"convert">): Promise<JobPlan> {
    const { stored, roots } = this.#parts;
    const { path } = await stored.find(model);
    if (!out.path.endsWith(".gguf")) {
      throw invalidRequest("The name of a GGUF file ends in .gguf.", "body.out.path", "invalid_value");
    }
    const file = await roots.place(out);
    return {
      ...{ lane: "files", title: `convert ${model} to ${type} as ${shownPath(out)}`, model, leaves: {} },
      async run({ signal, progress }) {
        const { workInThread } = await import("../../runs/work-thread.ts");
        const text = "converts";
        progress({ done: 0, total: null, unit: "bytes", text });
        await makeFolders(dirname(file));
        const { bytes, lost } = await workInThread(
          "convert",
          { model: path, out: file, type },
          (event) => {
            if (event.type === "progress")
              progress({ done: event.done, total: event.total, unit: "bytes", text });
          },
          signal,
        );
        return { model: shownPath(out), bytes, lost };
      },
    };
  }

  /** Opens a model. */
  async #open({ model, dtype, context, speculative }: BodyOf<"open">): Promise<JobPlan> {
    const { open, stored, threads } = this.#parts;
    const { path, partial } = await stored.find(model);
    return openPlan(open, {
      ...{ model, partial },
      settings: { model: path, offline: true, dtype, context, speculative, threads },
      needed: () => bytesNeeded(path, { dtype, context }),
    });
  }
}

/** Downloads a model into the cache of the hub; one that was stopped goes on where it was. @throws ApiError 400 */
function downloadPlan(model: string, hub: HubOptions = {}): JobPlan {
  if (parseHubName(model) === null) {
    throw invalidRequest(
      `'${model.slice(0, 100)}' is not the name of a model on the hub: expected org/name or org/name@revision.`,
      "body.model",
      "invalid_value",
    );
  }
  return {
    ...{ lane: "download", title: `download ${model}`, model, leaves: { model } },
    async run({ signal, progress }) {
      progress({ done: 0, total: null, unit: "bytes", text: "asks the hub" });
      const { commit, files, fromCache } = await downloadModel(model, {
        ...{ ...hub, signal },
        onProgress: ({ done, total }) => progress({ done, total, unit: "bytes", text: "downloads" }),
      });
      return { commit, files: files.length, fromCache };
    },
  };
}
