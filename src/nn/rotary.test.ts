import { describe, expect, it } from "vitest";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import {
  mlaSoftmaxScale,
  Rotary,
  ropeFrequencies,
  ropeMagnitude,
  type YarnConfig,
  yarnMscale,
  yarnRange,
} from "./rotary.ts";

const yarn = (mscale: number, mscaleAllDim = mscale): YarnConfig => ({
  kind: "yarn",
  theta: 10000,
  factor: 40,
  originalMaxPositions: 4096,
  betaFast: 32,
  betaSlow: 1,
  mscale,
  mscaleAllDim,
  attentionFactor: null,
  truncate: true,
});

describe("ropeFrequencies", () => {
  it("is theta^(-2i/d) without scaling, divided by the factor with linear scaling", () => {
    const plain = ropeFrequencies({ kind: "default", theta: 10000 }, 128);
    const linear = ropeFrequencies({ kind: "linear", theta: 10000, factor: 4 }, 128);
    expect(plain.length).toBe(64);
    expect(plain[0]).toBe(1);
    expect(plain[32]).toBeCloseTo(0.01, 12);
    linear.forEach((f, i) => {
      expect(f).toBeCloseTo(plain[i] / 4, 15);
    });
  });

  it("has YaRN's published values for V2 and V3", () => {
    expect(yarnRange(yarn(1), 64)).toEqual({ low: 10, high: 23 });
    const found = ropeFrequencies(yarn(1), 64);
    const expected: [number, number][] = [
      [0, 1],
      [1, 0.7498942093],
      [10, 0.05623413252],
      [11, 0.03900692657],
      [16, 0.0055],
      [20, 7.90569415e-4],
      [23, 3.33380358e-5],
      [31, 3.333803581e-6],
    ];
    for (const [i, value] of expected) {
      expect(Math.abs(found[i] - value)).toBeLessThan(1e-9 * Math.max(value, 0.1));
    }
  });

  it("is Llama 3.1's piecewise scaling", () => {
    const rope = {
      kind: "llama3",
      ...{
        theta: 500000,
        factor: 8,
        lowFrequencyFactor: 1,
        highFrequencyFactor: 4,
        originalMaxPositions: 8192,
      },
    } as const;
    const found = ropeFrequencies(rope, 128);
    // Of R1-Distill-Llama, computed apart in Python's doubles from the published formula.
    const expected: [number, number][] = [
      [0, 1],
      [10, 0.12868737343265052],
      [28, 0.0032114459947525913],
      [29, 0.002166570763503359],
      [30, 0.0013718935677611381],
      [33, 0.00031269375038406517],
      [35, 9.556212353964683e-5],
      [63, 3.068925988914511e-7],
    ];
    for (const [i, value] of expected) expect(Math.abs(found[i] / value - 1)).toBeLessThan(1e-12);
  });

  it("ramps between fractions of pairs where YaRN does not truncate", () => {
    const { low, high } = yarnRange({ ...yarn(1), truncate: false }, 64);
    expect(low).toBeCloseTo(10.472240810318025, 10);
    expect(high).toBeCloseTo(22.513440636877274, 10);
  });

  it("does not divide by zero where both ends of the ramp meet", () => {
    const narrow = { ...yarn(1), betaFast: 1, betaSlow: 1, originalMaxPositions: 1 };
    expect(ropeFrequencies(narrow, 8).every(Number.isFinite)).toBe(true);
  });
});

describe("temperatures", () => {
  it("gives the published softmax scales of 192-wide heads", () => {
    const plain = { kind: "default", theta: 10000 } as const;
    expect(mlaSoftmaxScale(plain, 192)).toBeCloseTo(0.0721687836, 9);
    // biome-ignore lint/suspicious/noApproximativeNumericConstant: V2's files say 0.707.
    expect(mlaSoftmaxScale(yarn(0.707), 192)).toBeCloseTo(0.1147213868, 9);
    expect(mlaSoftmaxScale(yarn(1), 192)).toBeCloseTo(0.1352337789, 9);
    expect(mlaSoftmaxScale(yarn(1, 0), 192)).toBeCloseTo(0.0721687836, 9);
    expect(yarnMscale(40, 1)).toBeCloseTo(1.3688879454, 9);
    expect(yarnMscale(1, 1)).toBe(1);
  });

  it("puts the ratio of the two on cosines and sines", () => {
    expect(ropeMagnitude(yarn(1))).toBe(1);
    expect(ropeMagnitude({ ...yarn(1), attentionFactor: 1.5 })).toBe(1.5);
    expect(ropeMagnitude(yarn(1, 0.5))).toBeCloseTo(yarnMscale(40, 1) / yarnMscale(40, 0.5), 15);
  });
});

describe("Rotary", () => {
  it("extends its tables, keeps the earlier ones and frees all", () => {
    const device = createReferenceDevice();
    const rotary = new Rotary(device, { kind: "default", theta: 10000 }, 8);
    const short = rotary.tables(100);
    expect(rotary.tables(128)).toBe(short);
    const long = rotary.tables(1000);
    expect(long.positions).toBe(1024);
    expect(short.cos.disposed).toBe(false);
    rotary[Symbol.dispose]();
    expect(device.backend.memory().buffers).toBe(0);
  });
});
