/** What tests of drawing read of its events. */
import type { RgbImage } from "../../vision/image/image.ts";
import type { DrawEvent, DrawnImage, DrawProgress } from "./events.ts";

export async function allEvents(events: AsyncIterable<DrawEvent>): Promise<DrawEvent[]> {
  const found: DrawEvent[] = [];
  for await (const event of events) found.push(event);
  return found;
}

export const imagesIn = (events: readonly DrawEvent[]): DrawnImage[] =>
  events.filter((each): each is DrawnImage => each.type === "image");

/** Previews, with how much of their image was done. */
export const previewsIn = (events: readonly DrawEvent[]): (DrawProgress & { readonly preview: RgbImage })[] =>
  events.filter(
    (each): each is DrawProgress & { readonly preview: RgbImage } =>
      each.type === "progress" && each.preview !== undefined,
  );

/** The pictures of a drawing. */
export async function drawnImages(events: AsyncIterable<DrawEvent>): Promise<DrawnImage[]> {
  return imagesIn(await allEvents(events));
}

/** Their pixels. */
export async function pixelsOf(events: AsyncIterable<DrawEvent>): Promise<Uint8Array[]> {
  return (await drawnImages(events)).map(({ picture }) => picture.rgb);
}
