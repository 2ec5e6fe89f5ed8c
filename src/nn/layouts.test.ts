/** The two layouts of a tensor as sources give them: both directions, whatever chunks come, and what goes wrong. */
import { describe, expect, it } from "vitest";
import { FormatError, ShapeError } from "../tensor/errors.ts";
import { Random } from "../tensor/random.ts";
import type { Shape } from "../tensor/tensor.ts";
import type { MlaConfig } from "./attention/mla/config.ts";
import { latentLayout } from "./attention/mla/layout.ts";
import { withOfficial, withPieces } from "./layouts.ts";
import type { GroupSpec } from "./parameter-group.ts";
import { describeModule } from "./scope.ts";
import { plannedGroups } from "./storage.ts";
import { type WeightSource, WithoutTiles } from "./weight-source.ts";

const [H, N, V, C] = [3, 4, 2, 5];
const config: MlaConfig = {
  ...{ kind: "mla", heads: H, queryRank: null, ropeDim: 2 },
  ...{ latentRank: C, nopeDim: N, valueDim: V },
};
const [official, keys, values] = ["kv_b_proj", "k_b_proj", "v_b_proj"].map((name) => `x.${name}.weight`);
const described = describeModule((scope) => scope.child("x").layout(latentLayout(config))).parameters;
const pieces = [...plannedGroups(described.groups(), { format: () => "q8", usesPieces: () => true })];

/** A source that is a class, as files are: what it gives does not survive a copy by spread. */
class Memory implements WeightSource {
  readonly #tensors: Record<string, { shape: Shape; values: Float32Array }>;
  readonly #chunk: number;
  /** Reads that have begun and not ended. */
  open = 0;

  constructor(tensors: Record<string, { shape: Shape; values: Float32Array }>, chunk: number) {
    this.#tensors = tensors;
    this.#chunk = chunk;
  }

  get where(): string {
    return "the file";
  }

  get blocks(): NonNullable<WeightSource["blocks"]> {
    return { blockType: () => "Q8_0", readBlocks: () => expect.fail("not read") };
  }

  names(): string[] {
    return Object.keys(this.#tensors);
  }

  has(name: string): boolean {
    return name in this.#tensors;
  }

  shape(name: string): Shape {
    return this.#tensors[name].shape;
  }

  async *readF32(name: string): AsyncGenerator<{ offset: number; values: Float32Array }> {
    const { values } = this.#tensors[name];
    this.open++;
    try {
      for (let offset = 0; offset < values.length; offset += this.#chunk) {
        yield { offset, values: values.slice(offset, offset + this.#chunk) };
      }
    } finally {
      this.open--;
    }
  }
}

const random = new Random(3);
const whole = Float32Array.from({ length: H * (N + V) * C }, () => random.normal());
/** Element `c` of row `r` of head `h`. */
const at = (h: number, r: number, c: number) => whole[(h * (N + V) + r) * C + c];
const keyHalf = Float32Array.from({ length: H * C * N }, (_, i) =>
  at(Math.floor(i / (C * N)), i % N, Math.floor(i / N) % C),
);
const valueHalf = Float32Array.from({ length: H * V * C }, (_, i) =>
  at(Math.floor(i / (V * C)), N + (Math.floor(i / C) % V), i % C),
);
const other = { shape: [2], values: Float32Array.of(8, 9) };

async function read(source: WeightSource, name: string): Promise<number[]> {
  const all: number[] = [];
  for await (const { offset, values } of source.readF32(name)) {
    expect(offset).toBe(all.length);
    all.push(...values);
  }
  return all;
}

const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => expect.fail("no error"),
    (error: unknown) => error as Error,
  );

describe("the layouts of latent attention's up-projection", () => {
  const officialFile = (chunk: number, length = whole.length, shape: Shape = [H * (N + V), C]) =>
    new Memory({ [official]: { shape, values: whole.subarray(0, length) }, other }, chunk);
  const halvedFile = (chunk: number, length = valueHalf.length) =>
    new Memory(
      {
        [keys]: { shape: [H, C, N], values: keyHalf },
        [values]: { shape: [H, V, C], values: valueHalf.subarray(0, length) },
        other,
      },
      chunk,
    );

  it.each([1, 7, 30, 31, 1000])("give each other's values from chunks of %d", async (chunk) => {
    const split = withPieces(officialFile(chunk), pieces);
    expect([...split.names()]).toEqual([keys, values, "other"]);
    expect([split.shape(keys), split.shape(values)]).toEqual(pieces.map(({ shape }) => shape));
    expect([await read(split, keys), await read(split, values)]).toEqual([[...keyHalf], [...valueHalf]]);
    const joined = withOfficial(halvedFile(chunk), pieces);
    expect([...joined.names()]).toEqual([official, "other"]);
    expect(joined.shape(official)).toEqual([H * (N + V), C]);
    expect(await read(joined, official)).toEqual([...whole]);
    for (const source of [split, joined]) {
      expect([source.has("other"), source.has("none"), source.where]).toEqual([true, false, "the file"]);
      expect(source.blocks?.blockType("other")).toBe("Q8_0");
      expect(await read(new WithoutTiles(source), "other")).toEqual([8, 9]);
    }
  });

  it("leave alone what the file has in the wanted layout, and groups without layouts", async () => {
    const both = withPieces(halvedFile(4), pieces);
    expect(await read(both, keys)).toEqual([...keyHalf]);
    const source = officialFile(4);
    expect(withPieces(source, described.groups())).toBe(source);
    expect(withOfficial(source, described.groups())).toBe(source);
  });

  it("say where a tensor is too short or of another shape", async () => {
    const short = await failure(read(withPieces(officialFile(8, 80), pieces), values));
    expect(short).toBeInstanceOf(FormatError);
    expect(short.message).toMatch(/incompletely.*x\.kv_b_proj\.weight.*90.*80/);
    const half = await failure(read(withOfficial(halvedFile(8, 25), pieces), official));
    expect(half).toBeInstanceOf(FormatError);
    expect(half.message).toMatch(/incompletely.*x\.v_b_proj\.weight.*30.*25/);
    const turned = withPieces(officialFile(8, whole.length, [C, H * (N + V)]), pieces);
    expect(() => turned.shape(keys)).toThrow(ShapeError);
    expect(() => turned.shape(keys)).toThrow(/the file.*x\.kv_b_proj\.weight/);
  });

  it("end the reads below them when theirs are given up", async () => {
    for (const [file, wrap, name] of [
      [officialFile(2), withPieces, keys],
      [halvedFile(2), withOfficial, official],
    ] as const) {
      for await (const _ of wrap(file as Memory, pieces as GroupSpec[]).readF32(name)) break;
      expect(file.open).toBe(0);
      await read(wrap(file, pieces), name);
      expect(file.open).toBe(0);
    }
  });
});
