import { describe, expect, it } from "vitest";
import { filesToFetch } from "./hub-files.ts";

const INDEX = "model.safetensors.index.json";
const listing = (index: number) =>
  [
    { path: "config.json", size: 20 },
    { path: INDEX, size: index },
    { path: "model-00001-of-00002.safetensors", size: 5 },
    { path: "model-00002-of-00002.safetensors", size: 6 },
  ].map((file) => ({ ...file, etag: "e" }));
const text = JSON.stringify({
  weight_map: { a: "model-00002-of-00002.safetensors", b: "model-00001-of-00002.safetensors" },
});

describe("filesToFetch", () => {
  it("reads an index for its shards", async () => {
    const { all } = await filesToFetch("ada/tiny", listing(100), undefined, async () => text);
    expect(all.map(({ path }) => path).toSorted()).toEqual(
      listing(100)
        .map(({ path }) => path)
        .toSorted(),
    );
  });

  it("refuses an index that is too large to be read, before anything is fetched", async () => {
    let asked = 0;
    const fetched = filesToFetch("ada/tiny", listing(100_000_001), undefined, async () => {
      asked++;
      return text;
    });
    await expect(fetched).rejects.toThrow(/index of the weights is too large.*found: 100000001/s);
    expect(asked).toBe(0);
  });
});
