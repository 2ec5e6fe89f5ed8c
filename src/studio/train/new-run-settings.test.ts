import { describe, expect, it } from "vitest";
import type { TrainPresets } from "../backend/wire.ts";
import { lineOfSetting, parseSettings } from "./json-lines.ts";
import {
  bodyOf,
  configOf,
  freeName,
  presetOf,
  type RunForm,
  settingsText,
  stepsWithin,
} from "./new-run-settings.ts";

const presets = {
  presets: [],
  ...{ speed: { run: null, measured: null }, extensions: ["all", "text"] },
  builtIn: { extensions: "typescript", maxBytes: 5 },
  pictures: [
    {
      ...{ model: "work/vl2", draws: false },
      config: { kind: "stages", seed: 1, stages: [{ name: "world", seconds: 300, mixture: [] }] },
    },
  ],
} as unknown as TrainPresets;
const form: RunForm = {
  base: { preset: "v3-small" },
  ...{ source: "typescript", place: null, extensions: "text", length: null },
  ...{ root: "runs", name: " first ", json: null },
};

describe("the form of a new training", () => {
  it("makes what `train --config` reads, and names its data beside it", () => {
    expect(bodyOf(form, presets)).toEqual({
      ...{ out: { root: "runs", path: "first" }, data: "typescript" },
      config: { preset: "v3-small", data: presets.builtIn },
    });
    const place = { root: "runs", path: "notes" };
    const own: RunForm = { ...form, source: "own", place, length: { amount: 2.5, unit: "minutes" } };
    expect(bodyOf(own, presets)).toMatchObject({
      data: place,
      config: {
        data: { extensions: "text", includeNodeModules: false },
        training: { seconds: 150, steps: null },
      },
    });
    expect(configOf({ ...own, length: { amount: 7, unit: "steps" } }, presets).training).toEqual({
      ...{ steps: 7, seconds: null },
    });
    expect(bodyOf({ ...own, place: null }, presets)).toBeNull();
    expect(bodyOf({ ...form, name: " " }, presets)).toBeNull();
  });

  it("goes on with a model that sees, each stage as long as was asked", () => {
    const body = bodyOf(
      { ...form, base: { pictures: "work/vl2" }, length: { amount: 9, unit: "steps" } },
      presets,
    );
    expect(body).toMatchObject({
      data: null,
      config: { kind: "stages", stages: [{ steps: 9, seconds: null }] },
    });
  });

  it("takes settings that were written by hand as they are, and none that are no JSON", () => {
    const json = '{"preset": "demo"}';
    expect(settingsText({ ...form, json }, presets)).toBe(json);
    expect(bodyOf({ ...form, json }, presets)?.config).toEqual({ preset: "demo" });
    expect(bodyOf({ ...form, json: "{" }, presets)).toBeNull();
    expect(bodyOf({ ...form, json: "[]" }, presets)).toBeNull();
    const named = { presets: [{ name: "demo" }, { name: "v3-small" }] } as unknown as TrainPresets;
    expect(presetOf(form, named)?.name).toBe("v3-small");
    expect(presetOf({ ...form, json }, named)?.name).toBe("demo");
    expect(presetOf({ ...form, json: "{" }, named)?.name).toBe("v3-small");
    expect(presetOf({ ...form, json: '{"kind": "stages"}' }, named)).toBeNull();
  });

  it("proposes a name that is free, and says how many steps fit into a time", () => {
    expect(freeName("demo", new Set(["demo-1", "demo-3"]))).toBe("demo-2");
    const preset = {
      config: { training: { batch: { size: 4 }, sequenceLength: 256 } },
      tokensPerSecond: 2048,
    };
    expect(stepsWithin(60, preset)).toBe(120);
  });
});

describe("lines of JSON", () => {
  const text = JSON.stringify(
    {
      preset: "a",
      training: { "steps]": 1, steps: "{", batch: { size: 0 } },
      stages: [{ x: [1, 2] }, { world: "w" }],
    },
    null,
    2,
  );
  const line = (needle: string) => text.split("\n").findIndex((each) => each.includes(needle)) + 1;

  it.each([
    ["training.steps", '"steps"'],
    ["training.batch.size", '"size"'],
    ["training.batch.sighs", '"batch"'],
    ["preset", '"preset"'],
    ["stages[1].world", '"world"'],
    ["stages[1]", '"world"'],
    ["stages[0].x[1]", " 2"],
  ])("finds where %s stands", (setting, needle) => {
    const expected = setting === "stages[1]" ? line(needle) - 1 : line(needle);
    expect(lineOfSetting(text, setting)).toBe(expected);
  });

  it("finds nothing of what is not there, also in texts that are no JSON", () => {
    expect(lineOfSetting(text, "data.filters")).toBeNull();
    expect(lineOfSetting("]]{{,:", "a")).toBeNull();
    expect(lineOfSetting("", "a")).toBeNull();
  });

  it.each([
    ['{\n  "a": 1,\n  b\n}', 3],
    ['{\n  "a": 1', 2],
    ["[1]", 1],
  ])("tells the line at which a text is no JSON object: %s", (wrong, at) => {
    const parsed = parseSettings(wrong);
    expect("fault" in parsed && parsed.fault.line).toBe(at);
  });
});
