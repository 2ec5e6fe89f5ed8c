/**
 * The parts of a parity check: reading the reference's tensors, keeping a model's intermediate values, and comparing
 * the two. What is compared with what is in parity.ts.
 */
import type { FileTree } from "../checkpoint/byte-source.ts";
import { openSafetensors, type SafetensorsFile } from "../checkpoint/safetensors.ts";
import type { Capture } from "../nn/context.ts";
import { FormatError } from "../tensor/errors.ts";
import type { Tensor } from "../tensor/tensor.ts";

export interface ParityOutput {
  /** Name in the fixture's files; gradients as `grad.<parameter>`. */
  readonly name: string;
  /** Largest absolute difference; for ids the number of places that differ. */
  readonly maxAbs: number;
  /** `maxAbs` divided by the largest magnitude of the reference (0 if both are 0). */
  readonly maxRel: number;
  readonly tolerance: number;
  /** Which of the two figures the tolerance bounds. */
  readonly measure: "absolute" | "relative";
  readonly within: boolean;
}

export type Values = Float32Array | Int32Array | Uint8Array;

interface Closable {
  close(): Promise<void>;
}

/** Runs `body`, and closes at its end whatever it passed to `opened`, which gives it back. */
export async function withOpened<T>(
  body: (opened: <F extends Closable>(file: F) => F) => Promise<T>,
): Promise<T> {
  const files: Closable[] = [];
  try {
    return await body((file) => {
      files.push(file);
      return file;
    });
  } finally {
    await Promise.all(files.map((file) => file.close()));
  }
}

/** Reads whole tensors of one safetensors file by name. */
export class Expected {
  readonly #file: SafetensorsFile;

  constructor(file: SafetensorsFile) {
    this.#file = file;
  }

  static async open(tree: FileTree, path: string): Promise<Expected> {
    return new Expected(await openSafetensors(await tree.open(path)));
  }

  names(): string[] {
    return [...this.#file.tensors.keys()];
  }

  has(name: string): boolean {
    return this.#file.tensors.has(name);
  }

  async values(name: string): Promise<Values> {
    const bytes = (await this.#file.read(name)).slice();
    const { dtype } = this.#file.tensors.get(name)!;
    if (dtype === "F32") return new Float32Array(bytes.buffer);
    if (dtype === "I32") return new Int32Array(bytes.buffer);
    if (dtype === "U8") return bytes;
    throw new FormatError("expected values must be F32, I32 or U8", { where: "parity", name, found: dtype });
  }

  shape(name: string): readonly number[] {
    return this.#file.tensors.get(name)?.shape ?? [];
  }

  async close(): Promise<void> {
    await this.#file.source.close?.();
  }
}

/** Collects outputs with their comparison. */
export class Comparison {
  readonly outputs: ParityOutput[] = [];

  #add(
    name: string,
    maxAbs: number,
    magnitude: number,
    tolerance: number,
    measure: ParityOutput["measure"],
  ): void {
    const maxRel = magnitude === 0 ? (maxAbs === 0 ? 0 : Number.POSITIVE_INFINITY) : maxAbs / magnitude;
    const within = (measure === "absolute" ? maxAbs : maxRel) <= tolerance;
    this.outputs.push({ name, maxAbs, maxRel, tolerance, measure, within });
  }

  /** Rows of `width` if `real` says so; the others are padding. NaN and unequal sizes fail. */
  values(
    name: string,
    found: ArrayLike<number>,
    expected: ArrayLike<number>,
    tolerance: number,
    measure: ParityOutput["measure"] = "absolute",
    real: (index: number) => boolean = () => true,
  ): void {
    let maxAbs = found.length === expected.length ? 0 : Number.POSITIVE_INFINITY;
    let magnitude = 0;
    let compared = 0;
    for (let i = 0; i < expected.length; i++) {
      if (!real(i)) continue;
      compared++;
      const difference = Math.abs(found[i] - expected[i]);
      if (!(difference <= maxAbs)) maxAbs = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
      magnitude = Math.max(magnitude, Math.abs(expected[i]));
    }
    if (compared === 0) maxAbs = Number.POSITIVE_INFINITY;
    this.#add(name, maxAbs, magnitude, tolerance, measure);
  }

  /** Values that may each be off by `abs + rel |expected|`, where `real` says so. NaN and unequal sizes fail. */
  bounded(
    name: string,
    found: ArrayLike<number>,
    expected: ArrayLike<number>,
    { abs, rel }: { readonly abs: number; readonly rel: number },
    real: (index: number) => boolean = () => true,
  ): void {
    let within = found.length === expected.length;
    let maxAbs = within ? 0 : Number.POSITIVE_INFINITY;
    let magnitude = 0;
    let compared = 0;
    for (let i = 0; i < expected.length; i++) {
      if (!real(i)) continue;
      compared++;
      const difference = Math.abs(found[i] - expected[i]);
      if (!(difference <= abs + rel * Math.abs(expected[i]))) within = false;
      if (!(difference <= maxAbs)) maxAbs = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
      magnitude = Math.max(magnitude, Math.abs(expected[i]));
    }
    const maxRel = magnitude === 0 ? (maxAbs === 0 ? 0 : Number.POSITIVE_INFINITY) : maxAbs / magnitude;
    within &&= compared > 0;
    this.outputs.push({
      name,
      maxAbs,
      maxRel,
      tolerance: abs + rel * magnitude,
      measure: "absolute",
      within,
    });
  }

  /** An output of the fixture that nothing was compared with. */
  missing(name: string): void {
    this.#add(name, Number.POSITIVE_INFINITY, 0, 0, "absolute");
  }

  /** Integers that must be equal. */
  ids(
    name: string,
    found: ArrayLike<number>,
    expected: ArrayLike<number>,
    real: (index: number) => boolean = () => true,
  ) {
    let different = Math.abs(found.length - expected.length);
    for (let i = 0; i < expected.length; i++) if (real(i) && found[i] !== expected[i]) different++;
    this.#add(name, different, expected.length, 0, "absolute");
  }
}

/** Keeps captured tensors by name and reads them out. */
export class Captured implements Disposable {
  readonly tensors = new Map<string, Tensor>();
  readonly capture: Capture = (name, tensor) => {
    this.tensors.get(name)?.dispose();
    this.tensors.set(name, tensor);
  };

  async values(name: string): Promise<ArrayLike<number>> {
    const tensor = this.tensors.get(name);
    if (!tensor) throw new FormatError("the model has no such output", { where: "parity", name });
    return tensor.data();
  }

  [Symbol.dispose](): void {
    for (const tensor of this.tensors.values()) tensor.dispose();
    this.tensors.clear();
  }
}
