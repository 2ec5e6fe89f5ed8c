import { describe, expect, it } from "vitest";
import { examplesOf } from "./example-texts.ts";

const python = `import os
def load(path):
    with open(path) as f:
        return json.load(f)
def save(path, value):
    with open(path, "w") as f:
        json.dump(value, f)
# comment
def main():
    value = load(path)
    return value
cut`;
const typescript = `export function a(x: number): number {
  return compute(x, 2);
}
export function b(y: number): number {
  return compute(y, 3);
}
export const c = 1;
`;
const prose = `The river rises in the hills to the north.
It meets the sea at a town whose name means harbour.
The farmers move their cattle a week before, by a rule older than the church.
`;

describe("examples of what was trained", () => {
  it.each([
    ["Python", python, "def"],
    ["TypeScript", typescript, "export function"],
    ["prose", prose, "The"],
    ["one line", "Once upon a time there was a king.\n", "Once upon"],
    ["Chinese", "从前有一座山，山里有一座庙。\n", "从前有一座"],
    ["nothing", "", null],
    ["blank lines", "\n \n\n", null],
  ])("%s begins as its lines do", (_, text, prompt) => {
    expect(examplesOf(text).prompt).toBe(prompt);
  });

  it.each([
    ["Python", python],
    ["TypeScript", typescript],
    ["prose", prose],
  ])("%s is filled in where a word of it stands", (_, text) => {
    const { prefix, suffix } = examplesOf(text).fill!;
    const line = text
      .split("\n")
      .find((l) => l.trim().startsWith(prefix) && l.trim().endsWith(suffix))!
      .trim();
    const word = line.slice(prefix.length, line.length - suffix.length).trim();
    expect(word).toMatch(/^\w{3,}$/);
    expect(text.split(word).length).toBeGreaterThan(2);
  });

  it("hold nothing that a terminal or the command line would take for something else", () => {
    const text =
      "@decorated = decorated(name, name)\n- item\n\u001b[2J escape name here\n--- something\nuser name\n";
    expect(examplesOf(text)).toEqual({ prompt: "user", fill: null });
  });
});
