import { inflateSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { ConfigError } from "../../tensor/errors.ts";
import { decodeImage } from "./decode.ts";
import { filledImage } from "./image.ts";
import { pngChunks } from "./png-file.ts";
import { pngTexts } from "./png-text.ts";
import { encodePng } from "./png-writer.ts";

const image = filledImage(5, 3, [10, 200, 30]);
const texts = {
  prompt: "ein roter Würfel,\nzweite Zeile",
  model: "org/name",
  wish: "赤い立方体 🟥 und mehr",
  empty: "",
};

const typesOf = (bytes: Uint8Array) => [...pngChunks(bytes, "a.png")].map(({ type }) => type);

describe("texts of PNG files", () => {
  it("come back as they were, in Latin letters or others, before the pixels", async () => {
    const bytes = await encodePng(image, { software: "test", texts });
    expect(typesOf(bytes)).toEqual(["IHDR", "tEXt", "tEXt", "tEXt", "iTXt", "tEXt", "IDAT", "IEND"]);
    expect([...pngTexts(bytes)]).toEqual(Object.entries({ Software: "test", ...texts }));
    expect((await decodeImage(bytes, { name: "a.png" })).rgb).toEqual(image.rgb);
  });

  it("stand in the bytes that other readers expect", async () => {
    const bytes = await encodePng(image, { texts: { Title: "é", wish: "四" } });
    const [latin, other] = [...pngChunks(bytes, "a.png")]
      .filter(({ type }) => type.endsWith("t") || type.endsWith("Xt"))
      .map(({ at, length }) => Buffer.from(bytes.subarray(at, at + length)).toString("hex"));
    expect(latin).toBe(Buffer.from("Title\0\xe9", "latin1").toString("hex"));
    expect(other).toBe(Buffer.from("wish\0\0\0\0\0四", "utf8").toString("hex"));
  });

  it("are read from the beginning of a file as far as it goes", async () => {
    const bytes = await encodePng(image, { software: "test", texts });
    const [, first, second] = [...pngChunks(bytes, "a.png")];
    expect([...pngTexts(bytes.subarray(0, second.at - 8)).keys()]).toEqual(["Software"]);
    expect([...pngTexts(bytes.subarray(0, first.at + 2)).keys()]).toEqual([]);
    for (let length = 0; length < bytes.length; length++) pngTexts(bytes.subarray(0, length));
    expect(pngTexts(new TextEncoder().encode("GIF89a, and more bytes than a signature")).size).toBe(0);
  });

  it("are left out where they are damaged or compressed", async () => {
    const bytes = await encodePng(image, { texts: { wish: "四" } });
    const [, chunk] = [...pngChunks(bytes, "a.png")];
    const compressed = Uint8Array.from(bytes);
    compressed[chunk.at + 5] = 1;
    expect(pngTexts(compressed).size).toBe(0);
    const unended = Uint8Array.from(bytes).fill(65, chunk.at, chunk.at + chunk.length);
    expect(pngTexts(unended).size).toBe(0);
  });

  it.each(["", " a", "a ", "a  b", "x".repeat(80), "四", "a\nb"])(
    "refuse the keyword %j",
    async (keyword) => {
      await expect(encodePng(image, { texts: { [keyword]: "text" } })).rejects.toThrow(ConfigError);
    },
  );

  it("refuse a zero character", async () => {
    await expect(encodePng(image, { texts: { prompt: "a\0b" } })).rejects.toThrow(/no zero character/);
  });

  it("leave the pixels alone", async () => {
    const data = (bytes: Uint8Array) => {
      const { at, length } = [...pngChunks(bytes, "a.png")].find(({ type }) => type === "IDAT")!;
      return inflateSync(bytes.subarray(at, at + length));
    };
    expect(data(await encodePng(image, { texts }))).toEqual(data(await encodePng(image)));
  });
});
