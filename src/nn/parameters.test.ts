import { describe, expect, it } from "vitest";
import { ConfigError, FormatError, ShapeError } from "../tensor/errors.ts";
import { Random } from "../tensor/random.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import type { Device } from "../tensor/tensor.ts";
import type { Parameters } from "./parameters.ts";
import { allocateModule, type ParameterScope } from "./scope.ts";
import type { StorageFormat } from "./storage.ts";
import type { WeightSource } from "./weight-source.ts";

function declare(scope: ParameterScope): void {
  scope.fused("pair", 3, [
    { name: "a.weight", rows: 2 },
    { name: "b.weight", rows: 1 },
  ]);
  scope.vector("norm.weight", 4, { initial: "ones" });
  scope.vector("bias", 2, { initial: "zeros", trained: false });
  scope.matrix("gate.weight", 2, 3, { alwaysF32: true });
  scope.declare({
    key: "experts",
    shape: [2, 2, 3],
    stackedName: "experts.stacked",
    parts: [0, 1].map((e) => ({ name: `experts.${e}`, shape: [2, 3], offset: 6 * e })),
  });
}

const make = (
  device: Device,
  storage: StorageFormat = "f32",
  more?: (scope: ParameterScope) => void,
): Parameters =>
  allocateModule(device, storage, (scope) => {
    more?.(scope);
    declare(scope);
    return scope.parameters;
  });

function sourceOf(tensors: Record<string, { shape: number[]; values: number[] }>): WeightSource {
  return {
    names: () => Object.keys(tensors),
    has: (name) => name in tensors,
    shape: (name) => tensors[name].shape,
    // Two elements at a time, as a checkpoint would give large tensors in pieces.
    async *readF32(name) {
      const { values } = tensors[name];
      for (let offset = 0; offset < values.length; offset += 2) {
        yield { offset, values: Float32Array.from(values.slice(offset, offset + 2)) };
      }
    },
  };
}

const separate = {
  "a.weight": { shape: [2, 3], values: [1, 2, 3, 4, 5, 6] },
  "b.weight": { shape: [1, 3], values: [7, 8, 9] },
  "norm.weight": { shape: [4], values: [1, 1, 1, 2] },
  bias: { shape: [2], values: [-1, -2] },
  "gate.weight": { shape: [2, 3], values: [0, 0, 0, 1, 1, 1] },
  "experts.0": { shape: [2, 3], values: [1, 1, 1, 1, 1, 1] },
  "experts.1": { shape: [2, 3], values: [2, 2, 2, 2, 2, 3] },
};

describe("Parameters", () => {
  it("gives official tensors as views of what is stored together", async () => {
    const device = createReferenceDevice();
    const parameters = make(device);
    await parameters.load(sourceOf(separate));
    expect([...(await parameters.group("pair").tensor.data())]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    for (const { name, shape } of parameters.named()) {
      const view = parameters.get(name);
      expect(view.shape).toEqual(shape);
      expect([...(await view.data())]).toEqual(separate[name as keyof typeof separate].values);
    }
    parameters.get("b.weight").set([70]);
    expect((await parameters.group("pair").tensor.data())[6]).toBe(70);
    expect(parameters.count).toBe(9 + 4 + 2 + 6 + 12);
    expect(parameters.bytes).toBe(4 * parameters.count);
    parameters[Symbol.dispose]();
    expect(device.backend.memory().buffers).toBe(0);
  });

  it("reads stacked groups whole", async () => {
    using parameters = make(createReferenceDevice());
    const { "experts.0": first, "experts.1": second, ...rest } = separate;
    const stacked = { shape: [2, 2, 3], values: [...first.values, ...second.values] };
    await parameters.load(sourceOf({ ...rest, "experts.stacked": stacked }));
    expect([...(await parameters.get("experts.1").data())]).toEqual(second.values);
  });

  it("says which tensor is missing, misshapen or cut short", async () => {
    using parameters = make(createReferenceDevice());
    const { "b.weight": _, ...without } = separate;
    await expect(parameters.load(sourceOf(without))).rejects.toThrow(/b\.weight/);
    await expect(parameters.load(sourceOf(without))).rejects.toThrow(FormatError);
    const turned = { ...separate, "b.weight": { shape: [3, 1], values: [7, 8, 9] } };
    await expect(parameters.load(sourceOf(turned))).rejects.toThrow(ShapeError);
    const short = { ...separate, "b.weight": { shape: [1, 3], values: [7, 8] } };
    await expect(parameters.load(sourceOf(short))).rejects.toThrow(FormatError);
    expect(() => parameters.get("c.weight")).toThrow(ConfigError);
  });

  it("decays matrices and routers, trains all but biases", () => {
    using parameters = make(createReferenceDevice());
    const groups = [...parameters.groups()];
    expect(groups.filter((g) => g.decay).map((g) => g.key)).toEqual(["pair", "gate.weight", "experts"]);
    expect(groups.filter((g) => !g.trained).map((g) => g.key)).toEqual(["bias"]);
    expect(groups.filter((g) => g.tensor.requiresGrad).length).toBe(4);
  });

  it("stores matrices in the asked dtype, the rest in f32", () => {
    using parameters = make(createReferenceDevice(), "bf16");
    const dtypes = [...parameters.groups()].map((g) => g.tensor.dtype);
    expect(dtypes).toEqual(["bf16", "f32", "f32", "f32", "bf16"]);
    expect(parameters.group("pair").tensor.requiresGrad).toBe(false);
    expect(parameters.bytes).toBe(2 * 21 + 4 * 12);
  });

  it("gives gradients of official tensors as views of the group's", async () => {
    const device = createReferenceDevice();
    using parameters = make(device);
    expect(parameters.gradient("b.weight")).toBe(null);
    const { tensor } = parameters.group("pair");
    tensor.grad = device.tensor([1, 2, 3, 4, 5, 6, 7, 8, 9], [3, 3]);
    using gradient = parameters.gradient("b.weight")!;
    expect([...(await gradient.data())]).toEqual([7, 8, 9]);
    parameters.clearGradients();
    expect(tensor.grad).toBe(null);
  });

  it("initializes by seed: normals, ones and zeros", async () => {
    const device = createReferenceDevice();
    const big = (scope: ParameterScope) => void scope.matrix("w", 100, 200);
    using first = make(device, "f32", big);
    using second = make(device, "f32", big);
    first.initialize(new Random(7));
    second.initialize(new Random(7));
    expect(await first.get("w").data()).toEqual(await second.get("w").data());
    const values = await first.get("w").data();
    const variance = Array.from(values).reduce((sum, x) => sum + x * x, 0) / values.length;
    expect(Math.sqrt(variance)).toBeCloseTo(0.006, 3);
    expect([...(await first.get("norm.weight").data())]).toEqual([1, 1, 1, 1]);
    expect([...(await first.get("bias").data())]).toEqual([0, 0]);
    second.initialize(new Random(8), 1);
    expect(await second.get("w").data()).not.toEqual(values);
  });
});
