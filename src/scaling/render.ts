/** Vega-Lite specifications as files of a sweep's folder; as pictures too where the optional packages are there. */
import { join } from "node:path";
import { rewriteOwnFile } from "../files/owned.ts";
import { makeFolders } from "../files/temporary.ts";
import { writeJson, writeText } from "../runs/json-file.ts";
import type { PlotSpec } from "./plots.ts";

/** PNG pixels for each of SVG's. */
const PNG_DENSITY = 144;

async function loaded<M>(load: () => Promise<M>): Promise<M | null> {
  try {
    return await load();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ERR_MODULE_NOT_FOUND") return null;
    throw error;
  }
}

export interface WrittenPlots {
  readonly folder: string;
  readonly names: readonly string[];
  /** What to install for pictures that are missing; null if none is. */
  readonly missing: string | null;
}

/**
 * Writes `NAME.vl.json` of each specification into `folder`, with `vega` and `vega-lite` also `NAME.svg`, and with `sharp`
 * `NAME.png`.
 */
export async function writePlots(
  folder: string,
  specs: Readonly<Record<string, PlotSpec>>,
): Promise<WrittenPlots> {
  await makeFolders(folder);
  const names = Object.keys(specs);
  for (const name of names) await writeJson(join(folder, `${name}.vl.json`), specs[name]);
  const [vega, lite, sharp] = await Promise.all([
    loaded(() => import("vega")),
    loaded(() => import("vega-lite")),
    loaded(() => import("sharp")),
  ]);
  if (vega === null || lite === null) return { folder, names, missing: "vega vega-lite sharp" };
  for (const name of names) {
    const { spec } = lite.compile(specs[name] as unknown as Parameters<typeof lite.compile>[0]);
    const view = new vega.View(vega.parse(spec), { renderer: "none" });
    const svg = await view.toSVG();
    view.finalize();
    await writeText(join(folder, `${name}.svg`), svg);
    if (sharp === null) continue;
    const png = await sharp.default(Buffer.from(svg), { density: PNG_DENSITY }).png().toBuffer();
    await rewriteOwnFile(join(folder, `${name}.png`), (write) => write(png));
  }
  return { folder, names, missing: sharp === null ? "sharp" : null };
}
