/** The job that opens a model, wherever it lies. Runs in pages too. */
import type { EngineSettings } from "../engine-settings.ts";
import { ApiError } from "../errors.ts";
import type { JobPlan } from "./jobs.ts";
import type { OpenModels } from "./open-models.ts";

export interface ModelToOpen {
  readonly model: string;
  /** Whether files are missing. */
  readonly partial: boolean;
  readonly settings: EngineSettings;
  /** Bytes that it needs, as far as that can be told before. */
  readonly needed: () => Promise<number>;
}

/** @throws ApiError 409 where files are missing */
export function openPlan(open: OpenModels, { model, partial, settings, needed }: ModelToOpen): JobPlan {
  if (partial) {
    throw new ApiError({
      ...{ status: 409, type: "invalid_request_error", param: "body.model", code: "model_incomplete" },
      message: `Files of '${model}' are missing: its download did not end. Download it again, which goes on where it stopped.`,
    });
  }
  return {
    ...{ lane: "open", title: `open ${model}`, model },
    async run({ id, signal, progress }) {
      const text = "loads the weights";
      progress({ done: 0, total: null, unit: "bytes", text });
      const info = await open.open(model, {
        ...{ settings, signal, job: id },
        needed: await needed(),
        onLoading: (done, total) => progress({ done, total, unit: "bytes", text }),
      });
      progress({ done: info.weightBytes, total: info.weightBytes, unit: "bytes", text: "is open" });
      return { info };
    },
  };
}
