import { describe, expect, it } from "vitest";
import { MOST_BYTES, MOST_DEPTH, MOST_FILE_BYTES, textBreach } from "./text-limits.ts";

describe("texts that Lean never sees", () => {
  it("are those of more bytes than Lean takes, counted as UTF-8", () => {
    expect(textBreach("a".repeat(MOST_BYTES))).toBeNull();
    expect(textBreach("a".repeat(MOST_BYTES + 1))?.reason).toContain("65537 bytes, at most 65536");
    expect(textBreach("a".repeat(MOST_BYTES + 1), MOST_FILE_BYTES)).toBeNull();
    expect(textBreach("𝔸".repeat(MOST_BYTES / 4))).toBeNull();
    expect(textBreach("𝔸".repeat(MOST_BYTES / 4 + 1))?.reason).toContain("65540 bytes");
  });

  it("are those with more brackets open than its parser's stack holds", () => {
    expect(textBreach("(".repeat(MOST_DEPTH))).toBeNull();
    expect(textBreach("()".repeat(5 * MOST_DEPTH))).toBeNull();
    expect(textBreach(`x ${"([⟨{".repeat(MOST_DEPTH)}`)).toMatchObject({ index: 2 + MOST_DEPTH });
  });

  it("are those that are no text", () => {
    expect(textBreach("a\ud835")).toMatchObject({ index: 1 });
    expect(textBreach("ab\0")).toMatchObject({ index: 2 });
  });
});
