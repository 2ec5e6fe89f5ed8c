import { describe, expect, it } from "vitest";
import { loraSettings } from "./lora-option.ts";

describe("--lora", () => {
  it("reads settings, lists among them, and fills in the rest", () => {
    expect(loraSettings("rank=8")).toEqual({
      ...{ rank: 8, alpha: 16, targets: ["all-linear"], base: "q8", recompute: true },
    });
    const all =
      "rank=4, alpha=20,targets=q_proj, v_proj,layers.3.mlp.down_proj,base=q4,rslora=true,recompute=false";
    expect(loraSettings(all)).toEqual({
      ...{ rank: 4, alpha: 20, targets: ["q_proj", "v_proj", "layers.3.mlp.down_proj"] },
      ...{ rankStabilized: true, base: "q4", recompute: false },
    });
  });

  it.each([
    ["", /NAME=VALUE/],
    ["16", /NAME=VALUE/],
    ["rank=16,32", /NAME=VALUE in place of "32"/],
    ["rank=0", /rank/],
    ["rank=1.5", /rank/],
    ["rank=99999", /4096/],
    ["alpha=-1", /alpha/],
    ["alpha=x", /alpha/],
    ["targets=", /targets has no value/],
    ["targets=q_proj,,v_proj", /NAME=VALUE/],
    ["rank=4,rank=8", /rank is given twice/],
    ["rnak=4", /Did you mean rank/],
    ["dropout=0.05", /dropout: adapters are trained without dropout/],
    ["rank=4,dora=true", /DoRA/],
    ["modules_to_save=lm_head", /modules_to_save/],
    ["bias=all", /biases stay/],
    ["base=q5", /base must be f32, bf16, f16, q8, q4/],
    ["recompute=yes", /true or false/],
  ])("refuses %j by name", (text, message) => {
    expect(() => loraSettings(text)).toThrow(message);
  });
});
