/**
 * What the allowed names stand for: dicts, tensors and parameters out of the arguments that torch's own functions take
 * (`torch/_utils.py`). Tensors are checked here to lie inside their storages.
 */
import { safetensorsDtypes } from "../safetensors-dtype.ts";
import { Dict, Global, List, Opaque, PickledTensor, type PickleValue, StorageRef, Tuple } from "./values.ts";

export interface BuildContext {
  /** Bytes of the file: no tensor claims more. */
  readonly fileSize: number;
  readonly storages: Map<string, StorageRef>;
  fail(message: string, expected?: unknown, found?: unknown): never;
  /** Counts values that are built against the pickle's budget. */
  spend(values: number): void;
}

/** As many axes as torch allows. */
const MAX_AXES = 64;

/** A value for an error message. */
export function shown(value: PickleValue | undefined): string {
  if (value === undefined) return "nothing";
  if (value instanceof Tuple) return `a tuple of ${value.items.length}`;
  if (value instanceof Global) return value.name;
  if (value instanceof Opaque) return value.what;
  if (value instanceof PickledTensor) return "a tensor";
  if (value instanceof StorageRef) return "a storage";
  if (value instanceof List || value instanceof Dict) return value instanceof List ? "a list" : "a dict";
  return typeof value === "string" ? JSON.stringify(value.slice(0, 80)) : String(value);
}

const isCount = (value: PickleValue | undefined): value is number =>
  typeof value === "number" && Number.isSafeInteger(value) && value >= 0 && !Object.is(value, -0);

/** Sizes or strides of a tensor. */
function counts(what: string, value: PickleValue | undefined, context: BuildContext): readonly number[] {
  if (!(value instanceof Tuple)) return context.fail(`the ${what} of a tensor`, "a tuple", shown(value));
  if (value.items.length > MAX_AXES) {
    context.fail(`the ${what} of a tensor`, `at most ${MAX_AXES} axes`, value.items.length);
  }
  context.spend(value.items.length);
  const wrong = value.items.find((item) => !isCount(item));
  if (wrong !== undefined) {
    context.fail(`the ${what} of a tensor`, "whole numbers that are not negative", shown(wrong));
  }
  return value.items as readonly number[];
}

/** What a persistent id stands for: `("storage", type, key, location, count[, None])`. @throws through `fail` */
export function storageRef(id: PickleValue, context: BuildContext): StorageRef {
  const items = id instanceof Tuple ? id.items : [];
  const [tag, type, key, location, count] = items;
  const role = type instanceof Global ? type.role : null;
  const whole = items.length === 5 || (items.length === 6 && items[5] === null);
  if (!whole || tag !== "storage" || typeof key !== "string" || typeof location !== "string") {
    return context.fail(
      "persistent id is not a storage",
      '("storage", type, key, location, count)',
      items.length > 0 ? `(${items.slice(0, 8).map(shown).join(", ")})` : shown(id),
    );
  }
  if (role?.kind !== "storage" && role?.kind !== "untyped storage") {
    return context.fail("the type of a storage", "one of torch's storage types", shown(type));
  }
  const dtype = role.kind === "storage" ? role.dtype : null;
  const width = dtype === null ? 1 : safetensorsDtypes[dtype];
  if (!isCount(count) || count * width > context.fileSize) {
    return context.fail(
      `storage ${JSON.stringify(key.slice(0, 80))} claims more than the file holds`,
      `at most ${Math.floor(context.fileSize / width)} values`,
      shown(count),
    );
  }
  const known = context.storages.get(key);
  if (known) {
    if (known.dtype !== dtype || known.bytes !== count * width) {
      context.fail(
        `storage ${JSON.stringify(key.slice(0, 80))} is described in two ways`,
        `${known.bytes} bytes of ${known.dtype ?? "any dtype"}`,
        `${count * width} bytes of ${dtype ?? "any dtype"}`,
      );
    }
    return known;
  }
  const storage = new StorageRef(key, dtype, count * width);
  context.storages.set(key, storage);
  return storage;
}

