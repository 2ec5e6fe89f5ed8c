/** Encoders and decoders that give others a turn: the same bits as in one piece, and nothing left behind where they are stopped. */
import { beforeAll, describe, expect, it } from "vitest";
import { allocateModule } from "../nn/scope.ts";
import { Random } from "../tensor/random.ts";
import type { Device, Tensor } from "../tensor/tensor.ts";
import { cpuDevice } from "../tensor/testing.ts";
import { VaeModel } from "./vae.ts";
import { VqTokenizer } from "./vq.ts";

let device: Device;
beforeAll(async () => {
  device = await cpuDevice(2, true);
});

interface InParts extends Disposable {
  readonly whole: () => Tensor;
  readonly parts: () => Generator<void, Tensor, void>;
  /** Convolutions of 3 x 3 after the first, attentions. */
  readonly pauses: number;
}

function vae(part: "decode" | "moments"): InParts {
  const config = { latentChannels: 3, widths: [8, 16], blocks: 1, groups: 4, scalingFactor: 0.5 };
  const model = allocateModule(device, "f32", (scope) => new VaeModel(scope, config));
  model.parameters.initialize(new Random(3), 0.2);
  const random = new Random(4);
  const shape = part === "decode" ? [2, 5, 4, 3] : [2, 6, 8, 3];
  const values = Float32Array.from({ length: shape.reduce((a, n) => a * n) }, () => random.normal());
  const x = device.tensor(values, shape);
  return {
    whole: () => device.inference(() => model[part](x)),
    parts: () => model[`${part}ByConv`](x),
    // Middle 2 + 1 + 2, two levels of two blocks (the encoder's of one), another size, the last.
    pauses: 5 + (part === "decode" ? 8 : 4) + 1 + 1,
    [Symbol.dispose]() {
      x.dispose();
      model[Symbol.dispose]();
    },
  };
}

function vq(): InParts {
  const config = {
    ...{ codes: 30, codeWidth: 4, channels: 32, latentChannels: 32, blocks: 1 },
    ...{ encoderFactors: [1, 2], decoderFactors: [1, 2] },
  };
  const model = allocateModule(device, "f32", (scope) => new VqTokenizer(scope, config));
  model.parameters.initialize(new Random(3), 0.2);
  const ids = device.tensor(
    Int32Array.from({ length: 2 * 5 * 4 }, (_, i) => (7 * i) % 30),
    [2, 5, 4],
    "i32",
  );
  return {
    whole: () => device.inference(() => model.decode(ids)),
    parts: () => model.decodeByConv(ids),
    // As above, with an attention after each of two blocks of the deepest level.
    pauses: 5 + 8 + 2 + 1 + 1,
    [Symbol.dispose]() {
      ids.dispose();
      model.parameters[Symbol.dispose]();
    },
  };
}

describe.each([
  ["VaeModel's decoder", () => vae("decode")],
  ["VaeModel's encoder", () => vae("moments")],
  ["VqTokenizer's decoder", vq],
])("%s", (_, make) => {
  it("gives in parts the bits of the whole, and leaves nothing where it is stopped", async () => {
    using model = make();
    const { buffers } = device.backend.memory();
    using whole = model.whole();
    let pauses = 0;
    const work = model.parts();
    let next = work.next();
    while (!next.done) {
      pauses++;
      next = work.next();
    }
    expect(pauses).toBe(model.pauses);
    expect(next.value.shape).toEqual(whole.shape);
    expect(await next.value.raw()).toEqual(await whole.raw());
    next.value.dispose();
    for (let at = 0; at < pauses; at++) {
      const stopped = model.parts();
      for (let i = 0; i <= at; i++) expect(stopped.next().done).toBe(false);
      stopped.return(undefined as never);
      expect(device.backend.memory().buffers).toBe(buffers + 1);
    }
  });
});
