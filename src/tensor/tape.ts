/**
 * Reverse-mode differentiation: operations record themselves on the device's tape, `backward` replays them in
 * reverse. The tape owns what was made while it recorded and frees each part as soon as the backward pass is
 * done with it.
 *
 *     const { loss } = differentiate(device, () => nextTokenLoss(model, batch));
 */

import { DeepseekError, ShapeError } from "./errors.ts";
import { add } from "./ops/elementwise.ts";
import { copy, fill } from "./ops/memory.ts";
import {
  type Backward,
  type Device,
  type Gradients,
  type Recorder,
  refusePromise,
  Scope,
  sameShape,
  Tensor,
  tensorsIn,
} from "./tensor.ts";

interface Node {
  readonly outputs: readonly Tensor[];
  readonly inputs: readonly Tensor[];
  readonly backward: Backward;
  /** The tape's tensors from here on were made by this node or after it. */
  readonly start: number;
}

interface Entry {
  tensor: Tensor;
  /** False while the tensor is borrowed and must not be changed. */
  owned: boolean;
}

/**
 * Runs `body` while operations are recorded, and adds the gradients of the scalar that it returns, alone or as `loss`,
 * to `grad` of every parameter that it depends on. What it returns is kept, as by `Device.tidy`; everything else made
 * on the way is freed. @throws ShapeError if the loss is not a scalar, DeepseekError if the body is asynchronous
 */
export function differentiate<T extends Tensor | { readonly loss: Tensor }>(
  device: Device,
  body: () => T,
): T {
  using tape = new Tape(device);
  const result = refusePromise("differentiate", body());
  for (const tensor of tensorsIn(result)) tape.keep(tensor);
  tape.backward(result instanceof Tensor ? result : result.loss);
  tape.handOver();
  return result;
}

/**
 * What `differentiate` works with. It is state of the device while it records, so it must end in the turn of the event
 * loop in which it was made.
 */
export class Tape implements Recorder, Disposable {
  readonly device: Device;
  readonly #scope: Scope;
  readonly #nodes: Node[] = [];
  readonly #kept = new Set<Tensor>();
  #mark = 0;

  /** Starts recording on `device`. @throws DeepseekError if another tape records */
  constructor(device: Device) {
    if (device.tape !== null)
      throw new DeepseekError("another tape is recording on this device", { where: "Tape" });
    this.device = device;
    this.#scope = new Scope(device);
    device.tape = this;
  }

  /** Keeps a tensor (a loss, a count) readable until the tape is disposed. */
  keep<T extends Tensor>(tensor: T): T {
    this.#kept.add(tensor);
    return tensor;
  }

  /** For operations: adds a node. */
  push(outputs: readonly Tensor[], inputs: readonly Tensor[], backward: Backward): void {
    for (const output of outputs) output.requiresGrad = true;
    this.#nodes.push({ outputs, inputs, backward, start: this.#mark });
    this.#mark = this.#scope.tensors.length;
  }

  /**
   * Gradients of the scalar `loss` are added to `grad` of every parameter it depends on; a parameter without one
   * gets one. Recording ends, and the tape's intermediate tensors are freed on the way. @throws ShapeError
   */
  backward(loss: Tensor): void {
    if (loss.size !== 1)
      throw new ShapeError("the loss must be a scalar", { where: "backward", found: loss.shape });
    using one = this.device.unscoped(() => fill(this.device.empty(loss.shape), 1));
    this.backwardFrom([loss], [one]);
  }

  /** As `backward`, from several outputs with their gradients given (f32, the outputs' shapes). */
  backwardFrom(outputs: readonly Tensor[], gradients: readonly Tensor[]): void {
    const { device } = this;
    if (device.tape === this) device.tape = null;
    const grads = new Map<Tensor, Entry>();
    const produced = new Set<Tensor>();
    for (const node of this.#nodes) for (const output of node.outputs) produced.add(output);
    outputs.forEach((output, i) => {
      this.keep(output);
      const tensor = device.unscoped(() => gradients[i].view(output.shape));
      grads.set(output, { tensor, owned: false });
    });

    while (this.#nodes.length > 0) {
      const node = this.#nodes.pop()!;
      const outputGradients = node.outputs.map((output) => grads.get(output)?.tensor ?? null);
      if (outputGradients.some((gradient) => gradient !== null)) {
        using _temporaries = new Scope(device);
        node.backward(outputGradients, this.#destinations(node, grads, produced));
      }
      for (const output of node.outputs) {
        grads.get(output)?.tensor.dispose();
        grads.delete(output);
      }
      this.#release(node.start);
    }
    for (const entry of grads.values()) entry.tensor.dispose();
  }

  #destinations(node: Node, grads: Map<Tensor, Entry>, produced: ReadonlySet<Tensor>): Gradients {
    const { device } = this;
    // A parameter's gradient is as large as the parameter and is placed like one.
    const fresh = (input: Tensor) =>
      device.unscoped(() => device.empty(input.shape, "f32", !produced.has(input)));
    const entryOf = (input: Tensor): Entry | undefined => {
      if (produced.has(input)) return grads.get(input);
      return input.grad ? { tensor: input.grad, owned: true } : undefined;
    };
    const store = (input: Tensor, entry: Entry) => {
      if (produced.has(input)) grads.set(input, entry);
      else input.grad = entry.tensor;
    };
    const target = (i: number): { tensor: Tensor; accumulate: 0 | 1 } => {
      const input = node.inputs[i];
      const entry = entryOf(input);
      if (!entry) {
        const tensor = fresh(input);
        store(input, { tensor, owned: true });
        return { tensor, accumulate: 0 };
      }
      // A borrowed gradient may be changed once its owner has released it.
      if (!entry.owned && entry.tensor.shared) {
        const own = fresh(input);
        copy(entry.tensor, own);
        entry.tensor.dispose();
        entry.tensor = own;
      }
      entry.owned = true;
      return { tensor: entry.tensor, accumulate: 1 };
    };
    return {
      wants: (i) => node.inputs[i].requiresGrad,
      target,
      add: (i, gradient) => {
        const input = node.inputs[i];
        if (!input.requiresGrad) return;
        if (gradient.size !== input.size) {
          throw new ShapeError("the gradient differs in shape from its input", {
            where: "backward",
            expected: input.shape,
            found: gradient.shape,
          });
        }
        if (!entryOf(input) && produced.has(input)) {
          const alias = device.unscoped(() => gradient.view(input.shape));
          store(input, { tensor: alias, owned: false });
          return;
        }
        const { tensor, accumulate } = target(i);
        const shaped = sameShape(gradient.shape, tensor.shape) ? gradient : gradient.view(tensor.shape);
        if (accumulate) add.into(tensor, shaped);
        else copy(shaped, tensor);
      },
    };
  }

  /** Passes what is kept to the enclosing body or the caller. */
  handOver(): void {
    for (const tensor of this.#kept) this.#scope.keep(tensor);
    this.#kept.clear();
  }

  /** Frees the tape's tensors from `start` on, except kept ones. */
  #release(start: number): void {
    const { tensors } = this.#scope;
    const kept: Tensor[] = [];
    while (tensors.length > start) {
      const tensor = tensors.pop()!;
      if (this.#kept.has(tensor)) kept.push(tensor);
      else tensor.dispose();
    }
    tensors.push(...kept);
  }

  [Symbol.dispose](): void {
    if (this.device.tape === this) this.device.tape = null;
    this.#nodes.length = 0;
    this.#scope[Symbol.dispose]();
  }
}
