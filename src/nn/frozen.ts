/** Modules that training leaves as they are. */
import type { Tensor } from "../tensor/tensor.ts";
import type { Parameters } from "./parameters.ts";

/**
 * What `body` makes of `input` by a module of these parameters. Where nothing of it is trained and the input has no
 * gradient either, nothing is recorded and what passes inside is freed at once.
 */
export function unlessFrozen<T>(parameters: Parameters, input: Tensor, body: () => T): T {
  const { device } = input;
  if (device.tape === null || input.requiresGrad || !parameters.frozen) return body();
  return device.noGrad(() => device.tidy(body));
}
