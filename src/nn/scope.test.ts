/** One constructor, three ways to call it: a description, memory, and a second module over the same memory. */
import { describe, expect, it } from "vitest";
import { ConfigError } from "../tensor/errors.ts";
import { Random } from "../tensor/random.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { Embedding } from "./embedding.ts";
import { Linear } from "./linear.ts";
import { RmsNorm } from "./norm.ts";
import type { GroupSpec } from "./parameter-group.ts";
import type { Parameters } from "./parameters.ts";
import { allocateModule, alone, describeModule, ParameterScope } from "./scope.ts";

/** Two layers inside a module, fused and plain, with biases, and a tensor that has two layouts. */
class Tower {
  readonly parameters: Parameters;
  readonly inner: Parameters;
  readonly halves: number;
  readonly #table: Embedding;
  readonly #norm: RmsNorm;
  readonly #pair: Linear;
  readonly #last: Linear;

  constructor(scope: ParameterScope, width = 4) {
    this.#table = new Embedding(scope.child("table"), 5, width);
    const layer = scope.child("layers.3");
    this.#norm = new RmsNorm(layer.child("norm"), width, 1e-3);
    const parts = [
      { name: "a_proj", rows: 2 },
      { name: "b_proj", rows: 1 },
    ];
    this.#pair = new Linear(layer, width, { key: "ab", parts }, { bias: true });
    this.#last = new Linear(layer.child("last"), 3, 2, { bias: true, role: "head" });
    this.inner = layer.parameters;
    const official = alone("turned.weight", [6, 2]);
    const pieces = [alone("halves.0", [3, 2, 1]), alone("halves.1", [3, 1, 2])];
    const mapping = { units: 3, plainRows: [null, { first: 1, count: 1 }] };
    this.halves = scope.layout({
      official: { ...official, alike: "halves" },
      pieces: pieces.map((piece) => ({ ...piece, alike: "halves" })),
      ...mapping,
      split: (unit, piece) => unit.slice(2 * piece, 2 * piece + 2),
      join: ([a, b]) => Float32Array.of(...a, ...b),
    }).length;
    this.parameters = scope.parameters;
  }

  forward(ids: Tensor): Tensor {
    return this.#last.forward(this.#pair.forward(this.#norm.forward(this.#table.forward(ids))));
  }
}

const listed = (groups: Iterable<GroupSpec>) =>
  [...groups].map(({ key, shape, parts, trained, decay, initial }) => [
    ...[key, shape, trained, decay, initial],
    parts.map(({ name, shape, offset }) => [name, shape, offset]),
  ]);

const make = (scope: ParameterScope) => new Tower(scope.child("tower"));

