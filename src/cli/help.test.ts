import { afterEach, describe, expect, it, vi } from "vitest";
import { helpWidth, laidOut } from "./help.ts";

afterEach(() => vi.unstubAllEnvs());

const lines = (text: string, width: number) => laidOut(text, width).split("\n");

describe("laidOut", () => {
  const paragraph =
    "One sentence that is broken\nby hand in the source. And another one that follows it there.";

  it.each([40, 60, 80])("fills lines of %i, wherever the source broke them", (width) => {
    const found = lines(paragraph, width);
    expect(found.join(" ")).toBe(paragraph.replace("\n", " "));
    for (const [i, line] of found.entries()) {
      expect(line.length).toBeLessThanOrEqual(width);
      const next = found[i + 1]?.split(" ")[0];
      if (next !== undefined) expect(line.length + 1 + next.length).toBeGreaterThan(width);
    }
  });

  it("keeps headings, blank lines and rows apart", () => {
    expect(lines("\nExamples:\n  a b\n  c d\n\nAn end\nof two lines.", 80)).toEqual([
      ...["", "Examples:", "  a b", "  c d", "", "An end of two lines."],
    ]);
  });

  it("puts what a command does beside it where that fits, else below it", () => {
    const text = "  run --fast   does it quickly\n  run   does it";
    expect(lines(text, 60)).toEqual(["  run --fast   does it quickly", "  run          does it"]);
    const long = `  run ${"x".repeat(40)}   does it quickly and well\n  run   does it`;
    expect(lines(long, 60)).toEqual([
      ...[`  run ${"x".repeat(40)}`, "      does it quickly and well", "  run", "      does it"],
    ]);
    expect(lines("  run   does it quickly and well, and with much care for all", 50)).toEqual([
      ...["  run   does it quickly and well, and with much", "        care for all"],
    ]);
  });

  it("cuts a command between words as a shell reads it, not within quotes nor from an option's value", () => {
    const command = 'deepseek-ts chat ./model --system "Answer in one sentence." --top-p 0.95 | less';
    const found = lines(`  ${command}`, 44);
    expect(found).toEqual([
      "  deepseek-ts chat ./model \\",
      '      --system "Answer in one sentence." \\',
      "      --top-p 0.95 | less",
    ]);
    expect(found.map((line) => line.replace(/ \\$/, "").trim()).join(" ")).toBe(command);
  });
});

describe("helpWidth", () => {
  it.each([
    [{ columns: 72 }, "100", 72],
    [{}, "100", 100],
    [{}, "x", 80],
    [{}, undefined, 80],
    [{ columns: 400 }, undefined, 110],
    [{ columns: 5 }, undefined, 40],
  ])("%j with COLUMNS=%s is %i", (stream, columns, width) => {
    vi.stubEnv("COLUMNS", columns);
    expect(helpWidth(stream)).toBe(width);
  });
});
