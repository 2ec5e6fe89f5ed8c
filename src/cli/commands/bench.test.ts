/** `bench` on configurations of tiny models that see. */
import { readFile } from "node:fs/promises";
import { afterEach, describe, expect, it, vi } from "vitest";
import { parseVisionConfig } from "../../models/vision-architectures.ts";
import { describeVision, visionWeightBytes } from "../../models/vision-needs.ts";
import { storageRule } from "../../nn/storage.ts";
import { benchCommand } from "./bench.ts";

const fixture = (name: string) =>
  new URL(`../../../test/fixtures/${name}/config.json`, import.meta.url).pathname;

afterEach(() => vi.restoreAllMocks());

async function bench(...args: string[]) {
  const write = vi.spyOn(process.stdout, "write").mockReturnValue(true);
  const log = vi.spyOn(process.stderr, "write").mockReturnValue(true);
  await benchCommand().parseAsync([...args, "--json", "--threads", "1"], { from: "user" });
  const figures = JSON.parse(String(write.mock.calls.at(-1)![0]));
  return { figures, lines: log.mock.calls.map(([line]) => String(line)) };
}

describe("bench", () => {
  it.each([
    ["vl2/mla", "q8", [9, 43, 103], 43],
    ["vl2/mla", "bf16", [9, 43, 103], 43],
    ["vl/hybrid-chat", "q8", [576], 576],
  ] as const)(
    "of %s with vision in %s encodes images, reads one and decodes",
    async (name, vision, tokens, before) => {
      const { figures, lines } = await bench(
        ...["--shape", fixture(name), "--vision", vision],
        ...["--tokens", "3", "--prompt", "9", "--batch", "2"],
      );
      expect(figures.images.map((image: { tokens: number }) => image.tokens)).toEqual(tokens);
      expect(figures.imageTokens).toBe(before);
      const config = parseVisionConfig(JSON.parse(await readFile(fixture(name), "utf8")));
      expect(figures.weightBytes).toBe(visionWeightBytes(describeVision(config), storageRule("q4", vision)));
      for (const key of [
        "loadSeconds",
        "imageToFirstTokenSeconds",
        "decodeTokensPerSecond",
        "batchTokensPerSecond",
      ]) {
        expect(figures[key], key).toBeGreaterThan(0);
      }
      expect(figures.towerSeconds === null).toBe(name !== "vl/hybrid-chat");
      expect(lines.join("")).toMatch(new RegExp(`image +1 view to ${tokens[0]} tokens`));
    },
  );
});
