/**
 * Checkpoints in the layout that a module does not store: `withPieces` gives the pieces of official tensors to modules
 * that compute with them, `withOfficial` gives official tensors of weights that are stored in pieces. Both directions
 * of the mapping are the layer's that declares it (`Layout`).
 */
import { FormatError, ShapeError } from "../tensor/errors.ts";
import { type Shape, sizeOf } from "../tensor/tensor.ts";
import type { GroupSpec, Layout } from "./parameter-group.ts";
import { eachUnit } from "./units.ts";
import { type WeightSource, WrappedSource } from "./weight-source.ts";

type Chunk = { offset: number; values: Float32Array };
type Pieces = ReadonlyMap<string, { readonly layout: Layout; readonly piece: number }>;

/** The layouts of groups that are stored in pieces, by the names of these. */
function storedPieces(groups: Iterable<GroupSpec>): Pieces {
  const found = new Map<string, { layout: Layout; piece: number }>();
  for (const { key, layout, piece } of groups)
    if (layout && piece !== undefined) found.set(key, { layout, piece });
  return found;
}

/** `source` with the pieces that `groups` store, if it holds the official tensors. */
export function withPieces(source: WeightSource, groups: Iterable<GroupSpec>): WeightSource {
  const pieces = storedPieces(groups);
  return pieces.size === 0 ? source : new PiecesSource(source, pieces);
}

/** `source`, which holds weights as `groups` store them, with the official tensors in place of pieces. */
export function withOfficial(source: WeightSource, groups: Iterable<GroupSpec>): WeightSource {
  const pieces = storedPieces(groups);
  return pieces.size === 0 ? source : new OfficialSource(source, pieces);
}

/** The values of a tensor unit by unit. @throws FormatError if it ends early */
async function* unitsOf(
  source: WeightSource,
  { key, shape }: GroupSpec,
  units: number,
): AsyncGenerator<Float32Array> {
  const unit = sizeOf(shape) / units;
  const values = async function* () {
    for await (const chunk of source.readF32(key)) yield chunk.values;
  };
  let read = 0;
  for await (const each of eachUnit(values(), unit)) {
    read += each.length;
    if (each.length === unit) yield each;
  }
  if (read === sizeOf(shape)) return;
  throw new FormatError("a tensor was read incompletely", {
    where: "load",
    name: key,
    expected: sizeOf(shape),
    found: read,
  });
}

class PiecesSource extends WrappedSource {
  readonly #pieces: Pieces;

  constructor(inner: WeightSource, pieces: Pieces) {
    super(inner);
    this.#pieces = pieces;
  }

  /** The layout of a piece that is to be derived; null for what the source holds itself. */
  #derived(name: string): { layout: Layout; piece: number } | null {
    const found = this.#pieces.get(name);
    return found && !this.inner.has(name) ? found : null;
  }

  override *names(): Generator<string> {
    const official = new Map<string, Layout>();
    for (const { layout } of this.#pieces.values()) official.set(layout.official.key, layout);
    for (const name of this.inner.names()) {
      const layout = official.get(name);
      if (layout) for (const { key } of layout.pieces) yield key;
      else yield name;
    }
  }

  override has(name: string): boolean {
    const derived = this.#derived(name);
    return this.inner.has(derived?.layout.official.key ?? name);
  }

  /** @throws ShapeError if the official tensor has another shape */
  override shape(name: string): Shape {
    const derived = this.#derived(name);
    if (!derived) return this.inner.shape(name);
    const { key, shape: expected } = derived.layout.official;
    const found = this.inner.shape(key);
    if (found.join() === expected.join()) return derived.layout.pieces[derived.piece].shape;
    throw new ShapeError("a tensor of the checkpoint has the wrong shape", {
      where: this.where ?? "load",
      name: key,
      expected,
      found,
    });
  }

  override async *readF32(name: string): AsyncGenerator<Chunk> {
    const derived = this.#derived(name);
    if (!derived) {
      yield* this.inner.readF32(name);
      return;
    }
    const { layout, piece } = derived;
    let offset = 0;
    for await (const unit of unitsOf(this.inner, layout.official, layout.units)) {
      const values = layout.split(unit, piece);
      yield { offset, values };
      offset += values.length;
    }
  }
}

class OfficialSource extends WrappedSource {
  /** By the keys of the pieces, and by that of the official tensor. */
  readonly #pieces: Pieces;
  readonly #official = new Map<string, Layout>();

  constructor(inner: WeightSource, pieces: Pieces) {
    super(inner);
    this.#pieces = pieces;
    for (const { layout } of pieces.values()) this.#official.set(layout.official.key, layout);
  }

  override *names(): Generator<string> {
    for (const name of this.inner.names()) {
      const found = this.#pieces.get(name);
      if (!found) yield name;
      else if (found.piece === 0) yield found.layout.official.key;
    }
  }

  override has(name: string): boolean {
    return this.#official.has(name) || this.inner.has(name);
  }

  override shape(name: string): Shape {
    return this.#official.get(name)?.official.shape ?? this.inner.shape(name);
  }

  override async *readF32(name: string): AsyncGenerator<Chunk> {
    const layout = this.#official.get(name);
    if (!layout) {
      yield* this.inner.readF32(name);
      return;
    }
    const streams = layout.pieces.map((piece) => unitsOf(this.inner, piece, layout.units));
    let offset = 0;
    try {
      // The pieces have equally many units; their ends are read too, so that each stream frees what it holds.
      for (;;) {
        const units: Float32Array[] = [];
        for (const stream of streams) {
          const next = await stream.next();
          if (!next.done) units.push(next.value);
        }
        if (units.length < streams.length) return;
        const values = layout.join(units);
        yield { offset, values };
        offset += values.length;
      }
    } finally {
      for (const stream of streams) await stream.return(undefined);
    }
  }
}
