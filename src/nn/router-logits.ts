/**
 * The router's product. It stays in floats where all else is quantized, and the kernels for few and for many rows of
 * floats round differently. So that a token chooses the same experts with the same weights whatever else is in a pass,
 * rows go eight at a time to the kernel for few; only training, which batches anyway, takes the one for many.
 */
import { linear } from "../tensor/ops/linear.ts";
import { matmulInto } from "../tensor/ops/matmul.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** Rows that the kernel for few takes. */
const FEW = 8;

/** `x: [N, d]` times the gate `[E, d]` transposed: `[N, E]`. */
export function routerLogits(x: Tensor, gate: Tensor): Tensor {
  const { device } = x;
  if (device.tape !== null) return linear(x, gate);
  const [N, d] = x.shape;
  const E = gate.shape[0];
  const y = device.empty([N, E]);
  const whole = Math.floor(N / FEW);
  const product = (m: number, batch: number, first: number) =>
    matmulInto(
      device,
      { m, n: E, k: d, batch },
      { tensor: x, offset: first * d, row: d, batch: FEW * d },
      { tensor: gate, row: 1, column: d },
      { tensor: y, offset: first * E, row: E, batch: FEW * E },
    );
  product(FEW, whole, 0);
  product(N % FEW, 1, whole * FEW);
  return y;
}
