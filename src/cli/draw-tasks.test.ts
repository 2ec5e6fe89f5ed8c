import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { plannedPictures, promptName, readTasks } from "./draw-tasks.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "draw-tasks-"));
});
afterAll(() => rm(folder, { recursive: true }));

const defaults = { seed: 0, count: 1, guidance: 4 };

async function read(...lines: readonly (string | object)[]) {
  const path = join(folder, "prompts.jsonl");
  await writeFile(
    path,
    lines.map((line) => (typeof line === "string" ? line : JSON.stringify(line))).join("\n"),
  );
  return await readTasks(path, defaults);
}

describe("readTasks", () => {
  it("takes from the command line what a line leaves out", async () => {
    const full = {
      prompt: "b",
      seed: 9,
      count: 3,
      guidance: 1,
      steps: 7,
      solver: "midpoint",
      temperature: 0.5,
    };
    expect(await read(`\ufeff${JSON.stringify({ prompt: "a" })}`, "", full, "  \r", "")).toEqual([
      { prompt: "a", ...defaults, line: 1 },
      { ...full, line: 3 },
    ]);
  });

  const wrong: [string | object, RegExp][] = [
    ["{prompt: 1}", /prompts\.jsonl: line 2: not valid JSON/],
    ["[1]", /line 2: not a JSON object/],
    ["null", /line 2: not a JSON object/],
    [{ seed: 1 }, /line 2: the field `prompt` is missing/],
    [{ prompt: "a", cfg: 2 }, /line 2: unknown field; name: cfg; expected: prompt, seed, count/],
    [{ prompt: "a", line: 2 }, /unknown field; name: line/],
    [{ prompt: "a", constructor: 2 }, /unknown field; name: constructor/],
    ['{"prompt": "a", "__proto__": {"seed": 1}}', /unknown field; name: __proto__/],
    [{ prompt: " " }, /name: prompt; expected: a text that is not empty; found: " "/],
    [{ prompt: 3 }, /name: prompt/],
    [{ prompt: "a", seed: -1 }, /name: seed; expected: a whole number, 0 or more; found: -1/],
    [{ prompt: "a", seed: "1" }, /name: seed/],
    [{ prompt: "a", count: 65 }, /name: count; expected: a whole number, 1 to 64; found: 65/],
    [{ prompt: "a", count: 1.5 }, /name: count/],
    [{ prompt: "a", guidance: null }, /name: guidance/],
    ['{"prompt": "a", "guidance": 1e999}', /name: guidance/],
    [{ prompt: "a", temperature: -1 }, /name: temperature/],
    [{ prompt: "a", topP: 0 }, /name: topP/],
    [{ prompt: "a", steps: 0 }, /name: steps/],
    [{ prompt: "a", solver: "toString" }, /name: solver; expected: euler or midpoint/],
  ];
  it.each(wrong)("refuses %j", async (line, message) => {
    await expect(read({ prompt: "good" }, line)).rejects.toThrow(message);
  });

  it("refuses files without prompts, and with too many pictures", async () => {
    await expect(read("", "\n")).rejects.toThrow(/holds no prompts/);
    const many = Array.from({ length: 1563 }, () => ({ prompt: "a", count: 64 }));
    await expect(read(...many)).rejects.toThrow(/line 1563: the file asks for too many pictures/);
  });
});

describe("promptName", () => {
  it.each([
    ["A red cube, on a blue sphere!", "a-red-cube-on-a-blue-sphere"],
    ["../../etc/passwd\0\n", "etc-passwd"],
    ["赤い立方体 🟥", "赤い立方体"],
    ["?!", "drawing"],
    ["x".repeat(200), "x".repeat(48)],
    [`${"word ".repeat(30)}`, "word-word-word-word-word-word-word-word-word"],
    ["CON", "con"],
  ])("of %j is %s", (prompt, name) => expect(promptName(prompt)).toBe(name));
});

describe("plannedPictures", () => {
  it("gives every picture a place of its own that does not change", () => {
    const tasks = [
      { prompt: "a b", seed: 3, count: 2, line: 1 },
      { prompt: "a b", seed: 3, count: 1, line: 12 },
    ];
    expect(plannedPictures("out", tasks).map(({ path, image }) => [path, image])).toEqual([
      [join("out", "001-a-b-seed3-1.png"), 0],
      [join("out", "001-a-b-seed3-2.png"), 1],
      [join("out", "012-a-b-seed3-1.png"), 0],
    ]);
    const [alone] = plannedPictures(".", [{ prompt: "a b", seed: 3, count: 1, line: null }]);
    expect(alone.path).toBe("a-b-seed3-1.png");
  });
});
