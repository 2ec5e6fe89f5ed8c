import { describe, expect, it, vi } from "vitest";

describe("base64Of", () => {
  const bytes = Uint8Array.from({ length: 20_001 }, (_, i) => (i * 89) ^ (i >> 5));

  it("writes what Node reads, also from a part of a buffer", async () => {
    const { base64Of } = await import("./base64.ts");
    for (const part of [bytes, bytes.subarray(3, 10_000), bytes.subarray(7, 7)])
      expect(base64Of(part)).toBe(Buffer.from(part).toString("base64"));
  });

  it("does so where the language has no method of its own", async () => {
    const own = Object.getOwnPropertyDescriptor(Uint8Array.prototype, "toBase64");
    vi.resetModules();
    Reflect.deleteProperty(Uint8Array.prototype, "toBase64");
    try {
      const { base64Of } = await import("./base64.ts");
      expect(base64Of(bytes.subarray(3))).toBe(Buffer.from(bytes.subarray(3)).toString("base64"));
    } finally {
      if (own) Object.defineProperty(Uint8Array.prototype, "toBase64", own);
    }
  });
});
