/**
 * Bodies of /v1/images/generations: OpenAI's fields, and as extensions the settings of drawing. Fields that would change the
 * pictures but are not served are refused by name.
 */
import { z } from "zod";
import { type FlowSolver, flowSolvers, MOST_FLOW_STEPS } from "../engine/draw/flow-sampler.ts";
import type { DrawingRequest, ImageOutput } from "../engine/host/protocol.ts";
import { object, read, refuseFields } from "./body.ts";
import { invalidRequest } from "./errors.ts";

/** Most pictures of a request, as in OpenAI's interface. */
const MOST_PICTURES = 10;
/** Most partial pictures of each, as there. */
const MOST_PARTIAL = 3;
const MOST_CHARACTERS = 32_000;

const schema = z.object({
  model: z.string().nullish(),
  prompt: z.string().min(1).max(MOST_CHARACTERS),
  n: z.int().min(1).max(MOST_PICTURES).nullish(),
  size: z.string().nullish(),
  stream: z.boolean().nullish(),
  partial_images: z.int().min(0).max(MOST_PARTIAL).nullish(),
  // Extensions.
  seed: z.int().min(0).nullish(),
  guidance: z.number().nullish(),
  temperature: z.number().min(0).nullish(),
  top_k: z.int().min(0).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  steps: z.int().min(1).max(MOST_FLOW_STEPS).nullish(),
  solver: z.enum(Object.keys(flowSolvers) as [FlowSolver]).nullish(),
});

/** Fields with the values that change nothing, and why others are refused. */
export const REFUSED_DRAWING = [
  {
    field: "response_format",
    neutral: ["b64_json"],
    why: "pictures are not kept here, so they have no address; 'b64_json' is what there is",
  },
  {
    field: "quality",
    neutral: ["auto", "standard"],
    why: "the model draws in one quality; 'steps' of JanusFlow is what there is",
  },
  { field: "style", neutral: [], why: "say it in the prompt" },
  { field: "background", neutral: ["auto", "opaque"], why: "the model draws no transparent pictures" },
  { field: "output_format", neutral: ["png"], why: "pictures are PNG files" },
  { field: "output_compression", neutral: [100], why: "PNG files lose nothing" },
  { field: "moderation", neutral: ["auto", "low"], why: "nothing is moderated here" },
] as const;

export interface ParsedDrawing {
  readonly model: string | null;
  readonly job: DrawingRequest;
  readonly stream: boolean;
}

/** @throws ApiError naming the field that is wrong */
export function parseDrawing(body: unknown): ParsedDrawing & { readonly size: string | null } {
  const fields = object(body);
  refuseFields(REFUSED_DRAWING, fields);
  const {
    model,
    prompt,
    n,
    size,
    stream,
    partial_images: partials,
    seed,
    ...settings
  } = read(schema, fields);
  if (prompt.trim() === "") throw invalidRequest("'prompt' must not be empty.", "prompt");
  if (partials && !stream) {
    throw invalidRequest("'partial_images' need 'stream': true.", "partial_images");
  }
  const { guidance, temperature, top_k: topK, top_p: topP, steps, solver } = settings;
  const given = Object.entries({ guidance, temperature, topK, topP, steps, solver }).filter(
    ([, value]) => value != null,
  );
  return {
    model: model ?? null,
    size: size ?? null,
    stream: stream ?? false,
    job: {
      prompt,
      count: n ?? 1,
      seed: seed ?? crypto.getRandomValues(new Uint32Array(1))[0],
      partials: partials ?? 0,
      ...(Object.fromEntries(given) as Partial<DrawingRequest>),
    },
  };
}

/** Refuses what the model cannot draw, by name. @throws ApiError */
export function checkDrawing(output: ImageOutput | null, name: string, size: string | null): string {
  if (output === null) {
    throw invalidRequest(`The model '${name}' does not draw.`, "model", "drawing_not_supported");
  }
  if (output.size === null) {
    throw invalidRequest(
      `The model '${name}' cannot draw now: ${output.missing}`,
      "model",
      "autoencoder_missing",
    );
  }
  const own = `${output.size}x${output.size}`;
  if (size === null || size === "auto" || size === own) return own;
  throw invalidRequest(
    `'size' must be '${own}' or 'auto': the model draws pictures of this size only; found '${size.slice(0, 40)}'.`,
    "size",
    "unsupported_size",
  );
}
