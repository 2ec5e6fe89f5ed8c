/** The names of a checkpoint against what modules declare, so that what would be ignored silently is refused instead. */
import { FormatError } from "../tensor/errors.ts";
import type { Parameters } from "./parameters.ts";
import type { WeightSource } from "./weight-source.ts";

/** A module of those that share a checkpoint. */
export interface CheckpointPart {
  readonly parameters: Parameters;
  /** Whether a checkpoint may hold this tensor, or quantized weights of this key, though the module does not read them. */
  ignores?(name: string): boolean;
}

const HINT = "Is config.json the one that belongs to these weights?";

/**
 * Refuses names that none of the parts has a place for. A module that stands next to others in a checkpoint is checked
 * by itself with its `prefix`; names without it are the others'. @throws FormatError
 */
export function checkNames(parts: readonly CheckpointPart[], source: WeightSource, prefix = ""): void {
  const known = new Set<string>();
  const inTiles = new Set<string>();
  const keys = new Set<string>();
  const ignored = (name: string) => parts.some((part) => part.ignores?.(name));
  for (const { parameters } of parts) {
    for (const { key, parts, stackedName, layout } of parameters.groups()) {
      const names = parts.map(({ name }) => name);
      if (layout) names.push(layout.official.key);
      const tiled = source.tiles !== undefined && source.tiles.tileFormat(key) !== null;
      for (const name of names) {
        known.add(name);
        if (tiled) inTiles.add(name);
      }
      if (stackedName !== undefined) known.add(stackedName);
      keys.add(key);
    }
  }
  for (const key of source.tiles?.keys() ?? []) {
    if (keys.has(key) || !key.startsWith(prefix) || ignored(key)) continue;
    throw new FormatError("the checkpoint has quantized weights that the model does not use", {
      where: source.where ?? "load",
      name: key,
      hint: HINT,
    });
  }
  for (const name of source.names()) {
    if (inTiles.has(name)) {
      throw new FormatError("a weight is stored twice, as floats and quantized", {
        where: source.where ?? "load",
        name,
      });
    }
    if (known.has(name) || !name.startsWith(prefix) || ignored(name)) continue;
    throw new FormatError("the checkpoint has a tensor that the model does not use", {
      where: source.where ?? "load",
      name,
      hint: HINT,
    });
  }
}
