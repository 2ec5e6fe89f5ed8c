/** Rotary scalings through GGUF and back: Llama 3's as a tensor of factors, YaRN with its own temperature. */

import { describe, expect, it } from "vitest";
import { createModel } from "../../models/causal-lm.ts";
import { parseConfig } from "../../models/config.ts";
import { tinyConfigs } from "../../models/testing.ts";
import { weightsOf } from "../../nn/model-weights.ts";
import { ropeFrequencies, ropeMagnitude } from "../../nn/rotary.ts";
import { createReferenceDevice } from "../../tensor/reference/backend.ts";
import { Scope } from "../../tensor/tensor.ts";
import { bytesSource, memorySink } from "../byte-source.ts";
import { modelFrom } from "../model.ts";
import { ggufConfig } from "./config.ts";
import { exportGguf } from "./export.ts";
import { type GgufFile, openGguf } from "./reader.ts";
import { ropeFactors, ropeScalingOf } from "./rope-factors.ts";
import { f32, type GgufValue, text } from "./types.ts";
import { ggufWeights } from "./weights.ts";
import { type GgufEntry, writeGguf } from "./writer.ts";

const device = createReferenceDevice();
const llama3 = {
  rope_type: "llama3",
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 8192,
};
const base = { ...tinyConfigs.llama, hidden_size: 96, rope_theta: 500000 };

async function written(write: (sink: ReturnType<typeof memorySink>) => Promise<unknown>): Promise<GgufFile> {
  let bytes = new Uint8Array(0);
  await write(
    memorySink("model.gguf", (whole) => {
      bytes = new Uint8Array(whole);
    }),
  );
  return openGguf(bytesSource(bytes, "model.gguf"));
}

/** A tiny file with other metadata and, if given, a tensor of factors. */
async function fileWith(metadata: Record<string, GgufValue>, factors?: Float32Array): Promise<GgufFile> {
  using model = createModel(base, device, { seed: 2, std: 0.1 });
  const file = await written((sink) =>
    exportGguf(sink, { weights: weightsOf(model), config: model.config }, { type: "F32" }),
  );
  const tensors: GgufEntry[] = [...file.tensors.values()].map((tensor) => ({
    ...tensor,
    data: async function* () {
      yield await file.read(tensor, 0, tensor.bytes);
    },
  }));
  if (factors) {
    const bytes = new Uint8Array(factors.slice().buffer);
    const data = async function* () {
      yield bytes;
    };
    tensors.push({ name: "rope_freqs.weight", shape: [factors.length], type: "F32", data });
  }
  return written((sink) =>
    writeGguf(sink, { metadata: new Map([...file.metadata, ...Object.entries(metadata)]), tensors }),
  );
}

