/**
 * Tensors, the device they live on, and scopes that return memory at a known point.
 *
 * A tensor is a contiguous row-major view of a reference-counted buffer. Operations are functions under `ops/`.
 * Tensors made in the body of `device.tidy` are freed at its end, unless it returns them.
 */
import type { Backend, Buffer, Operand } from "./backend.ts";
import { type DType, fromRaw, type RawArray, rawArray, toRaw } from "./dtype.ts";
import { DeepseekError, DisposedError, ShapeError } from "./errors.ts";

export type Shape = readonly number[];

/** Number of elements of a shape. */
export function sizeOf(shape: Shape): number {
  let size = 1;
  for (const n of shape) size *= n;
  return size;
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((n, i) => n === b[i]);
}

/** A buffer shared by the tensors that view it; the last one to go frees it. */
interface Storage {
  readonly buffer: Buffer;
  references: number;
}

/**
 * Collects the tensors made while it is open and frees them on dispose. What is open is state of the device, so a scope
 * must close in the turn of the event loop in which it was opened: `Device.tidy` and `differentiate` see to that.
 */
export class Scope implements Disposable {
  readonly #device: Device;
  readonly tensors: Tensor[] = [];

  constructor(device: Device) {
    this.#device = device;
    device.scopes.push(this);
  }

  /** Hands `tensor` to the enclosing scope, or to the caller if there is none. */
  keep<T extends Tensor>(tensor: T): T {
    const index = this.tensors.lastIndexOf(tensor);
    if (index >= 0) {
      this.tensors.splice(index, 1);
      const position = this.#device.scopes.indexOf(this);
      if (position > 0) this.#device.scopes[position - 1].tensors.push(tensor);
    }
    return tensor;
  }

  [Symbol.dispose](): void {
    const { scopes } = this.#device;
    const position = scopes.indexOf(this);
    if (position >= 0) scopes.splice(position, 1);
    for (let i = this.tensors.length - 1; i >= 0; i--) this.tensors[i].dispose();
    this.tensors.length = 0;
  }
}

/** A backend with the bookkeeping that the tensor layer needs: open scopes and the tape that records. */
export class Device implements AsyncDisposable {
  readonly backend: Backend;
  /** Open scopes, innermost last. @internal */
  readonly scopes: Scope[] = [];
  /** The tape that records, or null. @internal */
  tape: Recorder | null = null;

  constructor(backend: Backend) {
    this.backend = backend;
  }

  /**
   * Runs `body` and frees the tensors that it made, except those in its result, which go to the enclosing body or the
   * caller. The result is a tensor or holds tensors in arrays, maps and plain objects. While `differentiate` records,
   * nothing is freed here: the backward pass needs it. @throws DeepseekError if the body is asynchronous
   */
  tidy<T>(body: () => T): T {
    if (this.tape !== null) return refusePromise("tidy", body());
    using scope = new Scope(this);
    const result = refusePromise("tidy", body());
    for (const tensor of tensorsIn(result)) scope.keep(tensor);
    return result;
  }

  /** `tidy` outside every enclosing body and without recording: a forward pass that stands by itself. */
  inference<T>(body: () => T): T {
    return this.unscoped(() => this.noGrad(() => this.tidy(body)));
  }

  /** Frees an intermediate that no later operation reads; kept while `differentiate` records. */
  release(tensor: Tensor): void {
    if (this.tape === null) tensor.dispose();
  }

  /** Runs `body` with no scope open, so that what it makes lives until it is disposed by hand. */
  unscoped<T>(body: () => T): T {
    const open = this.scopes.splice(0);
    try {
      return body();
    } finally {
      this.scopes.push(...open);
    }
  }

  /** Runs `body` without recording. */
  noGrad<T>(body: () => T): T {
    const { tape } = this;
    this.tape = null;
    try {
      return body();
    } finally {
      this.tape = tape;
    }
  }

