/** The tensors of a model as they are saved: under official names, in the floats that they are stored in. */
import { weightsOf } from "../nn/model-weights.ts";
import type { ParameterGroup } from "../nn/parameter-group.ts";
import type { Parameters } from "../nn/parameters.ts";
import { f32ToBf16, f32ToF16 } from "../tensor/float-formats.ts";
import { type Shape, sizeOf, type Tensor } from "../tensor/tensor.ts";
import type { SafetensorsEntry } from "./safetensors-writer.ts";

/** Values read at once. */
const CHUNK = 1 << 20;

/** What safetensors calls a float tensor's storage. */
export function safetensorsDtypeOf(tensor: Tensor): "F32" | "BF16" | "F16" {
  return tensor.dtype === "bf16" ? "BF16" : tensor.dtype === "f16" ? "F16" : "F32";
}

const bytesOf = (view: ArrayBufferView) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

/** `size` values of a tensor from `offset` on, ready to be saved under `name`; they are read when they are written. */
function rangeEntry(name: string, tensor: Tensor, shape: Shape, offset: number): SafetensorsEntry {
  const data = async function* () {
    const { device } = tensor;
    const end = offset + sizeOf(shape);
    using flat = device.unscoped(() => tensor.view([tensor.size]));
    for (let begin = offset; begin < end; begin += CHUNK) {
      using piece = device.unscoped(() => flat.slice(begin, Math.min(end, begin + CHUNK)));
      yield bytesOf(await piece.raw());
    }
  };
  return { name, dtype: safetensorsDtypeOf(tensor), shape, data };
}

/** A float tensor, ready to be saved under `name`; it is read when it is written. */
export function tensorEntry(name: string, tensor: Tensor): SafetensorsEntry {
  return rangeEntry(name, tensor, tensor.shape, 0);
}

/**
 * The official tensors of a model, or of modules that share a checkpoint, ready to be saved.
 * @param chosen which groups; default: all @throws ConfigError for a quantized group
 */
export function* modelEntries(
  model: { readonly parameters: Parameters },
  chosen: (group: ParameterGroup) => boolean = () => true,
): Generator<SafetensorsEntry> {
  const weights = weightsOf(model);
  for (const group of model.parameters.groups()) {
    if (!chosen(group)) continue;
    const { layout, piece, parts, tensor } = group;
    if (layout === undefined || piece === undefined) {
      for (const { name, shape, offset } of parts) yield rangeEntry(name, tensor, shape, offset);
      continue;
    }
    // Other programs know the official tensor, not what kernels take it apart to.
    if (piece > 0) continue;
    const { key: name, shape } = layout.official;
    const dtype = safetensorsDtypeOf(tensor);
    const data = async function* () {
      for await (const { values } of weights.readF32(name)) {
        yield bytesOf(dtype === "BF16" ? f32ToBf16(values) : dtype === "F16" ? f32ToF16(values) : values);
      }
    };
    yield { name, dtype, shape, data };
  }
}
