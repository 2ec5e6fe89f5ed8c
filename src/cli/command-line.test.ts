import { describe, expect, it } from "vitest";
import { commandLine, commands } from "./command-line.ts";

const argv = (...words: string[]) => ["node", "deepseek-ts", ...words];

describe("commandLine", () => {
  it("lists commands as they describe themselves", async () => {
    const bare = await commandLine(argv());
    const whole = await commandLine(argv("completion", "bash"));
    expect(whole.commands).toHaveLength(commands.length);
    for (const { options, description } of whole.commands.map((command) => ({
      options: command.options.map(({ long }) => long),
      description: command.description(),
    }))) {
      expect(options).not.toContain("--options");
      expect(description).not.toBe("");
    }
    expect(bare.helpInformation()).toBe(whole.helpInformation());
  });

  it.each([
    [["prove", "a.lean"], "prove"],
    [["help", "quantize"], "quantize"],
    [["--", "inspect", "x"], "inspect"],
  ])("loads the command of %j alone", async (words, name) => {
    const { commands } = await commandLine(argv(...words));
    const loaded = commands.filter((command) => command.description() !== "");
    expect(loaded.map((command) => command.name())).toEqual([name]);
  });
});
