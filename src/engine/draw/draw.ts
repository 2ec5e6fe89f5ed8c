/** Drawing with a loaded model, whatever it draws with: a request is checked, its prompt written, and images come as events. */
import { drawingPrompt } from "../../chat/vl-prompt.ts";
import { HALF } from "../../models/tower-parts.ts";
import type { LoadedModel } from "../../pretrained/load.ts";
import { autoencoderOf, type LoadedDrawing } from "../../pretrained/load-drawing.ts";
import { ConfigError } from "../../tensor/errors.ts";
import type { RgbImage } from "../../vision/image/image.ts";
import { pixelValues } from "../../vision/pixels.ts";
import { squareImage } from "../../vision/square-image.ts";
import type { Engine } from "../engine.ts";
import { inRange } from "../request.ts";
import { checkSampling } from "../sampling.ts";
import { codeImageSide, drawCodes, reconstructCodes } from "./code-drawing.ts";
import { type DrawEvent, type DrawRequest, MOST_IMAGES } from "./events.ts";
import { drawFlow, flowImageSide, reconstructVae } from "./flow-drawing.ts";
import { turnsOf } from "./turns.ts";

/** Characters of a prompt beyond which it is refused unread: more than any context of tokens holds. */
const MOST_CHARACTERS = 2 ** 20;

/** Images have indices below this, so that seed and index make a stream. */
const MOST_INDEX = 2 ** 31;

/** What each kind of model obeys beside what all do. */
const OWN = {
  codes: ["temperature", "topK", "topP"],
  flow: ["steps", "solver"],
} as const;

type Kind = keyof typeof OWN;

const NAMES: Readonly<Record<Kind, string>> = { codes: "Janus", flow: "JanusFlow" };
const COMMON = ["prompt", "count", "seed", "first", "guidance", "previews", "signal"];

/** Refuses what a request does not mean, and values out of range, by name. @throws ConfigError */
export function checkDrawRequest(request: DrawRequest, kind: Kind): void {
  const where = "draw";
  const other = kind === "codes" ? "flow" : "codes";
  for (const [name, value] of Object.entries(request)) {
    if (value === undefined || COMMON.includes(name) || (OWN[kind] as readonly string[]).includes(name))
      continue;
    const known = (OWN[other] as readonly string[]).includes(name);
    const message = known ? `${NAMES[kind]} draws without this: it is ${NAMES[other]}'s` : "unknown field";
    throw new ConfigError(message, { where, name, expected: [...COMMON, ...OWN[kind]], found: value });
  }
  const { prompt, count = 1, seed = 0, first = 0, guidance = 1, previews = 0 } = request;
  if (typeof prompt !== "string" || prompt.length > MOST_CHARACTERS) {
    const found = typeof prompt === "string" ? `${prompt.length} characters` : typeof prompt;
    const expected = `a text of at most ${MOST_CHARACTERS} characters`;
    throw new ConfigError("no prompt to draw", { where, name: "prompt", expected, found });
  }
  inRange(where, "count", count, 1, MOST_IMAGES);
  inRange(where, "seed", seed, 0, Number.MAX_SAFE_INTEGER);
  inRange(where, "first", first, 0, MOST_INDEX - MOST_IMAGES);
  inRange(where, "previews", previews, 0, Number.MAX_SAFE_INTEGER);
  if (!Number.isFinite(guidance)) {
    throw new ConfigError("out of range", {
      where,
      name: "guidance",
      expected: "a number",
      found: guidance,
    });
  }
  checkSampling(request);
}

/** What drawing needs of a loaded model; the guidance that its makers advise is taken where a request names none. */
export type DrawingModel = Pick<LoadedModel, "drawing" | "vision" | "tokenizer" | "name"> &
  Partial<Pick<LoadedModel, "generationConfig">>;

/** @throws ConfigError */
function drawingOf({ drawing, vision, name }: DrawingModel): LoadedDrawing {
  if (drawing !== null) return drawing;
  const draws = vision !== null && vision.model.config.generation !== null;
  throw new ConfigError(
    draws ? "the model was opened without what it draws with" : "the model does not draw",
    {
      where: name,
      expected: draws ? "load(name, { drawing: true })" : "a model of Janus or JanusFlow",
    },
  );
}

export interface DrawOptions {
  /**
   * An engine of the same language model, whose passes Janus shares with what runs there; it goes on while events are read.
   * Drawings with JanusFlow share passes of their own, which run a layer at a time between those of the engine.
   */
  readonly engine?: Engine;
}

/**
 * Draws images of a prompt. The same seed gives the same images, whatever is drawn beside them.
 * @throws ConfigError, QueueFullError and EngineFailedError at once, if the model cannot do what is asked or the engine takes no
 * more; later ShapeError, LogitsError, the signal's reason
 */
export function draw(
  model: DrawingModel,
  request: DrawRequest,
  { engine }: DrawOptions = {},
): AsyncGenerator<DrawEvent, void, void> {
  const drawing = drawingOf(model);
  const { generation, model: whole, padId } = drawing;
  checkDrawRequest(request, generation.kind);
  const family = model.vision?.family;
  if (model.tokenizer === null || family === undefined || family === "vl" || family === "vl2") {
    throw new ConfigError("the model has no tokenizer to write a prompt with", {
      where: model.name,
      expected: "tokenizer.json",
    });
  }
  const { prompt, ...given } = request;
  const guidance = given.guidance ?? model.generationConfig?.guidanceScale ?? undefined;
  const rest = { ...given, ...(guidance !== undefined && { guidance }) };
  const ids = drawingPrompt(prompt, model.tokenizer, family);
  if (engine !== undefined && engine.model !== whole.language) {
    throw new ConfigError("the engine runs another model", { where: model.name, name: "engine" });
  }
  const place = engine?.place(rest.signal);
  if (generation.kind === "codes") return drawCodes(whole, ids, padId, rest, place);
  return drawFlow(whole, autoencoderOf(drawing), ids, rest, place);
}

/**
 * What a model's image tokenizer or autoencoder makes of an image: its middle square, at the size that the model draws. What
 * is lost here no drawing can have. @throws ConfigError, ShapeError, the signal's reason
 */
export async function reconstruct(
  model: DrawingModel,
  image: RgbImage,
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<RgbImage> {
  const drawing = drawingOf(model);
  const { model: whole, generation } = drawing;
  const { device } = whole;
  const turn = turnsOf(signal);
  const vae = generation.kind === "flow" ? autoencoderOf(drawing) : null;
  const side = vae === null ? codeImageSide(whole) : flowImageSide(whole, vae);
  const square = await squareImage(image, side, device);
  const values = pixelValues([square], { rescale: null, meanAndStd: HALF });
  using pixels = device.unscoped(() => device.tensor(values, [1, side, side, 3]));
  return vae === null ? await reconstructCodes(whole, pixels, turn) : await reconstructVae(vae, pixels, turn);
}