describe("rope_freqs", () => {
  it("comes and goes with Llama 3's scaling, frequencies and logits the same", async () => {
    const json = { ...base, rope_scaling: llama3 };
    using model = createModel(json, device, { seed: 2, std: 0.1 });
    const file = await written((sink) =>
      exportGguf(sink, { weights: weightsOf(model), config: model.config }, { type: "F32" }),
    );
    const factors = ropeFactors(model.config.rope, 16)!;
    expect(file.ropeFactors).toEqual(factors);
    expect([factors[0], factors[7]]).toEqual([1, 8]);
    expect(factors.some((factor) => factor > 1 && factor < 8)).toBe(true);
    expect(ggufConfig(file).rope_scaling).toEqual(llama3);
    using back = await modelFrom(ggufConfig(file), ggufWeights(file), device);
    const ids = [[5, 9, 2, 40, 7, 7, 3]];
    const logits = async (m: typeof model) => {
      using _scope = new Scope(device);
      return [...(await m.logits(m.hidden(m.ids(ids))).data())];
    };
    expect(await logits(back)).toEqual(await logits(model));
    using plain = createModel(base, device, { seed: 2, std: 0.1 });
    expect(await logits(plain)).not.toEqual(await logits(model));
  });

  it("finds the parameters of R1-Distill-Llama and of Llama 3.2, and keeps other numbers as they are", () => {
    for (const factor of [8, 32]) {
      const { rope } = parseConfig({
        ...{ ...base, hidden_size: 4096, num_attention_heads: 32, num_key_value_heads: 8 },
        rope_scaling: { ...llama3, factor },
      });
      const found = ropeScalingOf(ropeFactors(rope, 128)!, 500000, 131072);
      expect(found).toEqual({ ...llama3, factor });
    }
    const odd = Float32Array.of(1, 1, 3, 2);
    expect(ropeScalingOf(odd, 10000, 512)).toMatchObject({
      rope_type: "longrope",
      short_factor: [1, 1, 3, 2],
      long_factor: [1, 1, 3, 2],
    });
    expect(ropeScalingOf(Float32Array.of(1, 1, 1), 10000, 512)).toBeNull();
  });

  it("divides the frequencies by numbers of no known scaling, out and in again", async () => {
    const factors = Float32Array.of(1, 1.5, 2, 3, 3, 9, 1, 2);
    const file = await fileWith({}, factors);
    const config = parseConfig(ggufConfig(file));
    expect(config.rope).toMatchObject({ kind: "factors", factors: [...factors] });
    const plain = ropeFrequencies({ kind: "default", theta: 500000 }, 16);
    expect([...ropeFrequencies(config.rope, 16)]).toEqual([...plain].map((f, i) => f / factors[i]));
    const again = await written((sink) =>
      exportGguf(sink, { weights: ggufWeights(file), config }, { type: "F32" }),
    );
    expect(again.ropeFactors).toEqual(factors);
    const ones = await fileWith({}, new Float32Array(8).fill(1));
    expect(ggufConfig(ones).rope_scaling).toBeNull();
    expect([...ggufWeights(ones).names()]).not.toContain("rope_freqs.weight");
  });

  it("is refused where it can be no factors, or stands beside another scaling", async () => {
    await expect(fileWith({}, Float32Array.of(1, 0))).rejects.toThrow(/rope_freqs.weight.*above 0; found: 0/);
    await expect(fileWith({}, Float32Array.of(1, Number.NaN))).rejects.toThrow(/found: NaN/);
    const short = await fileWith({}, Float32Array.of(1, 3, 5, 9));
    expect(() => ggufConfig(short)).toThrow(/short_factor.*8 numbers/);
    const both = await fileWith(
      { "llama.rope.scaling.type": text("linear"), "llama.rope.scaling.factor": f32(4) },
      Float32Array.of(1, 1, 1, 1, 1, 1, 1, 2),
    );
    expect(() => ggufConfig(both)).toThrow(/rope.scaling.type.*none, beside rope_freqs.weight.*linear/);
  });
});

describe("YaRN of plain attention", () => {
  const yarn = { type: "yarn", factor: 4, original_max_position_embeddings: 64 };

  it.each([
    [{}, 1],
    [{ attention_factor: 1.25 }, 1.25 / (0.1 * Math.log(4) + 1)],
    [{ mscale: 1, mscale_all_dim: 0.5 }, (1 / (0.05 * Math.log(4) + 1)) as number],
  ])("keeps its factor on cosines and sines: %j", async (more, inFile) => {
    const json = { ...base, rope_scaling: { ...yarn, ...more } };
    using model = createModel(json, device, { seed: 2 });
    const file = await written((sink) =>
      exportGguf(sink, { weights: weightsOf(model), config: model.config }, { type: "F32" }),
    );
    const entry = file.metadata.get("llama.rope.scaling.attn_factor");
    expect(entry).toEqual(inFile === 1 ? undefined : f32(inFile));
    const back = parseConfig(ggufConfig(file)).rope;
    const [found, wanted] = [back, model.config.rope].map(ropeMagnitude);
    expect(Math.abs(found / wanted - 1)).toBeLessThan(2 ** -23);
  });

  it("has no form without whole ends of the ramp", async () => {
    const json = { ...base, rope_scaling: { ...yarn, truncate: false } };
    using model = createModel(json, device, { seed: 2 });
    const write = written((sink) =>
      exportGguf(sink, { weights: weightsOf(model), config: model.config }, { type: "F32" }),
    );
    await expect(write).rejects.toThrow(/rope_scaling.truncate/);
  });
});
