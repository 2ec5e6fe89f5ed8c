/**
 * The whole list of names that a pickle may refer to, compared as a whole. None of them runs anything: each stands for
 * a rule in rebuild.ts. What torch.save writes for tensors, parameters and the plain values beside them is here;
 * everything else is refused where it is named, whether or not it would be called.
 */
import type { SafetensorsDtype } from "../safetensors-dtype.ts";
import { Global, type GlobalRole } from "./values.ts";

const storages: Readonly<Record<string, SafetensorsDtype>> = {
  DoubleStorage: "F64",
  FloatStorage: "F32",
  HalfStorage: "F16",
  BFloat16Storage: "BF16",
  LongStorage: "I64",
  IntStorage: "I32",
  ShortStorage: "I16",
  CharStorage: "I8",
  ByteStorage: "U8",
  BoolStorage: "BOOL",
};

const dtypes: Readonly<Record<string, SafetensorsDtype>> = {
  float64: "F64",
  double: "F64",
  float32: "F32",
  float: "F32",
  float16: "F16",
  half: "F16",
  bfloat16: "BF16",
  float8_e4m3fn: "F8_E4M3",
  float8_e5m2: "F8_E5M2",
  int64: "I64",
  long: "I64",
  int32: "I32",
  int: "I32",
  int16: "I16",
  short: "I16",
  int8: "I8",
  uint64: "U64",
  uint32: "U32",
  uint16: "U16",
  uint8: "U8",
  bool: "BOOL",
};

const entry = (module: string, name: string, role: GlobalRole): [string, Global] => [
  `${module}\n${name}`,
  new Global(`${module}.${name}`, role),
];

/** By module and name with a line feed between them, which neither can hold. */
const globals: ReadonlyMap<string, Global> = new Map([
  entry("collections", "OrderedDict", { kind: "dict" }),
  entry("torch._utils", "_rebuild_tensor", { kind: "tensor", version: 1 }),
  entry("torch._utils", "_rebuild_tensor_v2", { kind: "tensor", version: 2 }),
  entry("torch._utils", "_rebuild_tensor_v3", { kind: "tensor", version: 3 }),
  entry("torch._utils", "_rebuild_parameter", { kind: "parameter", parts: 3 }),
  entry("torch._utils", "_rebuild_parameter_with_state", { kind: "parameter", parts: 4 }),
  entry("torch.storage", "UntypedStorage", { kind: "untyped storage" }),
  entry("torch", "Size", { kind: "size" }),
  entry("torch", "device", { kind: "device" }),
  ...Object.entries(storages).map(([name, dtype]) => entry("torch", name, { kind: "storage", dtype })),
  ...Object.entries(dtypes).map(([name, dtype]) => entry("torch", name, { kind: "dtype", dtype })),
]);

/** The name if it is on the list. */
export function allowedGlobal(module: string, name: string): Global | undefined {
  return module.includes("\n") ? undefined : globals.get(`${module}\n${name}`);
}
