/** What parity checks of models that see share: files of a case, its bounds, and images in the order of this package. */
import type { FileTree } from "../checkpoint/byte-source.ts";
import { openCheckpoint } from "../checkpoint/folder.ts";
import { modelWeights } from "../checkpoint/model.ts";
import { checkNames } from "../nn/check-names.ts";
import type { Parameters } from "../nn/parameters.ts";
import { allocateModule, type ParameterScope } from "../nn/scope.ts";
import type { Device, Tensor } from "../tensor/tensor.ts";
import { type Captured, Comparison, Expected } from "./comparison.ts";

interface Meta {
  readonly case?: string;
  readonly tolerance: {
    readonly abs: number;
    readonly rel: number;
    readonly abs_per_output?: Readonly<Record<string, number>>;
  };
}

/** A case that is being compared. */
export class VisionCase {
  readonly tree: FileTree;
  readonly device: Device;
  readonly comparison = new Comparison();
  readonly expected: Expected;
  readonly inputs: Expected;
  readonly json: Readonly<Record<string, unknown>>;
  readonly #meta: Meta;

  private constructor(
    tree: FileTree,
    device: Device,
    files: { expected: Expected; inputs: Expected; json: object; meta: Meta },
  ) {
    this.tree = tree;
    this.device = device;
    this.expected = files.expected;
    this.inputs = files.inputs;
    this.json = files.json as Readonly<Record<string, unknown>>;
    this.#meta = files.meta;
  }

  static async open(tree: FileTree, device: Device): Promise<VisionCase> {
    const meta = JSON.parse(await tree.readText("meta.json")) as Meta;
    const json = (await tree.has("inputs.json")) ? JSON.parse(await tree.readText("inputs.json")) : {};
    const expected = await Expected.open(tree, "expected.safetensors");
    const inputs = await Expected.open(tree, "inputs.safetensors");
    return new VisionCase(tree, device, { expected, inputs, json, meta });
  }

  async config(): Promise<Record<string, unknown>> {
    return JSON.parse(await this.tree.readText("config.json"));
  }

  /** Compares values with the reference's; `real` tells places from padding. */
  async compare(
    name: string,
    found: Tensor | ArrayLike<number>,
    real?: (index: number) => boolean,
  ): Promise<void> {
    const values = "device" in found ? await found.data() : found;
    const expected = await this.expected.values(name);
    const { abs, rel, abs_per_output: own } = this.#meta.tolerance;
    if (expected instanceof Int32Array) this.comparison.ids(name, values, expected, real);
    else this.comparison.bounded(name, values, expected, { abs: own?.[name] ?? abs, rel }, real);
  }

  /** Compares all captured values that the reference has under these names. */
  async compareCaptured(
    captured: Captured,
    rename: (name: string) => string = (name) => name,
  ): Promise<void> {
    for (const [name, tensor] of captured.tensors) {
      const wanted = rename(name);
      if (!this.expected.has(wanted)) continue;
      // The reference's first images only.
      const [count] = this.expected.shape(wanted);
      const size = (await this.expected.values(wanted)).length;
      const values = Array.from(await tensor.data());
      await this.compare(wanted, count < tensor.shape[0] ? values.slice(0, size) : values);
    }
  }

  /** Images of an input, channels first there, `[n, height, width, 3]` here. */
  async images(name: string): Promise<{ pixels: Float32Array; shape: readonly number[] }> {
    const stored = this.inputs.shape(name);
    const [channels, height, width] = stored.slice(-3);
    return {
      pixels: channelsLast(await this.inputs.values(name), channels, height * width),
      shape: [...stored.slice(0, -3), height, width, channels],
    };
  }

  /** A module with the case's weights. */
  async module<T extends { readonly parameters: Parameters }>(
    make: (scope: ParameterScope) => T,
    whole = true,
  ): Promise<T> {
    const checkpoint = await openCheckpoint(this.tree);
    try {
      const module = allocateModule(this.device, "f32", make);
      const source = modelWeights(checkpoint);
      if (whole) checkNames([module], source);
      await module.parameters.load(source);
      return module;
    } finally {
      await checkpoint.close();
    }
  }

  /** What the reference has and nothing was compared with fails. */
  finish(): Comparison["outputs"] {
    const compared = new Set(this.comparison.outputs.map(({ name }) => name.replace(/ \(.*\)$/, "")));
    for (const name of this.expected.names()) if (!compared.has(name)) this.comparison.missing(name);
    return this.comparison.outputs;
  }

  async close(): Promise<void> {
    await this.expected.close();
    await this.inputs.close();
  }
}

/** Values `[.., channels, area]` as `[.., area, channels]`. */
export function channelsLast(values: ArrayLike<number>, channels: number, area: number): Float32Array {
  const out = new Float32Array(values.length);
  for (let i = 0; i < out.length; i++) {
    const [image, rest] = [Math.floor(i / (channels * area)), i % (channels * area)];
    out[image * channels * area + (rest % area) * channels + Math.floor(rest / area)] = values[i];
  }
  return out;
}

/** The way back: `[.., area, channels]` as `[.., channels, area]`. */
export const channelsFirst = (values: ArrayLike<number>, channels: number, area: number) =>
  channelsLast(values, area, channels);