  /**
   * Uninitialized tensor. `weights` marks long-lived storage that may be placed in another arena; `near`
   * asks for the same memory as another tensor that kernels use together with this one.
   */
  empty(shape: Shape, dtype: DType = "f32", weights = false, near?: Tensor): Tensor {
    for (const n of shape) {
      if (!Number.isSafeInteger(n) || n < 0)
        throw new ShapeError("invalid shape", { where: "empty", found: shape });
    }
    const buffer = this.backend.alloc(dtype, sizeOf(shape), weights, near?.operand().buffer);
    return new Tensor(this, { buffer, references: 0 }, 0, shape);
  }

  /** A tensor of `values`; floats round to nearest even if `dtype` is narrower. @throws ShapeError */
  tensor(values: ArrayLike<number>, shape: Shape = [values.length], dtype: DType = "f32"): Tensor {
    if (values.length !== sizeOf(shape)) {
      throw new ShapeError("number of values differs from the shape's", {
        where: "tensor",
        expected: sizeOf(shape),
        found: values.length,
      });
    }
    const tensor = this.empty(shape, dtype);
    this.backend.write(tensor.operand().buffer, 0, toRaw(dtype, values));
    return tensor;
  }

  zeros(shape: Shape, dtype: DType = "f32", weights = false): Tensor {
    const tensor = this.empty(shape, dtype, weights);
    this.backend.write(tensor.operand().buffer, 0, rawArray(dtype, tensor.size));
    return tensor;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.backend.dispose();
  }
}

/** A contiguous row-major array on a device. */
export class Tensor implements Disposable {
  readonly device: Device;
  readonly shape: Shape;
  /** Elements from the start of the buffer. */
  readonly offset: number;
  readonly size: number;
  /** True for parameters and for everything computed from them while a tape records. */
  requiresGrad = false;
  /** Gradient of a parameter after `tape.backward`, same shape, f32; null before. */
  grad: Tensor | null = null;
  #storage: Storage | null;

  /** @internal */
  constructor(device: Device, storage: Storage, offset: number, shape: Shape) {
    this.device = device;
    this.shape = shape;
    this.offset = offset;
    this.size = sizeOf(shape);
    this.#storage = storage;
    storage.references++;
    device.scopes.at(-1)?.tensors.push(this);
  }

  get dtype(): DType {
    return this.#alive().buffer.dtype;
  }

  get disposed(): boolean {
    return this.#storage === null;
  }

