/** What a pickle of tensors can build here: plain values, and descriptions of tensors that hold no data. */
import type { SafetensorsDtype } from "../safetensors-dtype.ts";

export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Tuple
  | List
  | Dict
  | Opaque
  | Global
  | StorageRef
  | PickledTensor;

export class Tuple {
  readonly items: readonly PickleValue[];

  constructor(items: readonly PickleValue[]) {
    this.items = items;
  }
}

/** Empty lists and dicts cost little: a pickle may hold very many. */
export class List {
  #items: PickleValue[] | null = null;

  get items(): readonly PickleValue[] {
    return this.#items ?? [];
  }

  /** Adds items; the list keeps the array given. */
  append(items: PickleValue[]): void {
    if (this.#items === null) this.#items = items;
    else for (const item of items) this.#items.push(item);
  }
}

/** A dict or OrderedDict, in its own order. */
export class Dict {
  #entries: Map<PickleValue, PickleValue> | null = null;

  get size(): number {
    return this.#entries?.size ?? 0;
  }

  get(key: PickleValue): PickleValue | undefined {
    return this.#entries?.get(key);
  }

  has(key: PickleValue): boolean {
    return this.#entries?.has(key) ?? false;
  }

  set(key: PickleValue, value: PickleValue): void {
    this.#entries ??= new Map();
    this.#entries.set(key, value);
  }

  entries(): Iterable<[PickleValue, PickleValue]> {
    return this.#entries ?? [];
  }
}

/** A value that is known to be harmless and is not looked at: bytes, a device. */
export class Opaque {
  readonly what: string;

  constructor(what: string) {
    this.what = what;
  }
}

/** A name that a pickle may refer to. */
export class Global {
  /** Module and name, with a point between them. */
  readonly name: string;
  readonly role: GlobalRole;

  constructor(name: string, role: GlobalRole) {
    this.name = name;
    this.role = role;
  }
}

export type GlobalRole =
  | { readonly kind: "dict" | "size" | "device" | "untyped storage" }
  | { readonly kind: "tensor"; readonly version: 1 | 2 | 3 }
  | { readonly kind: "parameter"; readonly parts: number }
  | { readonly kind: "storage" | "dtype"; readonly dtype: SafetensorsDtype };

/** A piece of memory that tensors are views of; its bytes stay in the file. */
export class StorageRef {
  readonly key: string;
  /** Null for bytes that take the dtype of the tensors in them. */
  readonly dtype: SafetensorsDtype | null;
  readonly bytes: number;

  constructor(key: string, dtype: SafetensorsDtype | null, bytes: number) {
    this.key = key;
    this.dtype = dtype;
    this.bytes = bytes;
  }
}

/** A view of a storage; offset and strides count elements. It has been checked to lie inside the storage. */
export class PickledTensor {
  readonly storage: StorageRef;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly offset: number;
  /** Elements. */
  readonly count: number;

  constructor(
    storage: StorageRef,
    dtype: SafetensorsDtype,
    view: { shape: readonly number[]; strides: readonly number[]; offset: number; count: number },
  ) {
    this.storage = storage;
    this.dtype = dtype;
    this.shape = view.shape;
    this.strides = view.strides;
    this.offset = view.offset;
    this.count = view.count;
  }
}