function tensor(items: readonly PickleValue[], version: 1 | 2 | 3, context: BuildContext): PickledTensor {
  const [storage, offset, size, stride] = items;
  // requires_grad and hooks follow, in version 3 a dtype, then what newer releases add.
  const required = [4, 6, 7][version - 1];
  const metadata = items[required] ?? null;
  if (items.length < required || items.length > required + (version === 1 ? 0 : 1)) {
    return context.fail("tensor with a wrong number of arguments", required, items.length);
  }
  if (!(storage instanceof StorageRef)) return context.fail("a tensor", "a storage", shown(storage));
  if (metadata !== null && !(metadata instanceof Dict && metadata.size === 0)) {
    context.fail(
      "conjugated or negated tensors and tensors with metadata are not supported",
      "none",
      shown(metadata),
    );
  }
  const named = version === 3 ? items[6] : null;
  const role = named instanceof Global ? named.role : null;
  const dtype = version === 3 ? (role?.kind === "dtype" ? role.dtype : null) : storage.dtype;
  if (dtype === null) {
    return context.fail("the dtype of a tensor", "one of torch's", shown(version === 3 ? named : storage));
  }
  const shape = counts("shape", size, context);
  const strides = counts("strides", stride, context);
  if (shape.length !== strides.length) {
    context.fail("the strides of a tensor", `${shape.length} of them`, strides.length);
  }
  if (!isCount(offset)) return context.fail("the offset of a tensor", "a whole number", shown(offset));
  const width = safetensorsDtypes[dtype];
  const empty = shape.includes(0);
  const most = empty ? Number.MAX_SAFE_INTEGER : Math.floor(context.fileSize / width);
  let product = 1;
  let last = offset;
  for (const [axis, n] of shape.entries()) {
    if (n !== 0) product *= n;
    if (!empty) last += (n - 1) * strides[axis];
    if (product > most || !Number.isSafeInteger(last)) {
      context.fail("tensor is larger than the file", `at most ${most} values`, `[${shape}]`);
    }
  }
  if (!empty && (last + 1) * width > storage.bytes) {
    context.fail(
      `a tensor reaches beyond its storage ${JSON.stringify(storage.key.slice(0, 80))}`,
      `at most ${Math.floor(storage.bytes / width)} values`,
      `offset ${offset}, shape [${shape}], strides [${strides}]`,
    );
  }
  context.spend(4);
  const count = empty ? 0 : product;
  return new PickledTensor(storage, dtype, { shape, strides, offset, count });
}

/** An OrderedDict out of a list of pairs, as Python 2 pickled it, or empty. */
function dict(items: readonly PickleValue[], context: BuildContext): Dict {
  const made = new Dict();
  if (items.length === 0) return made;
  const [list] = items;
  if (items.length !== 1 || !(list instanceof List)) {
    return context.fail("an OrderedDict", "a list of pairs", items.map(shown).join(", "));
  }
  context.spend(list.items.length);
  for (const pair of list.items) {
    const parts = pair instanceof Tuple || pair instanceof List ? pair.items : [];
    if (parts.length !== 2) return context.fail("an item of an OrderedDict", "a pair", shown(pair));
    if (made.has(parts[0])) context.fail("duplicate key in a dict", "one", shown(parts[0]));
    made.set(parts[0], parts[1]);
  }
  return made;
}

/** What a REDUCE opcode gives. @throws through `fail` */
export function rebuild(callable: PickleValue, args: PickleValue, context: BuildContext): PickleValue {
  if (!(callable instanceof Global)) {
    return context.fail("the pickle calls a value that is not a function", "a function", shown(callable));
  }
  if (!(args instanceof Tuple)) return context.fail("arguments", "a tuple", shown(args));
  const { role, name } = callable;
  const { items } = args;
  switch (role.kind) {
    case "dict":
      return dict(items, context);
    case "tensor":
      return tensor(items, role.version, context);
    case "parameter":
      if (items.length === role.parts && items[0] instanceof PickledTensor) return items[0];
      return context.fail(
        "a parameter",
        "a tensor and its settings",
        items.map(shown).slice(0, 8).join(", "),
      );
    case "size":
      if (items.length === 1 && items[0] instanceof Tuple) return items[0];
      return context.fail("a torch.Size", "a tuple", items.map(shown).slice(0, 8).join(", "));
    case "device":
      return new Opaque("a device");
    default:
      return context.fail("the pickle calls a value that is not a function", "a function", name);
  }
}

/**
 * Takes the attributes that a BUILD opcode gives to a dict (`_metadata` of a module's state): they say nothing about
 * the tensors. @throws through `fail` for anything else
 */
export function build(target: PickleValue, state: PickleValue, context: BuildContext): void {
  if (target instanceof Dict && (state instanceof Dict || state === null)) return;
  context.fail("the pickle sets attributes", "those of a dict", `${shown(state)} for ${shown(target)}`);
}
