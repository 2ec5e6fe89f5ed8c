/**
 * Whether a drawn picture shows what its caption asks for: loosely, as GenEval judges, or strictly. Malformed objects
 * count as objects.
 */

import type { RgbImage } from "../../vision/image/image.ts";
import type { CaptionContent } from "./captions.ts";
import { parseCaption } from "./captions.ts";
import { type FoundObject, readScene } from "./checker.ts";
import { distanceAlong, LEAST_DISTANCE } from "./names.ts";
import type { ObjectSpec } from "./scene.ts";

export interface Verdict {
  /** Every named thing is there, in the named relation; sizes do not count, further objects do no harm. */
  readonly loose: boolean;
  /** The same with the named sizes, and nothing else is there, and nothing is malformed. */
  readonly strict: boolean;
}

function isThing(object: FoundObject, { shape, color, size }: ObjectSpec, sizes: boolean): boolean {
  return (
    object.shape === shape &&
    (color === undefined || object.color === color) &&
    (!sizes || size === undefined || object.size === size)
  );
}

/** Whether every thing has its own object, and the first two, if a relation is named, lie in it. */
function shows(
  objects: readonly FoundObject[],
  { things, relation }: CaptionContent,
  sizes: boolean,
): boolean {
  if (things.length === 1) return objects.some((object) => isThing(object, things[0], sizes));
  const [first, second] = things;
  return objects.some(
    (a) =>
      isThing(a, first, sizes) &&
      objects.some(
        (b) =>
          b !== a &&
          isThing(b, second, sizes) &&
          (relation === null || distanceAlong(relation, a, b) >= LEAST_DISTANCE),
      ),
  );
}

/** Judges the objects of a picture by what a caption asks for. */
export function judge(objects: readonly FoundObject[], content: CaptionContent): Verdict {
  const { category, things } = content;
  const alone = objects.length === things.length && objects.every(({ malformed }) => !malformed);
  if (category === "counting") {
    const counted = objects.filter((object) => isThing(object, things[0], false));
    const loose = counted.length === things.length;
    return { loose, strict: loose && alone };
  }
  return { loose: shows(objects, content, false), strict: alone && shows(objects, content, true) };
}

/** Reads a drawn picture and judges it. @throws ConfigError for no scene, or no caption of the world */
export function judgeDrawing(
  image: RgbImage,
  caption: string,
): Verdict & { readonly objects: readonly FoundObject[] } {
  const objects = readScene(image);
  return { ...judge(objects, parseCaption(caption)), objects };
}