  #alive(): Storage {
    if (this.#storage === null) {
      throw new DisposedError("tensor was already freed", {
        found: `shape [${this.shape}]`,
        hint: "Return it from the body of device.tidy or differentiate to keep it.",
      });
    }
    return this.#storage;
  }

  /** The buffer and the offset into it, as kernels take them. */
  operand(): Operand {
    return { buffer: this.#alive().buffer, offset: this.offset };
  }

  /** Whether other tensors view the same buffer. */
  get shared(): boolean {
    return this.#alive().references > 1;
  }

  /** The same elements under another shape; -1 stands for what is left. No gradient: see `ops/reshape.ts`. */
  view(shape: Shape): Tensor {
    const known = sizeOf(shape.filter((n) => n >= 0));
    const full = shape.map((n) => (n < 0 ? this.size / known : n));
    const fits = full.every((n) => Number.isSafeInteger(n)) && sizeOf(full) === this.size;
    if (!fits || shape.filter((n) => n < 0).length > 1) {
      throw new ShapeError("a view must have the same number of elements", {
        where: "view",
        expected: this.shape,
        found: shape,
      });
    }
    return new Tensor(this.device, this.#alive(), this.offset, full);
  }

  /** Rows `begin` to `end` of the first axis, sharing memory. No gradient: see `ops/reshape.ts`. */
  slice(begin: number, end: number): Tensor {
    const rows = this.shape[0];
    if (!(begin >= 0 && begin <= end && end <= rows)) {
      throw new ShapeError("rows out of range", {
        where: "slice",
        expected: `0 to ${rows}`,
        found: `${begin} to ${end}`,
      });
    }
    const stride = sizeOf(this.shape.slice(1));
    const shape = [end - begin, ...this.shape.slice(1)];
    return new Tensor(this.device, this.#alive(), this.offset + begin * stride, shape);
  }

  /** Overwrites `values.length` elements from `offset`. */
  set(values: ArrayLike<number>, offset = 0): void {
    if (offset < 0 || offset + values.length > this.size) {
      throw new ShapeError("values out of range", {
        where: "set",
        expected: `at most ${this.size} elements`,
        found: `${offset} + ${values.length}`,
      });
    }
    const { buffer } = this.#alive();
    this.device.backend.write(buffer, this.offset + offset, toRaw(buffer.dtype, values));
  }

  /** The bytes of `length` elements from `offset` on, to be written in place; null if the device has none. */
  mappedView(offset: number, length: number): Uint8Array | null {
    const { buffer } = this.#alive();
    return this.device.backend.mappedView?.(buffer, this.offset + offset, length) ?? null;
  }

  /** Number of the memory that holds the elements, if the device has several. */
  get memoryIndex(): number {
    return this.device.backend.memoryIndex?.(this.#alive().buffer) ?? 0;
  }

  /** The elements in memory form (bf16 and f16 as 16-bit integers), after all queued work. */
  raw(): Promise<RawArray> {
    return this.device.backend.read(this.#alive().buffer, this.offset, this.size);
  }

  /** The elements as numbers, after all queued work. */
  async data(): Promise<Float32Array | Int32Array | Uint8Array> {
    const { dtype } = this;
    return fromRaw(dtype, await this.raw());
  }

  /** The only element of a one-element tensor. */
  async item(): Promise<number> {
    if (this.size !== 1)
      throw new ShapeError("item() needs a tensor of one element", { where: "item", found: this.shape });
    return (await this.data())[0];
  }

  dispose(): void {
    const storage = this.#storage;
    if (storage === null) return;
    this.#storage = null;
    if (--storage.references === 0) this.device.backend.free(storage.buffer);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** The tensors in a value: itself, or in arrays, maps, sets and plain objects. */
export function tensorsIn(value: unknown, found: Tensor[] = []): Tensor[] {
  if (value instanceof Tensor) found.push(value);
  else if (Array.isArray(value) || value instanceof Set) for (const each of value) tensorsIn(each, found);
  else if (value instanceof Map) for (const each of value.values()) tensorsIn(each, found);
  else if (typeof value === "object" && value !== null) {
    const prototype = Object.getPrototypeOf(value);
    if (prototype === Object.prototype || prototype === null) {
      for (const each of Object.values(value)) tensorsIn(each, found);
    }
  }
  return found;
}

/** Frees the tensors in a value (see `tensorsIn`). */
export function disposeAll(value: unknown): void {
  for (const tensor of tensorsIn(value)) tensor.dispose();
}

/** @throws DeepseekError if a body that must be synchronous returned a promise */
export function refusePromise<T>(where: string, result: T): T {
  if (typeof (result as { then?: unknown } | null)?.then !== "function") return result;
  throw new DeepseekError("the body is asynchronous", {
    where,
    expected: "a function that returns without waiting",
    hint: "Return the tensors and read them after it: other work on the device may run while a promise is pending.",
  });
}

/** Where an operation's gradient function puts the gradients of its inputs. */
export interface Gradients {
  /** Whether input `i` needs a gradient at all. */
  wants(i: number): boolean;
  /**
   * Where to put input `i`'s gradient (f32, the input's shape): overwrite `tensor` if `accumulate` is 0, add to
   * it if it is 1.
   */
  target(i: number): { tensor: Tensor; accumulate: 0 | 1 };
  /** Adds a gradient that is already computed; it may share memory with others and is not changed. */
  add(i: number, gradient: Tensor): void;
}

/** Computes input gradients from output gradients (null for outputs that got none). */
export type Backward = (outputGradients: readonly (Tensor | null)[], gradients: Gradients) => void;

/** What a device keeps of the tape that records on it. */
export interface Recorder {
  /** Keeps a tensor readable until the tape ends. */
  keep<T extends Tensor>(tensor: T): T;
  push(outputs: readonly Tensor[], inputs: readonly Tensor[], backward: Backward): void;
}
