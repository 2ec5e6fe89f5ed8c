/**
 * A SigLIP-L/16-384 tower of a few blocks in Chromium: this package beside onnxruntime-web (WebAssembly, as many threads) on the
 * same weights, in one page and in turn. In a browser the inner loop has 128-bit vectors. Needs a Chromium, onnxruntime-web in
 * `bench/peers`, a current `dist/`, and a Python with torch, onnx and onnxscript that exports the graph.
 * Options: --python FILE (or DEEPSEEK_TS_PEER_PYTHON), --blocks N, --rounds N, --threads N.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { withTemporaryFolder } from "../../src/files/temporary.ts";
import { createCpuDevice } from "../../src/tensor/cpu/backend.ts";
import { findChromium } from "../../test/browser/chromium.ts";
import type { BenchmarkResult } from "../run.ts";
import { withPage } from "../support/isolated-page.ts";
import { median, round } from "../support/numbers.ts";
import { makeSiglip, randomPixels, siglipOperations, towerConfigs, writeTower } from "../support/towers.ts";
import { startChild } from "./child.ts";
import type { OnPage } from "./vision-page.ts";

export const name = "peers/vision-web";

/** In the page only. */
declare const onPage: OnPage;

const root = fileURLToPath(new URL("../..", import.meta.url));

export async function run(log: (line: string) => void, args: string[] = []): Promise<BenchmarkResult> {
  const { values } = parseArgs({
    args,
    options: {
      python: { type: "string", default: process.env.DEEPSEEK_TS_PEER_PYTHON },
      blocks: { type: "string", default: "4" },
      rounds: { type: "string", default: "5" },
      threads: { type: "string", default: "2" },
    },
  });
  const executablePath = findChromium();
  if (values.python === undefined || executablePath === null) {
    throw new Error(
      "peers/vision-web needs a Python with torch (--python FILE) and a Chromium (CHROMIUM_PATH)",
    );
  }
  const python = values.python;
  const config = { ...towerConfigs().siglipL, layers: Number(values.blocks), pool: false };
  const threads = Number(values.threads);
  const report = await withTemporaryFolder("deepseek-ts-web-", async (folder) => {
    const [weights, pixels, graph] = ["tower.safetensors", "pixels", "tower.onnx"].map((file) =>
      join(folder, file),
    );
    {
      await using device = await createCpuDevice({ threads });
      using tower = makeSiglip(device, config, "f32");
      using picture = randomPixels(device, 1, config.imageSize);
      await writeTower(tower, weights);
      await writeFile(pixels, (await picture.data()) as Float32Array);
    }
    {
      const script = fileURLToPath(new URL("vision_torch.py", import.meta.url));
      await using torch = await startChild<object>(python, [script]);
      await torch.ask(JSON.stringify({ load: weights, config, dtype: "float32", pixels }));
      await torch.ask(JSON.stringify({ export: graph }));
    }
    const folders = {
      dist: join(root, "dist"),
      kernels: join(root, "kernels"),
      ort: join(root, "bench/peers/node_modules/onnxruntime-web/dist"),
      data: folder,
    };
    return await withPage(
      executablePath,
      folders,
      new URL("vision-page.ts", import.meta.url),
      (page, version) => {
        log(`Chromium ${version}, ${threads} threads, ${config.layers} blocks of SigLIP-L/16-384`);
        return page.evaluate(([towerConfig, count, rounds]) => onPage.compare(towerConfig, count, rounds), [
          config,
          threads,
          Number(values.rounds),
        ] as const);
      },
    );
  });
  const operations = siglipOperations(config);
  const [ours, onnx] = [Math.min(...report.ours), Math.min(...report.onnx)];
  const each = report.ours.map((ms, i) => report.onnx[i] / ms);
  const rate = (ms: number) => (operations / ms / 1e6).toFixed(0);
  log(`outputs differ by ${report.difference.toExponential(1)} (rms)`);
  log(
    `this package ${ours.toFixed(0)} ms, ${rate(ours)} GFLOP/s; inner loop ${median(report.peaks).toFixed(0)}`,
  );
  log(`onnxruntime-web ${onnx.toFixed(0)} ms, ${rate(onnx)} GFLOP/s`);
  log(
    `ratio ${(onnx / ours).toFixed(2)} (rounds ${Math.min(...each).toFixed(2)} to ${Math.max(...each).toFixed(2)})`,
  );
  if (!(report.difference < 1e-4))
    throw new Error(`outputs differ by ${report.difference}, expected less than 1e-4`);
  return {
    metrics: {
      "ours, ms": round(ours),
      "onnxruntime-web, ms": round(onnx),
      "inner loop GFLOP/s": round(median(report.peaks)),
    },
    ratios: { "onnxruntime-web over ours": round(onnx / ours, 3) },
  };
}
