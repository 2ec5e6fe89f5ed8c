/** Parity of towers and projectors alone, whose cases have no language model. */
import { ConfigReader } from "../models/config-reader.ts";
import { readProjector as readAligner, readTower } from "../models/deepseek_vl/config.ts";
import { deepseekVl2, readProjector } from "../models/deepseek_vl2/config.ts";
import { readSiglip } from "../models/tower-parts.ts";
import type { ParameterScope } from "../nn/scope.ts";
import { add } from "../tensor/ops/elementwise.ts";
import { linear } from "../tensor/ops/linear.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { HybridTower } from "../vision/hybrid.ts";
import { Projector } from "../vision/projector.ts";
import { SiglipTower } from "../vision/siglip.ts";
import { TileLayout } from "../vision/tile-layout.ts";
import type { HybridConfig, ProjectorConfig, SiglipConfig } from "../vision/tower-config.ts";
import { Captured } from "./comparison.ts";
import { channelsFirst, type VisionCase } from "./vision-values.ts";

/** The sections of a configuration of DeepSeek-VL without a language model. */
function sectionsOf(json: Record<string, unknown>) {
  const config = new ConfigReader(json);
  const tower = readTower(config.section("vision_config")!);
  const aligner = config.section("aligner_config")!;
  const hidden = aligner.section("params")!.integer("n_embed");
  return { tower, projector: readAligner(aligner, tower, hidden) };
}

const siglipWith = (tower: SiglipConfig, projector: ProjectorConfig) => (scope: ParameterScope) => ({
  tower: new SiglipTower(scope.child("vision_model.vision_tower"), tower),
  projector: new Projector(scope.child("aligner"), projector),
  parameters: scope.parameters,
});

/** A SigLIP tower and its projector; fewer blocks; the first block and the last norm where epsilon shows. */
export async function compareSiglip(run: VisionCase): Promise<void> {
  const { device } = run;
  const json = await run.config();
  const { tower: config, projector } = sectionsOf(json);
  const make = (scope: ParameterScope) => {
    const parts = siglipWith(config as SiglipConfig, projector)(scope);
    return { ...parts, parameters: scope.parameters };
  };
  const { tower, projector: aligner, parameters } = await run.module(make);
  using _ = parameters;
  const { pixels, shape } = await run.images("pixel_values");
  using captured = new Captured();
  using x = device.tensor(pixels, shape);
  using features = device.inference(() => tower.forward(x, captured.capture));
  await run.compareCaptured(captured);
  const qkv = "vision_model.vision_tower.blocks.0.attn.qkv";
  using projected = device.inference(() =>
    linear(
      captured.tensors.get("block0.norm1")!,
      parameters.get(`${qkv}.weight`),
      parameters.get(`${qkv}.bias`),
    ),
  );
  await run.compare("block0.qkv", projected);
  await run.compare("norm", features);
  await run.compare("features", features);
  using aligned = device.inference(() => aligner.forward(features));
  await run.compare("aligned", aligned);
  using probe = device.tensor(await run.inputs.values("eps_probe"), run.inputs.shape("eps_probe"));
  using block = device.inference(() => {
    const [first] = tower.blocks;
    const { state, update } = first.forward({ sum: probe, normalized: first.norm1.forward(probe) }, null, "");
    return add(state, update);
  });
  await run.compare("eps_probe.block0", block);
  using norm = device.inference(() => tower.norm.forward(probe));
  await run.compare("eps_probe.norm", norm);
  for (const select of [-2, 2, 1]) {
    const changed = structuredClone(json) as { vision_config: { params: Record<string, unknown> } };
    changed.vision_config.params.select_layer = select;
    const fewer = sectionsOf(changed as never).tower as SiglipConfig;
    const smaller = await run.module((scope) => siglipWith(fewer, projector)(scope), false);
    using values = device.inference(() => smaller.tower.forward(x));
    await run.compare(`features.select_layer_${select}`, values);
    if (select === -2) await run.compare("n_blocks.select_layer_-2", [smaller.tower.blocks.length]);
    smaller.parameters[Symbol.dispose]();
  }
}

