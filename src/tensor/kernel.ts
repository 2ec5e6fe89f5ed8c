/**
 * A kernel is a name, a list of operands, integers and floats: the unit that every backend implements.
 * The definition carries the plain double-precision reference; the WebAssembly kernel has the same name and
 * reads its arguments from one block in this order: operand addresses, integers (i32), floats (f32), 4 bytes each.
 */
import type { Kernel, Operand, OperandKind } from "./backend.ts";
import { ShapeError } from "./errors.ts";
import type { Device, Tensor } from "./tensor.ts";

/** What the reference sees: floats decoded to doubles, integers as they are; null when absent. */
type ReferenceArray<K extends OperandKind> =
  | (K extends `${string} i32${string}`
      ? Int32Array
      : K extends `${string} u8${string}`
        ? Uint8Array
        : Float64Array)
  | (K extends `${string}?` ? null : never);

type TensorOperand<K extends OperandKind> = Tensor | (K extends `${string}?` ? null : never);

export interface KernelSpec<
  O extends Record<string, OperandKind>,
  I extends string = never,
  F extends string = never,
> {
  readonly name: string;
  readonly operands: O;
  readonly ints?: readonly I[];
  readonly floats?: readonly F[];
  /** Rough cost in multiply-adds or element visits; below a threshold the call stays on one thread. */
  work(ints: Record<I, number>): number;
  /** Obvious implementation in double precision: the oracle of every backend. */
  reference(
    operands: { [K in keyof O]: ReferenceArray<O[K]> },
    ints: Record<I, number>,
    floats: Record<F, number>,
  ): void;
}

export interface TypedKernel<O extends Record<string, OperandKind>, I extends string, F extends string>
  extends Kernel {
  /** Queues the kernel on `device` with operands, integers and floats by name. */
  run(
    device: Device,
    operands: { [K in keyof O]: TensorOperand<O[K]> },
    ...scalars: [I] extends [never]
      ? [F] extends [never]
        ? []
        : [ints: Record<never, never>, floats: Record<F, number>]
      : [F] extends [never]
        ? [ints: Record<I, number>]
        : [ints: Record<I, number>, floats: Record<F, number>]
  ): void;
}

function zip(
  names: readonly string[],
  values: readonly number[],
  out: Record<string, number> = {},
): Record<string, number> {
  for (let i = 0; i < names.length; i++) out[names[i]] = values[i];
  return out;
}

/** Defines a kernel once for all backends. Operands keep the order in which they are written. */
export function defineKernel<
  const O extends Record<string, OperandKind>,
  const I extends string = never,
  const F extends string = never,
>(spec: KernelSpec<O, I, F>): TypedKernel<O, I, F> {
  const operandNames = Object.keys(spec.operands);
  const operandKinds = operandNames.map((name) => spec.operands[name]);
  const intNames = (spec.ints ?? []) as readonly string[];
  const floatNames = (spec.floats ?? []) as readonly string[];
  const dtypes = operandKinds.map((kind) => kind.replace("?", "").split(" ")[1]);
  // One record for all calls: `work` keeps nothing, and there are hundreds of calls a token.
  const named: Record<string, number> = {};
  const kernel: TypedKernel<O, I, F> = {
    name: spec.name,
    operandNames,
    operandKinds,
    intNames,
    floatNames,
    work: (ints) => spec.work(zip(intNames, ints, named) as Record<I, number>),
    reference: (operands, ints, floats) => {
      const arrays: Record<string, unknown> = {};
      for (let i = 0; i < operandNames.length; i++) arrays[operandNames[i]] = operands[i];
      spec.reference(
        arrays as { [K in keyof O]: ReferenceArray<O[K]> },
        zip(intNames, ints) as Record<I, number>,
        zip(floatNames, floats) as Record<F, number>,
      );
    },
    run: (device, operands, ...scalars) => {
      const [ints, floats] = scalars as [Record<string, number>?, Record<string, number>?];
      const resolved: (Operand | null)[] = new Array(operandNames.length);
      for (let i = 0; i < operandNames.length; i++) {
        const tensor = operands[operandNames[i]] as Tensor | null;
        if (tensor === null) {
          if (!operandKinds[i].endsWith("?")) {
            throw new ShapeError("operand missing", { where: spec.name, name: operandNames[i] });
          }
          resolved[i] = null;
          continue;
        }
        checkDType(spec.name, operandNames[i], dtypes[i], tensor);
        resolved[i] = tensor.operand();
      }
      device.backend.run(
        kernel,
        resolved,
        intNames.map((name) => ints![name]),
        floatNames.map((name) => floats![name]),
      );
    },
  };
  return kernel;
}

function checkDType(where: string, name: string, wanted: string, tensor: Tensor): void {
  const { dtype } = tensor;
  const fits = wanted === "float" ? dtype === "f32" || dtype === "bf16" || dtype === "f16" : dtype === wanted;
  if (!fits)
    throw new ShapeError("operand has the wrong dtype", { where, name, expected: wanted, found: dtype });
}
