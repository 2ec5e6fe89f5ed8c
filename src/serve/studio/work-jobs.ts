/** Jobs that are not answers: what each kind does with its body. */
import { type JsonValue, toPlain } from "../../json/index.ts";
import { ApiError, invalidRequest } from "../errors.ts";
import type { JobPlan } from "./jobs.ts";
import { bytesNeeded } from "./model-facts.ts";
import type { StoredModels } from "./model-list.ts";
import type { OpenModels } from "./open-models.ts";
import type { JobKind } from "./protocol.ts";
import { type BodyOf, bodyOf } from "./requests.ts";

export interface WorkParts {
  readonly open: OpenModels;
  readonly stored: StoredModels;
  readonly threads?: number;
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

  /** Opens a model. */
  async #open({ model, dtype, context, speculative }: BodyOf<"open">): Promise<JobPlan> {
    const { open, stored, threads } = this.#parts;
    const { path, partial } = await stored.find(model);
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
          settings: { model: path, offline: true, dtype, context, speculative, threads },
          needed: await bytesNeeded(path, { dtype, context }),
          job: id,
          signal,
          onLoading: (done, total) => progress({ done, total, unit: "bytes", text }),
        });
        return { info };
      },
    };
  }
}
