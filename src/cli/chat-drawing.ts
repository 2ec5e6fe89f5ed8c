/** Drawing in a conversation at the terminal: a picture of each prompt goes to a file of its own, as `deepseek-ts draw` writes it. */
import { randomInt } from "node:crypto";
import { codeGrid } from "../engine/draw/code-sampler.ts";
import { draw } from "../engine/draw/draw.ts";
import type { LoadedModel } from "../pretrained/load.ts";
import { ConfigError } from "../tensor/errors.ts";
import { type DrawnWith, surveyPrompt } from "./draw-files.ts";
import { type DrawJobEvent, drawHandler, drawProgressText } from "./draw-job.ts";
import { openPreview, type Screen } from "./draw-preview.ts";
import { plannedPictures } from "./draw-tasks.ts";

/** Draws a picture and resolves to the path of its file; null if it was stopped. @param tell shows how far it is */
export type ChatDraw = (
  prompt: string,
  signal: AbortSignal,
  tell: (text: string | null) => void,
) => Promise<string | null>;

export interface ChatDrawingOptions {
  readonly dtype: string;
  /** Folder of the pictures; default: the current one. */
  readonly folder?: string;
  /** Where pictures are shown while they grow, if it can show any. */
  readonly screen: Screen;
  /** Default: another one each time. */
  readonly seed?: () => number;
}

/** What `/draw` does with a model. @throws ConfigError (when it draws) for a model that draws nothing */
export function chatDrawing(
  opened: LoadedModel,
  { dtype, folder = ".", screen, seed = () => randomInt(2 ** 32) }: ChatDrawingOptions,
): ChatDraw {
  return async (prompt, signal, tell) => {
    const { drawing, name } = opened;
    if (drawing === null) {
      throw new ConfigError("the model does not draw", {
        where: name,
        found: "/draw",
        hint: "Use deepseek-ai/Janus-Pro-1B or deepseek-ai/JanusFlow-1.3B.",
      });
    }
    const { kind } = drawing.generation;
    const guidance = opened.generationConfig.guidanceScale;
    const made: DrawnWith = { model: opened.source.repo ?? name, dtype, kind, guidance };
    const task = { prompt, seed: seed(), count: 1, line: null };
    const { missing } = await surveyPrompt(plannedPictures(folder, [task]), made);
    const quiet: Screen = {
      ...{ isTTY: screen.isTTY, rows: screen.rows },
      write(text) {
        tell(null);
        screen.write(text);
      },
    };
    const preview = openPreview("auto", quiet, process.env, () => {});
    const handler = drawHandler((request) => draw(opened, request), preview, codeGrid(drawing.model));
    let path: string | null = null;
    const emit = (event: DrawJobEvent) => {
      if (event.kind === "progress") tell(drawProgressText(event));
      else path = event.path;
    };
    try {
      await handler({ pictures: missing, made }, { id: "draw", signal, emit });
    } catch (error) {
      if (!signal.aborted) throw error;
    }
    return path;
  };
}
