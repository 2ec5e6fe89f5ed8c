import { expect, it } from "vitest";
import { Random } from "../tensor/random.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import { Linear } from "./linear.ts";
import { LayerNorm } from "./norm.ts";
import { allocateModule, describeModule, type ParameterScope } from "./scope.ts";

const make = (scope: ParameterScope) => ({
  norm: new LayerNorm(scope.child("blocks.0.norm1"), 3, 0.5),
  linear: new Linear(scope.child("blocks.0.mlp.fc1"), 3, 2, { bias: true, activation: "gelu_tanh" }),
  parameters: scope.parameters,
});

it("a layer norm and a linear layer with an activation declare official names and compute with them", async () => {
  const { parameters: described } = describeModule(make);
  expect([...described.groups()].map(({ key, decay }) => [key, decay])).toEqual([
    ["blocks.0.norm1.weight", false],
    ["blocks.0.norm1.bias", false],
    ["blocks.0.mlp.fc1.weight", true],
    ["blocks.0.mlp.fc1.bias", false],
  ]);
  const device = createReferenceDevice();
  const { norm, linear, parameters } = allocateModule(device, "f32", make);
  parameters.initialize(new Random(1), 1);
  const values = {
    "blocks.0.norm1.weight": [1, 2, 3],
    "blocks.0.norm1.bias": [10, 20, 30],
    "blocks.0.mlp.fc1.weight": [1, 0, 0, 0, 0.5, 0],
    "blocks.0.mlp.fc1.bias": [1, -1],
  };
  for (const [key, each] of Object.entries(values)) parameters.group(key).tensor.set(each);
  const x = device.tensor([-1, 0, 1], [1, 3]);
  const scale = Math.sqrt(2 / 3 + 0.5);
  const y = await norm.forward(x).data();
  [10 - 1 / scale, 20, 30 + 3 / scale].forEach((v, i) => {
    expect(y[i]).toBeCloseTo(v, 5);
  });
  const { sum, normalized } = norm.add(x, x);
  expect([...(await sum.data())]).toEqual([-2, 0, 2]);
  expect((await normalized.data())[1]).toBeCloseTo(20, 5);
  const tanhForm = (v: number) => (v / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)));
  const z = await linear.forward(x).data();
  expect(z[0]).toBeCloseTo(tanhForm(0), 6);
  expect(z[1]).toBeCloseTo(tanhForm(-1), 6);
});