describe("a scope", () => {
  const device = createReferenceDevice();

  it("describes, allocates and views the same names, shapes and order", () => {
    const { module, parameters: described } = describeModule(make);
    const { buffers } = device.backend.memory();
    expect(listed(described.groups())).toEqual([
      ["tower.table.weight", [5, 4], true, true, "normal", [["tower.table.weight", [5, 4], 0]]],
      ["tower.layers.3.norm.weight", [4], true, false, "ones", [["tower.layers.3.norm.weight", [4], 0]]],
      [
        ...["tower.layers.3.ab_proj", [3, 4], true, true, "normal"],
        [
          ["tower.layers.3.a_proj.weight", [2, 4], 0],
          ["tower.layers.3.b_proj.weight", [1, 4], 8],
        ],
      ],
      [
        ...["tower.layers.3.ab_bias", [3], true, false, "zeros"],
        [
          ["tower.layers.3.a_proj.bias", [2], 0],
          ["tower.layers.3.b_proj.bias", [1], 2],
        ],
      ],
      [
        "tower.layers.3.last.weight",
        [2, 3],
        true,
        true,
        "normal",
        [["tower.layers.3.last.weight", [2, 3], 0]],
      ],
      ["tower.layers.3.last.bias", [2], true, false, "zeros", [["tower.layers.3.last.bias", [2], 0]]],
      ["tower.turned.weight", [6, 2], true, true, "normal", [["tower.turned.weight", [6, 2], 0]]],
    ]);
    const inner = [...module.inner.named()].map(({ name }) => name);
    expect(inner).toEqual([...described.named()].map(({ name }) => name).slice(1, -1));
    expect(described.count).toBe(20 + 4 + 12 + 3 + 6 + 2 + 12);

    const tower = allocateModule(device, "f32", make);
    const view = make(ParameterScope.view(tower.parameters));
    expect(listed(tower.parameters.groups())).toEqual(listed(described.groups()));
    expect(listed(view.parameters.groups())).toEqual(listed(described.groups()));
    for (const { key, tensor } of view.parameters.groups()) {
      expect(tensor).toBe(tower.parameters.group(key).tensor);
    }
    view.parameters[Symbol.dispose]();
    expect(device.backend.memory().buffers).toBe(buffers + 7);
    tower.parameters[Symbol.dispose]();
    expect(device.backend.memory().buffers).toBe(buffers);
  });

  it("gives a second module the values of the first", async () => {
    const tower = allocateModule(device, "f32", make);
    using parameters = tower.parameters;
    parameters.initialize(new Random(2), 1);
    parameters.get("tower.layers.3.b_proj.bias").set([7]);
    const view = make(ParameterScope.view(parameters));
    const [first, second] = await Promise.all(
      [tower, view].map((each) => {
        using ids = device.tensor(new Int32Array([4, 1]), [2], "i32");
        return device.inference(() => each.forward(ids)).data();
      }),
    );
    expect(second).toEqual(first);
    parameters.get("tower.layers.3.b_proj.bias").set([0]);
    using ids = device.tensor(new Int32Array([4, 1]), [2], "i32");
    expect(await device.inference(() => view.forward(ids)).data()).not.toEqual(first);
  });

  it("lets nothing be computed that is only described", () => {
    const { module, parameters } = describeModule(make);
    using ids = device.tensor(new Int32Array([4, 1]), [2], "i32");
    expect(() => module.forward(ids)).toThrow(/described.*tower\.table\.weight/);
    expect(() => parameters.get("tower.table.weight")).toThrow(ConfigError);
    expect(() => parameters.device).toThrow(ConfigError);
    expect(() => ParameterScope.describe().device).toThrow(ConfigError);
  });

  it("refuses a name that another layer has, before any memory is taken", () => {
    const { buffers } = device.backend.memory();
    const refused = (twice: (scope: ParameterScope) => void, name: string) => {
      expect(() => allocateModule(device, "f32", twice)).toThrow(`duplicate parameter name; name: ${name}`);
      expect(device.backend.memory().buffers).toBe(buffers);
    };
    refused((scope) => [make(scope), make(scope)], "tower.table.weight");
    // An official name inside a group counts too, and so does a group's key.
    const bare = (scope: ParameterScope) => scope.matrix("tower.layers.3.b_proj.weight", 1, 1);
    refused((scope) => [make(scope), bare(scope)], "tower.layers.3.b_proj.weight");
    const parts = [{ name: "other", rows: 1 }];
    refused(
      (scope) => [make(scope), scope.fused("tower.layers.3.ab_proj", 1, parts)],
      "tower.layers.3.ab_proj",
    );
  });

  it("refuses to view parameters that lack a tensor or have it in another shape", () => {
    const tower = allocateModule(device, "f32", make);
    using parameters = tower.parameters;
    const scope = () => ParameterScope.view(parameters);
    expect(() => new Tower(scope().child("other"))).toThrow(/no such parameter group.*other\.table\.weight/);
    expect(() => new Tower(scope().child("tower"), 6)).toThrow(/wrong shape.*tower\.table\.weight/);
  });

  it("frees what was allocated when a later layer fails", () => {
    const { buffers } = device.backend.memory();
    let calls = 0;
    const failing = (scope: ParameterScope) => {
      make(scope);
      if (++calls === 2) throw new Error("later layer");
    };
    expect(() => allocateModule(device, "f32", failing)).toThrow("later layer");
    expect(device.backend.memory().buffers).toBe(buffers);
  });

  it("stores pieces of a layout where the storage quantizes one of the groups that are alike", async () => {
    const rule = ({ key }: GroupSpec) => (key.endsWith("halves.1") ? "q8" : "f32");
    const plain = allocateModule(device, "f32", make);
    const pieces = allocateModule(device, rule, make);
    using _first = plain.parameters;
    using parameters = pieces.parameters;
    expect([plain.halves, pieces.halves]).toEqual([1, 2]);
    const formats = ["tower.halves.0", "tower.halves.1"].map((key) => {
      const { weight } = parameters.group(key);
      return "format" in weight ? weight.format : weight.dtype;
    });
    expect(formats).toEqual(["q8", "q8"]);
    expect(make(ParameterScope.view(parameters)).halves).toBe(2);
  });
});
