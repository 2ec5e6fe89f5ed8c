import { describe, expect, test } from "vitest";
import {
  formatBytes,
  formatBytesOf,
  formatClock,
  formatCompact,
  formatCount,
  formatDuration,
  formatPercent,
  formatRate,
  plural,
} from "./units.ts";

describe("figures", () => {
  test.each([
    [0, "0 bytes"],
    [1, "1 byte"],
    [2, "2 bytes"],
    [999, "999 bytes"],
    [999.5, "1.00 kB"],
    [1000, "1.00 kB"],
    [12_345, "12.3 kB"],
    [99_949, "99.9 kB"],
    [99_951, "100 kB"],
    [999_499, "999 kB"],
    [999_500, "1.00 MB"],
    [999_950_000, "1.00 GB"],
    [4_294_967_296, "4.29 GB"],
    [671e9, "671 GB"],
    [1.34e12, "1.34 TB"],
    [999.9e12, "1,000 TB"],
    [12_345e12, "12,345 TB"],
  ])("%d bytes", (bytes, text) => expect(formatBytes(bytes)).toBe(text));

  test.each([
    [0, 4_560_000_000, "0.00 of 4.56 GB"],
    [1_200_000_000, 4_560_000_000, "1.20 of 4.56 GB"],
    [45_000_000, 456_000_000, "45 of 456 MB"],
    [4_400, 45_600, "4.4 of 45.6 kB"],
    [12, 950, "12 of 950 bytes"],
    [0, 1, "0 of 1 byte"],
    [999_500, 999_500, "1.00 of 1.00 MB"],
  ])("%d of %d bytes", (done, total, text) => expect(formatBytesOf(done, total)).toBe(text));

  test.each([
    [0, "0"],
    [999, "999"],
    [1000, "1,000"],
    [129_280, "129,280"],
    [1_234_567, "1,234,567"],
    [999.5, "1,000"],
  ])("%d in full", (count, text) => expect(formatCount(count)).toBe(text));

  test.each([
    [0, "0"],
    [950, "950"],
    [999.95, "1.00k"],
    [1000, "1.00k"],
    [12_345, "12.3k"],
    [999_950, "1.00M"],
    [15_706_484_224, "15.7B"],
    [671_026_419_200, "671B"],
    [1.6e12, "1.60T"],
  ])("%d in short", (count, text) => expect(formatCompact(count)).toBe(text));

  test("nouns take a plural, but for one", () => {
    expect(plural(0, "file")).toBe("0 files");
    expect(plural(1, "file")).toBe("1 file");
    expect(plural(1200, "file")).toBe("1,200 files");
  });

  test.each([
    [0, 2, "0"],
    [0.848, 2, "0.424"],
    [39, 2, "19.5"],
    [99.95, 1, "100"],
    [999.4, 1, "999"],
    [999.5, 1, "1,000"],
    [8174, 2, "4,087"],
    [5, 0, "-"],
    [0, 0, "-"],
  ])("%d in %d seconds", (count, seconds, text) => expect(formatRate(count, seconds)).toBe(text));

  test("percent", () => {
    expect(formatPercent(0.1234)).toBe("12.3%");
    expect(formatPercent(0.99951)).toBe("100.0%");
    expect(formatPercent(-0.00012, 2)).toBe("-0.01%");
    expect(formatPercent(0.496, 0)).toBe("50%");
  });
});

describe("times", () => {
  test.each([
    [-3, "0:00"],
    [7, "0:07"],
    [59.4, "0:59"],
    [59.5, "1:00"],
    [65, "1:05"],
    [3599.6, "1:00:00"],
    [7400, "2:03:20"],
  ])("a clock at %d seconds", (seconds, text) => expect(formatClock(seconds)).toBe(text));

  test.each([
    [0.04, "0.0 s"],
    [0.42, "0.4 s"],
    [12.345, "12.3 s"],
    [59.94, "59.9 s"],
    [59.96, "1:00"],
    [65.2, "1:05"],
    [-1, "0.0 s"],
  ])("%d seconds", (seconds, text) => expect(formatDuration(seconds)).toBe(text));
});
