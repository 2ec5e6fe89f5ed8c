/** What the browser test draws on both sides, Node and Chromium. Packages come as arguments, so that this file loads in either. */
import type { EnginePackage } from "./chat-request.ts";
import type { DeepseekPackage } from "./ten-steps.ts";

export interface DrawingReport {
  /** Pixels of each image, whole and of its previews, in the order they came. */
  readonly pictures: readonly (readonly number[])[];
  /** Pixels of what the model makes of the first image. */
  readonly again: readonly number[];
}

/** Draws two images with the model of these files, the same for the same seed. */
export async function drawingReport(
  { deepseek, engine }: { readonly deepseek: DeepseekPackage; readonly engine: EnginePackage },
  files: ReadonlyMap<string, Uint8Array>,
): Promise<DrawingReport> {
  await using device = await deepseek.createCpuDevice({ threads: 2, relaxed: false });
  const tree = deepseek.memoryFolder(new Map(files), "model");
  await using model = await deepseek.loadFolder(tree, { device, drawing: true });
  const request = { prompt: "a red ring left of a blue cross", count: 2, seed: 11, previews: 2 };
  const pictures: number[][] = [];
  let first = null;
  for await (const event of engine.draw(model, request)) {
    const picture = event.type === "image" ? event.picture : event.preview;
    if (picture) pictures.push([...picture.rgb]);
    if (event.type === "image") first ??= event.picture;
  }
  return { pictures, again: [...(await engine.reconstruct(model, first!)).rgb] };
}
