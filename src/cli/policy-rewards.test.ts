import { describe, expect, it } from "vitest";
import { rewardSettings, runsPrograms } from "./policy-rewards.ts";

describe("rewards of a command line", () => {
  it.each([
    ["answer,format=0.1", false],
    ["answer,code=0.5", true],
    ["answer,./reward.ts", true],
    ["lean", false],
  ])("%s: a thread or a process for each group: %j", (reward, programs) => {
    expect(runsPrograms(rewardSettings({ reward }))).toBe(programs);
  });

  it("takes a command beside names", () => {
    const settings = rewardSettings({ reward: "code=2", rewardCommand: "judge", codeScoring: "all" });
    expect(settings).toEqual({
      parts: [
        { name: "code", weight: 2 },
        { command: "judge", weight: 1 },
      ],
      codeScoring: "all",
    });
    expect(runsPrograms(rewardSettings({ rewardCommand: "judge" }))).toBe(true);
  });
});
