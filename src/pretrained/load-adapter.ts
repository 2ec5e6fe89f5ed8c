/**
 * An adapter beside a loaded model: merged into weights that are floats, where it then costs nothing, and kept beside quantized
 * ones, which cannot take it in.
 */
import { openAdapters } from "../checkpoint/adapters.ts";
import type { FileTree } from "../checkpoint/byte-source.ts";
import type { CausalLM } from "../models/causal-lm.ts";
import { mergeAdapters } from "../nn/merged-source.ts";
import { isQuantized } from "../tensor/quantized.ts";
import { formatCompact } from "../text/units.ts";

/** What became of an adapter. */
export interface LoadedAdapter extends Disposable {
  /** The folder that it came from. */
  readonly path: string;
  /** Its own weights. */
  readonly parameters: number;
  /** Whether the model's weights contain it; else it is computed beside them. */
  readonly merged: boolean;
}

/** Reads the adapter in a folder and puts it to use. @throws FormatError, ShapeError, ConfigError */
export async function loadAdapter(tree: FileTree, model: CausalLM): Promise<LoadedAdapter> {
  const adapters = await openAdapters(tree, model.device, model.mainParameters);
  const { count: parameters } = adapters.parameters;
  const merged = adapters.matrices.every(({ group }) => !isQuantized(group.weight));
  try {
    if (merged) {
      await mergeAdapters(model, adapters);
      adapters[Symbol.dispose]();
    } else adapters.attach();
  } catch (error) {
    adapters[Symbol.dispose]();
    throw error;
  }
  const dispose = () => {
    if (!merged) adapters[Symbol.dispose]();
  };
  return { path: tree.name, parameters, merged, [Symbol.dispose]: dispose };
}

/** One line about it. */
export function adapterText({ path, parameters, merged }: LoadedAdapter): string {
  const place = merged ? "merged into the weights" : "beside the quantized weights";
  return `adapter     ${path}: ${formatCompact(parameters)} parameters, ${place}`;
}
