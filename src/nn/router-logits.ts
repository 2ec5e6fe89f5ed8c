/**
 * The router's product. It stays in floats if all else is quantized, and the kernels for few and for many rows of
 * floats round differently. So that a token chooses the same experts with the same weights whatever else is in a pass,
 * rows go eight at a time to the kernel for few; the one for many is faster if a token's route need not be repeated.
 */
import { linear, linearBackward } from "../tensor/ops/linear.ts";
import { matmulInto } from "../tensor/ops/matmul.ts";
import { record } from "../tensor/record.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Routing } from "./context.ts";

/** Rows that the kernel for few takes. */
const FEW = 8;

/** `x: [N, d]` times the gate `[E, d]` transposed: `[N, E]`. */
export function routerLogits(x: Tensor, gate: Tensor, routing: Routing): Tensor {
  if (routing === "batched") return linear(x, gate);
  const { device } = x;
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
  record([y], [x, gate], linearBackward(x, gate));
  return y;
}
