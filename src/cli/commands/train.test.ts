import { describe, expect, it } from "vitest";
import { nextSteps } from "./train.ts";

describe("examples of what to ask a trained run", () => {
  it("are quoted for a shell, and left out where there are none", () => {
    const done = { modelFolder: "r/model", evaluation: null };
    const steps = nextSteps("my runs/r", done, { prompt: "it's", fill: { prefix: "a", suffix: '"b"' } });
    expect(steps).toContain(`complete 'my runs/r' 'it'\\''s' --temperature`);
    expect(steps).toContain(`fill 'my runs/r' --prefix a --suffix '"b"' --whole`);
    expect(nextSteps("r", done, { prompt: null, fill: null })).not.toContain("fill");
  });
});
