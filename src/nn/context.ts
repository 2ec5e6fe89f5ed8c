/** What every layer of one forward pass shares: positions, rotary tables, the place in the cache, and hooks. */
import type { RotaryTables } from "../tensor/ops/rotary.ts";
import type { Device, Tensor } from "../tensor/tensor.ts";

/** Which of the two equal forms of MLA runs: `auto` expands for long inputs and absorbs for short ones. */
export type MlaForm = "auto" | "expanded" | "absorbed";

/** Receives intermediate values by name; the tensor is a view that the receiver owns. */
export type Capture = (name: string, tensor: Tensor) => void;

export interface ForwardContext {
  readonly batch: number;
  /** New tokens of each row. */
  readonly tokens: number;
  /** Position of the first new token: the length of the cache, 0 without one. */
  readonly start: number;
  /** Position of every new token: `[batch * tokens]` i32. */
  readonly positions: Tensor;
  /** Tokens in the cache after this pass for each row, `[batch]` i32; null without a cache. */
  readonly lengths: Tensor | null;
  readonly tables: RotaryTables;
  readonly mlaForm: MlaForm;
  readonly capture: Capture | null;
}

/** Hands a view of `tensor` to the hook, if there is one. */
export function captured(capture: Capture | null, name: string, tensor: Tensor): void {
  if (capture)
    capture(
      name,
      tensor.device.unscoped(() => tensor.view(tensor.shape)),
    );
}

/**
 * Runs `body` and frees what it made except its result. While a tape records, the tape owns intermediates instead
 * and nothing is freed here.
 */
export function scoped<T extends Tensor | readonly Tensor[]>(device: Device, body: () => T): T {
  if (device.tape !== null) return body();
  using scope = device.scope();
  const result = body();
  for (const tensor of Array.isArray(result) ? result : [result]) scope.keep(tensor as Tensor);
  return result;
}
