/**
 * Drawing in Chromium and in Node, in turn on one machine, by the same build: steps of Janus under guidance and its image tokenizer's
 * decoder. Node's joined vectors, which no browser has, are off. Needs a Chromium and a current `dist/`.
 * Options: --layers N (blocks of the language model, of 24), --format q8|q4, --images N, --rounds N, --steps N (timed), --threads N.
 */
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { findChromium } from "../test/browser/chromium.ts";
import type { BenchmarkResult } from "./run.ts";
import type { DrawTimes, DrawWork, OnPage } from "./support/draw-work.ts";
import { withPage } from "./support/isolated-page.ts";
import { median, round, table } from "./support/numbers.ts";

export const name = "draw-web";

/** In the page, and in this process. */
declare const onPage: OnPage;

const script = new URL("support/draw-work.ts", import.meta.url);

export async function run(log: (line: string) => void, args: string[] = []): Promise<BenchmarkResult> {
  const { values } = parseArgs({
    args,
    options: {
      layers: { type: "string", default: "6" },
      format: { type: "string", default: "q4" },
      images: { type: "string", default: "1" },
      rounds: { type: "string", default: "5" },
      steps: { type: "string", default: "12" },
      threads: { type: "string", default: "2" },
    },
  });
  if (values.format !== "q8" && values.format !== "q4") {
    throw new Error(`--format: expected q8 or q4, found "${values.format}"`);
  }
  const executablePath = findChromium();
  if (executablePath === null) throw new Error("draw-web needs a Chromium (CHROMIUM_PATH)");
  const [rounds, steps] = [Number(values.rounds), Number(values.steps)];
  const dist = fileURLToPath(new URL("../dist", import.meta.url));
  const work: Omit<DrawWork, "dist"> = {
    ...{ threads: Number(values.threads), layers: Number(values.layers), format: values.format },
    images: Number(values.images),
  };
  const folders = { dist, kernels: fileURLToPath(new URL("../kernels", import.meta.url)) };
  const measured = await withPage(executablePath, folders, script, async (page, version) => {
    log(`Chromium ${version}; Janus-1.3B, ${work.layers} blocks in ${work.format}, ${work.threads} threads`);
    await page.evaluate(async (given) => {
      onPage.measure = await onPage.prepareDraw({ ...given, dist: `${location.origin}/dist/` });
    }, work);
    await import(script.href);
    const inNode = await onPage.prepareDraw({ ...work, dist: `${pathToFileURL(dist)}/` });
    const times: { readonly node: DrawTimes; readonly page: DrawTimes }[] = [];
    for (let i = 0; i < rounds; i++) {
      const node = await inNode(steps);
      times.push({ node, page: await page.evaluate((count) => onPage.measure!(count), steps) });
    }
    return times;
  });
  const rows = [["", "Node, ms", "Chromium, ms", "Chromium's speed over Node's", "rounds"]];
  const metrics: Record<string, number> = {};
  const ratios: Record<string, number> = {};
  for (const part of ["step", "decode"] as const) {
    const [node, web] = (["node", "page"] as const).map((where) =>
      Math.min(...measured.map((each) => each[where][part])),
    );
    const each = measured.map((both) => both.node[part] / both.page[part]);
    metrics[`${part} in Node, ms`] = round(node);
    metrics[`${part} in Chromium, ms`] = round(web);
    ratios[`${part}: Chromium over Node`] = round(median(each), 3);
    rows.push([
      ...[part, node.toFixed(1), web.toFixed(1), median(each).toFixed(2)],
      `${Math.min(...each).toFixed(2)} to ${Math.max(...each).toFixed(2)}`,
    ]);
  }
  for (const line of table(rows)) log(line);
  return { metrics, ratios };
}
