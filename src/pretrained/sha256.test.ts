import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { Sha256 } from "./sha256.ts";

describe("Sha256", () => {
  const bytes = Uint8Array.from({ length: 4000 }, (_, i) => (i * 37) ^ (i >> 3));

  it("gives what Node gives, for every length around the ends of blocks", () => {
    for (const length of [0, 1, 54, 55, 56, 57, 63, 64, 65, 119, 120, 127, 128, 129, 4000]) {
      const part = bytes.subarray(0, length);
      expect(new Sha256().update(part).digest(), `${length}`).toBe(
        createHash("sha256").update(part).digest("hex"),
      );
    }
  });

  it("does not care how the bytes come", () => {
    for (const size of [1, 7, 63, 64, 65, 1000]) {
      const hash = new Sha256();
      for (let at = 0; at < bytes.length; at += size) hash.update(bytes.subarray(at, at + size));
      expect(hash.digest(), `${size}`).toBe(createHash("sha256").update(bytes).digest("hex"));
    }
  });
});