/** Both towers of the 7B and what joins them. */
export async function compareHybrid(run: VisionCase): Promise<void> {
  const { device } = run;
  const { tower: config, projector } = sectionsOf(await run.config());
  const { tower, aligner, parameters } = await run.module((scope) => {
    const tower = new HybridTower(scope.child("vision_model"), config as HybridConfig);
    return { tower, aligner: new Projector(scope.child("aligner"), projector), parameters: scope.parameters };
  });
  using _ = parameters;
  const bytes = await run.inputs.values("pixels_uint8_hwc");
  using captured = new Captured();
  using x = device.tensor(
    Float32Array.from(bytes, (byte) => byte / 255),
    [1, ...run.inputs.shape("pixels_uint8_hwc")],
  );
  using aligned = device.inference(() =>
    aligner.forward(tower.forward(x, captured.capture), captured.capture),
  );
  await run.compare("aligned", aligned);
  // The reference's convolutions have their channels first.
  for (const name of ["low_image", "sam.neck", "sam.neck_hd", "sam.downsamples", "sam.downsamples_hd"]) {
    const tensor = captured.tensors.get(name)!;
    const [, height, width, channels] = tensor.shape;
    await run.compare(name, channelsFirst(await tensor.data(), channels, height * width));
    captured.tensors.delete(name);
    tensor.dispose();
  }
  await compareWindows(
    run,
    captured.tensors.get("sam.block0.attn")!,
    (config as HybridConfig).high.windowSize,
  );
  await run.compareCaptured(captured);
  using probe = device.tensor(await run.inputs.values("eps_probe_nhwc"), run.inputs.shape("eps_probe_nhwc"));
  using neck = device.inference(() => tower.high.neck.forward(probe));
  const [, height, width, channels] = neck.shape;
  await run.compare("eps_probe.neck", channelsFirst(await neck.data(), channels, height * width));
}

/** The reference keeps the windows of a block apart, with what lies outside the image, which nothing reads. */
async function compareWindows(run: VisionCase, found: Tensor, window: number): Promise<void> {
  const name = "sam.block0.attn_windows";
  const [windows, , , width] = run.expected.shape(name);
  const side = Math.sqrt(found.shape[1]);
  const across = Math.sqrt(windows);
  const values = await found.data();
  const placed = new Float32Array((await run.expected.values(name)).length);
  const inside = new Uint8Array(placed.length);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const index = Math.floor(y / window) * across + Math.floor(x / window);
      const to = ((index * window + (y % window)) * window + (x % window)) * width;
      for (let c = 0; c < width; c++) {
        placed[to + c] = values[(y * side + x) * width + c];
        inside[to + c] = 1;
      }
    }
  }
  await run.compare(name, placed, (i) => inside[i] === 1);
}

/** DeepSeek-VL2's tower, projector and order of tokens, with the whole view first and last. */
export async function compareTiles(run: VisionCase): Promise<void> {
  const { device } = run;
  const config = new ConfigReader(await run.config());
  const siglip = readSiglip(config.section("vision_config")!, "gelu_tanh");
  const joined = readProjector(config.section("projector_config")!);
  const model = await run.module((scope) => ({
    tower: new SiglipTower(scope.child(deepseekVl2.parts.tower), siglip),
    projector: new Projector(scope.child(deepseekVl2.parts.projector), joined),
    layout: new TileLayout(scope, joined.outputs, true),
    parameters: scope.parameters,
  }));
  using _ = model.parameters;
  const { pixels, shape } = await run.images("views");
  using captured = new Captured();
  using x = device.tensor(pixels, shape);
  using tower = device.inference(() => model.tower.forward(x, captured.capture));
  using projected = device.inference(() => model.projector.forward(tower, captured.capture));
  await run.compare("tower", tower);
  await run.compare("projected", projected);
  await run.compareCaptured(captured);
  const crops = run.json.images_spatial_crop as [number, number][];
  const tail = await run.module(
    (scope) => ({ layout: new TileLayout(scope, joined.outputs, false), parameters: scope.parameters }),
    false,
  );
  using __ = tail.parameters;
  for (const [name, layout] of [
    ["sequence.head", model.layout],
    ["sequence.tail", tail.layout],
  ] as const) {
    const [count, tokens, width] = projected.shape;
    const all: number[] = [];
    let start = 0;
    for (const [i, tiles] of crops.entries()) {
      const views = 1 + tiles[0] * tiles[1];
      using flat = projected.view([count, tokens * width]);
      using own = flat.slice(start, start + views);
      using shaped = own.view([views, tokens, width]);
      using sequence = device.inference(() => layout.forward(shaped, tiles));
      run.comparison.ids(`${name} (tokens ${i})`, [sequence.shape[0]], [(run.json.tokens as number[])[i]]);
      all.push(...(await sequence.data()));
      start += views;
    }
    await run.compare(name, all);
  }
}

/** Every kind of projector. */
export async function compareProjectors(run: VisionCase): Promise<void> {
  const { device } = run;
  for (const [name, json] of Object.entries(await run.config())) {
    const input = (json as { input: string }).input;
    const config = readProjector(new ConfigReader(json));
    const make = (scope: ParameterScope) => new Projector(scope.child(name), config);
    const projector = await run.module(make, false);
    using _ = projector.parameters;
    using x = device.tensor(await run.inputs.values(input), run.inputs.shape(input));
    using y = device.inference(() => {
      const out = projector.forward(x);
      return out === x ? x.view(x.shape) : out;
    });
    await run.compare(name, y);
  }
}
