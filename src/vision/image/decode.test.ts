/** Files of every kind against Pillow's pixels, through both decoders; broken and hostile ones refused by name. */
import { deflateSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { Random } from "../../tensor/random.ts";
import { crc32 } from "./crc32.ts";
import { dataUrlBytes } from "./data-url.ts";
import { decodeImage } from "./decode.ts";
import { exifOrientation, type Orientation, uprightImage } from "./exif.ts";
import { decodeGif } from "./gif-file.ts";
import { cropImage, ImageError, type ImageFault } from "./image.ts";
import { checkPngData } from "./png-file.ts";
import { readImageHeader } from "./read-header.ts";
import { fixtureBytes, fixtureJson, fixtureTensors } from "./testing.ts";

interface FileCase {
  readonly file: string;
  readonly format: string;
  readonly expect: "equal" | "refuse";
  readonly width: number;
  readonly height: number;
  readonly expected: string;
  readonly variants?: Record<string, { readonly expected: string }>;
  readonly may_refuse?: string;
  readonly reason?: ImageFault;
}

const { files } = fixtureJson<{ files: readonly FileCase[] }>("files/index.json");
const expected = fixtureTensors("files/expected.safetensors");
const bytesOf = (file: string) => fixtureBytes(`files/${file}`);
const good = files.filter((f) => f.expect === "equal");
const bad = files.filter((f) => f.expect === "refuse");

async function refusal(work: () => unknown): Promise<ImageError> {
  try {
    await work();
  } catch (error) {
    if (error instanceof ImageError) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}

describe.each(["sharp", "wasm"] as const)("decodeImage through %s", (decoder) => {
  const refused = decoder === "sharp" ? ["bmp"] : ["bmp", "jpg-cmyk-444.jpg", "jpg-cmyk-420.jpg"];

  it.each(good.map((f) => [f.file, f] as const))("%s", async (file, { width, height, variants, ...f }) => {
    const decode = (rotate = false) => decodeImage(bytesOf(file), { name: file, decoder, rotate });
    if (refused.includes(file) || refused.includes(f.format)) {
      expect(f.may_refuse).toBeDefined();
      const error = await refusal(decode);
      expect(error.fault).toBe(f.format === "bmp" ? "unknown format" : "unsupported");
      expect(error.message).toContain(`${file}: `);
      return;
    }
    const image = await decode();
    expect([image.width, image.height]).toEqual([width, height]);
    const tensor = expected(variants?.high_byte?.expected ?? f.expected);
    expect(tensor.shape).toEqual([height, width, 3]);
    expect(Buffer.compare(image.rgb, tensor.bytes)).toBe(0);
    const upright = await decode(true);
    const turned = variants?.upright ? expected(variants.upright.expected) : tensor;
    expect([upright.height, upright.width, 3]).toEqual(turned.shape);
    expect(Buffer.compare(upright.rgb, turned.bytes)).toBe(0);
  });

  it.each(bad.map((f) => [f.file, f] as const))("refuses %s", async (file, { reason }) => {
    const error = await refusal(() => decodeImage(bytesOf(file), { name: file, decoder }));
    expect(error.message).toContain(`${file}: `);
    expect(error.fault).toBe(reason);
  });

  it("reads Node's buffers, which share their memory with others", async () => {
    for (const file of ["png-rgb8.png", "jpg-444-odd.jpg", "webp-lossy.webp", "gif-animated.gif"]) {
      const bytes = bytesOf(file);
      const shared = Buffer.concat([Buffer.alloc(5, 7), bytes, Buffer.alloc(9, 7)]).subarray(
        5,
        5 + bytes.length,
      );
      const { rgb } = await decodeImage(shared, { decoder });
      expect(Buffer.compare(rgb, expected(file).bytes)).toBe(0);
      expect(Buffer.compare(shared, bytes)).toBe(0);
    }
  });

  it("goes on after damaged files", async () => {
    for (const file of ["png-rgb8.png", "jpg-444-odd.jpg", "webp-lossy.webp"]) {
      const bytes = bytesOf(file);
      const { rgb } = await decodeImage(bytes, { decoder });
      const random = new Random(7);
      for (let i = 0; i < 30; i++) {
        const damaged = bytes.slice();
        for (let n = 0; n < 4; n++) {
          damaged[60 + random.int(bytes.length - 60)] = random.int(256);
        }
        await decodeImage(damaged, { decoder }).catch((error) => expect(error).toBeInstanceOf(ImageError));
      }
      expect(Buffer.compare((await decodeImage(bytes, { decoder })).rgb, rgb)).toBe(0);
    }
  });
});

describe("the first frame of an animated WebP", () => {
  /** An animation of the frames of still files, each at an even place. */
  function animation(width: number, height: number, frames: readonly [file: string, x: number, y: number][]) {
    const three = (n: number) => [n & 255, (n >> 8) & 255, n >> 16];
    const word = (n: number) => [...three(n & 0xffffff), n >>> 24];
    const chunk = (name: string, data: number[]) => [...Buffer.from(name), ...word(data.length), ...data];
    const body = [
      ...Buffer.from("WEBP"),
      ...chunk("VP8X", [0x12, 0, 0, 0, ...three(width - 1), ...three(height - 1)]),
      ...chunk("ANIM", [10, 20, 30, 255, 0, 0]),
      ...frames.flatMap(([file, x, y]) => {
        const bytes = bytesOf(file);
        const { width: w, height: h } = readImageHeader(bytes, file);
        // Behind the file's header, and behind VP8X if there is one.
        const from = bytes[15] === 0x58 ? 30 : 12;
        const head = [...three(x / 2), ...three(y / 2), ...three(w - 1), ...three(h - 1), 10, 0, 0, 0];
        return chunk("ANMF", [...head, ...bytes.subarray(from)]);
      }),
    ];
    return Uint8Array.from([...Buffer.from("RIFF"), ...word(body.length), ...body]);
  }

  it("is the same through both decoders, alpha and smaller frames included", async () => {
    for (const file of [
      "webp-lossy.webp",
      "webp-lossless.webp",
      "webp-lossy-alpha.webp",
      "webp-lossless-alpha.webp",
    ]) {
      const { rgb, width, height } = await decodeImage(bytesOf(file));
      for (const [w, h, x, y] of [
        [width, height, 0, 0],
        [width + 9, height + 5, 6, 2],
      ]) {
        const bytes = animation(w, h, [
          [file, x, y],
          ["webp-lossy.webp", 0, 0],
        ]);
        const wasm = await decodeImage(bytes, { decoder: "wasm" });
        expect(cropImage(wasm, x, y, width, height).rgb, file).toEqual(rgb);
        if (w > width) expect([...wasm.rgb.subarray(0, 3)]).toEqual([0, 0, 0]);
        expect(await decodeImage(bytes, { decoder: "sharp" }), file).toEqual(wasm);
      }
    }
  });

  it("is refused where it leaves the canvas or holds no image", async () => {
    const outside = animation(97, 71, [["webp-lossy.webp", 2, 0]]);
    expect((await refusal(() => decodeImage(outside, { decoder: "wasm" }))).message).toMatch(
      /leaves the canvas/,
    );
    const empty = animation(97, 71, [["webp-lossy.webp", 0, 0]]);
    empty.set(Buffer.from("XXXX"), Buffer.from(empty).indexOf("VP8 "));
    expect((await refusal(() => decodeImage(empty, { decoder: "wasm" }))).message).toMatch(/holds no image/);
    const none = bytesOf("webp-lossy-alpha.webp");
    none[20] |= 2;
    expect((await refusal(() => readImageHeader(none))).message).toMatch(/the file has no image data/);
  });
});

describe("checkPngData", () => {
  function chunk(type: string, body: Uint8Array): Buffer {
    const out = Buffer.alloc(12 + body.length);
    out.writeUInt32BE(body.length, 0);
    out.write(type, 4, "latin1");
    out.set(body, 8);
    out.writeUInt32BE(crc32(out.subarray(4, 8 + body.length)), 8 + body.length);
    return out;
  }

  /** A gray or RGB PNG with these chunks of image data. */
  function pngOf(width: number, height: number, chunks: readonly Uint8Array[], color = 0): Buffer {
    const header = Buffer.alloc(13);
    header.writeUInt32BE(width, 0);
    header.writeUInt32BE(height, 4);
    header.set([8, color, 0, 0, 0], 8);
    const parts = [chunk("IHDR", header), ...chunks.map((data) => chunk("IDAT", data))];
    const signature = Buffer.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
    return Buffer.concat([signature, ...parts, chunk("IEND", Buffer.alloc(0))]);
  }

  /** A gray PNG whose decompressed data are these bytes. */
  const png = (width: number, height: number, data: readonly number[]) =>
    pngOf(width, height, [deflateSync(Uint8Array.from(data))]);

  it("finds unknown filters and missing rows before a decoder stops on them", async () => {
    await checkPngData(png(2, 2, [0, 9, 9, 4, 9, 9]), "x.png");
    const filter = await refusal(() => checkPngData(png(2, 2, [0, 9, 9, 5, 9, 9]), "x.png"));
    expect(filter.message).toMatch(/^x\.png: damaged: a row has no known filter; found: 5/);
    const rows = await refusal(() => checkPngData(png(2, 3, [0, 9, 9, 4, 9, 9]), "x.png"));
    expect(rows.message).toMatch(/truncated: .*; expected: 9 bytes; found: 6 bytes/);
  });

  const rows = [0, 1, 2, 3, 4, 5, 6, 0, 7, 8, 9, 10, 11, 12];

  it("joins pieces of image data, in time for millions that are empty", async () => {
    const bytes = Array.from(deflateSync(Uint8Array.from(rows)), (byte) => Buffer.of(byte));
    const empty = Array.from({ length: 10_000 }, () => Buffer.alloc(0));
    // One turn of the streams for each of the chunks would be 10,000.
    const enqueue = vi.spyOn(ReadableStreamDefaultController.prototype, "enqueue");
    const { rgb } = await decodeImage(pngOf(2, 2, [...bytes, ...empty], 2), { decoder: "wasm" });
    expect(enqueue.mock.calls.length).toBeLessThan(10);
    enqueue.mockRestore();
    expect([...rgb]).toEqual(rows.filter((_, i) => i % 7 !== 0));
  });

  it("decompresses to the last row and a little further, not all that follows", async () => {
    const bomb = deflateSync(Buffer.concat([Uint8Array.from(rows), Buffer.alloc(2 ** 20 + 1)]));
    expect(bomb.length).toBeLessThan(2000);
    const file = pngOf(2, 2, [bomb], 2);
    const error = await refusal(() => decodeImage(file, { name: "x.png", decoder: "wasm" }));
    expect(error.message).toMatch(/^x\.png: damaged: .* far behind the last row; expected: 14 bytes/);
    await checkPngData(pngOf(2, 2, [deflateSync(Uint8Array.from([...rows, 7, 7, 7]))], 2), "x.png");
  });
});

describe("decodeImage", () => {
  const png = bytesOf("png-rgb8.png");
  const address = `data:image/jpeg;base64,${Buffer.from(png).toString("base64")}`;

  it("reads data URLs, whatever type they claim", async () => {
    const { rgb } = await decodeImage(address);
    expect(Buffer.compare(rgb, expected("png-rgb8.png").bytes)).toBe(0);
  });

  it("limits pixels and bytes, of files and of data URLs", async () => {
    await decodeImage(png, { maxPixels: 97 * 71, maxBytes: png.length });
    const pixels = await refusal(() => decodeImage(png, { name: "a.png", maxPixels: 97 * 71 - 1 }));
    expect(pixels.message).toMatch(/^a\.png: pixel limit: .*97 x 71 = 6887/);
    const bytes = await refusal(() => decodeImage(png, { maxBytes: png.length - 1 }));
    expect(bytes.fault).toBe("byte limit");
    expect((await refusal(() => decodeImage(address, { maxBytes: png.length - 1 }))).fault).toBe(
      "byte limit",
    );
    // Not a character is decoded of one that is far too long.
    const long = await refusal(() => decodeImage(`data:;base64,${"!".repeat(9000)}`, { maxBytes: 100 }));
    expect(long.message).toMatch(/the data URL is too long/);
  });

  it("reads long data URLs without a list of their characters", async () => {
    const bytes = Buffer.alloc(6_000_000);
    bytes.set(png);
    const from = vi.spyOn(Uint8Array, "from");
    const read = dataUrlBytes(`data:;base64,${bytes.toString("base64")}`, "x.png", 2 ** 23);
    expect(from).not.toHaveBeenCalled();
    from.mockRestore();
    expect(Buffer.compare(read, bytes)).toBe(0);
  });

  it("refuses texts that are no data URL of base64", async () => {
    for (const [text, fault] of [
      ["http://a/b.png", "unknown format"],
      ["data:image/png,abc", "bad header"],
      ["data:image/png;base64", "bad header"],
      ["data:image/png;base64,a*b", "damaged"],
    ] as const) {
      expect((await refusal(() => decodeImage(text))).fault, text).toBe(fault);
    }
  });
});

describe("readImageHeader", () => {
  const headers = good.filter((f) => f.format !== "bmp");

  it("gives format and size without decoding", () => {
    for (const { file, format, width, height } of headers) {
      const name = { jpg: "jpeg" }[format] ?? format;
      expect(readImageHeader(bytesOf(file), file), file).toMatchObject({ format: name, width, height });
    }
  });

  it("refuses every file that is cut short, at any byte", async () => {
    const seen = new Set<ImageFault>();
    for (const { file } of headers) {
      const bytes = bytesOf(file);
      // A GIF needs its first frame only, and a JPEG may be followed by anything.
      const all = file === "jpg-trailing-bytes.jpg" ? bytes.lastIndexOf(0xd9) + 1 : bytes.length;
      const end = file.endsWith(".gif") ? 3600 : all;
      for (let length = 0; length < end; length += 1 + Math.floor(length / 23)) {
        const error = await refusal(() => readImageHeader(bytes.subarray(0, length), file));
        seen.add(error.fault);
      }
    }
    expect([...seen].sort()).toEqual(["truncated", "unknown format"]);
  });

  it("answers or refuses, whatever the bytes (property)", () => {
    const corpus = headers.map(({ file }) => bytesOf(file));
    const change = fc.record({
      at: fc.double({ min: 0, max: 1, noNaN: true }),
      value: fc.nat(255),
      near: fc.boolean(),
    });
    fc.assert(
      fc.property(
        fc.nat(corpus.length - 1),
        fc.array(change, { minLength: 1, maxLength: 6 }),
        (index, changes) => {
          const bytes = corpus[index].slice();
          for (const { at, value, near } of changes)
            bytes[Math.floor(at * (near ? 64 : bytes.length - 1))] = value;
          try {
            const { width, height, orientation } = readImageHeader(bytes, "x");
            expect(width > 0 && height > 0 && orientation >= 1 && orientation <= 8).toBe(true);
          } catch (error) {
            expect(error).toBeInstanceOf(ImageError);
          }
        },
      ),
      { numRuns: 3000 },
    );
  });

  it("refuses a JPEG of thousands of scans", async () => {
    const bytes = bytesOf("jpg-gray.jpg");
    const scan = Buffer.from(bytes).indexOf(Buffer.from([0xff, 0xda]));
    const head = bytes.subarray(0, scan);
    const empty = Uint8Array.from([0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0]);
    const many = Buffer.concat([
      head,
      ...Array.from({ length: 101 }, () => empty),
      Uint8Array.from([0xff, 0xd9]),
    ]);
    expect((await refusal(() => readImageHeader(many))).message).toMatch(/more than 100 scans/);
  });

  it("names formats that it does not read", async () => {
    for (const [start, name] of [
      ["II*\0abcdefgh", "TIFF"],
      ["\0\0\0\x20ftypavif", "AVIF"],
      ["<svg xmlns=", "SVG"],
      ["%PDF-1.7", "PDF"],
    ]) {
      const error = await refusal(() => readImageHeader(Buffer.from(start, "latin1"), "x.bin"));
      expect(error.message).toMatch(/^x\.bin: unknown format: .*expected: PNG, JPEG, WebP or GIF/);
      expect(error.message).toContain(name);
    }
  });
});

describe("orientation", () => {
  /** A block with entry 274 behind another one, in either byte order. */
  function tiff(value: number, little: boolean): Uint8Array {
    const bytes = new Uint8Array(34);
    const view = new DataView(bytes.buffer);
    view.setUint16(0, little ? 0x4949 : 0x4d4d);
    view.setUint16(2, 42, little);
    view.setUint32(4, 8, little);
    view.setUint16(8, 2, little);
    view.setUint16(10, 271, little);
    view.setUint16(22, 274, little);
    view.setUint16(24, 3, little);
    view.setUint32(26, 1, little);
    view.setUint16(30, value, little);
    return bytes;
  }

  it("is read in both byte orders; damaged blocks say nothing", () => {
    for (const little of [true, false]) {
      for (let value = 1; value <= 8; value++) expect(exifOrientation(tiff(value, little))).toBe(value);
      expect(exifOrientation(tiff(9, little))).toBe(1);
      const whole = tiff(6, little);
      for (let length = 0; length < 33; length++) {
        expect([1, 6]).toContain(exifOrientation(whole.subarray(0, length)));
      }
    }
  });

  it("turns and mirrors as the TIFF specification says", () => {
    // 3 wide, 2 high: where each number stands in the upright image.
    const wanted: Record<number, string> = {
      1: "012/345",
      2: "210/543",
      3: "543/210",
      4: "345/012",
      5: "03/14/25",
      6: "30/41/52",
      7: "52/41/30",
      8: "25/14/03",
    };
    const rgb = Uint8Array.from({ length: 18 }, (_, i) => Math.floor(i / 3) * 10 + (i % 3));
    for (const [orientation, rows] of Object.entries(wanted)) {
      const image = uprightImage({ width: 3, height: 2, rgb }, Number(orientation) as Orientation);
      const shown = Array.from({ length: image.height }, (_, y) =>
        Array.from({ length: image.width }, (_, x) => {
          const at = (y * image.width + x) * 3;
          const n = image.rgb[at] / 10;
          expect([...image.rgb.subarray(at, at + 3)]).toEqual([n * 10, n * 10 + 1, n * 10 + 2]);
          return n;
        }).join(""),
      );
      expect(shown.join("/"), orientation).toBe(rows);
    }
  });
});

describe("decodeGif", () => {
  /** LZW with a clear code before the table grows, so that all codes have one width. */
  function gif(
    screen: [number, number],
    frame: number[],
    indices: number[],
    options: { transparent?: number; interlaced?: boolean } = {},
  ) {
    const [x, y, w, h] = frame;
    const word = (n: number) => [n & 255, n >> 8];
    const palette = [10, 11, 12, 20, 21, 22, 30, 31, 32, 40, 41, 42];
    const bits: number[] = [];
    for (const [i, index] of indices.entries()) {
      if (i % 2 === 0) bits.push(0, 0, 1);
      bits.push(index & 1, (index >> 1) & 1, 0);
    }
    bits.push(1, 0, 1);
    const data = Array.from({ length: Math.ceil(bits.length / 8) }, (_, i) =>
      bits.slice(8 * i, 8 * i + 8).reduce((sum, bit, n) => sum | (bit << n), 0),
    );
    return Uint8Array.from([
      ...Buffer.from("GIF89a"),
      ...word(screen[0]),
      ...word(screen[1]),
      0x81,
      0,
      0,
      ...palette,
      ...(options.transparent === undefined ? [] : [0x21, 0xf9, 4, 1, 0, 0, options.transparent, 0]),
      0x2c,
      ...word(x),
      ...word(y),
      ...word(w),
      ...word(h),
      options.interlaced ? 0x40 : 0,
      2,
      data.length,
      ...data,
      0,
      0x3b,
    ]);
  }
  const reds = ({ rgb }: { rgb: Uint8Array }) => Array.from(rgb).filter((_, i) => i % 3 === 0);

  it("shows the palette's color under transparent pixels and beside the frame", () => {
    const bytes = gif([3, 2], [1, 0, 2, 2], [0, 1, 2, 3], { transparent: 3 });
    expect(reds(decodeGif(bytes, "x"))).toEqual([40, 10, 20, 40, 30, 40]);
    expect(reds(decodeGif(gif([3, 2], [1, 0, 2, 2], [0, 1, 2, 3]), "x"))).toEqual([10, 10, 20, 10, 30, 40]);
  });

  it("puts interlaced rows in place", () => {
    const indices = [0, 1, 2, 3, 0, 1, 2, 3, 0, 1];
    // Rows 0 and 8, then 4, then 2 and 6, then 1, 3, 5, 7, 9.
    const rows = [0, 8, 4, 2, 6, 1, 3, 5, 7, 9];
    const wanted = new Array(10);
    for (const [i, row] of rows.entries()) wanted[row] = 10 + 10 * indices[i];
    expect(reds(decodeGif(gif([1, 10], [0, 0, 1, 10], indices, { interlaced: true }), "x"))).toEqual(wanted);
  });

  it("refuses data that end early, and frames that leave the screen", async () => {
    const early = await refusal(() => decodeGif(gif([2, 2], [0, 0, 2, 2], [0, 1, 2]), "x.gif"));
    expect(early.message).toMatch(/^x\.gif: truncated/);
    const outside = await refusal(() => readImageHeader(gif([2, 2], [1, 0, 2, 2], [0, 1, 2, 3]), "x.gif"));
    expect(outside.fault).toBe("unsupported");
  });
});

describe("crc32", () => {
  it("is that of the specification, in pieces too", () => {
    const random = new Random(3);
    for (const length of [0, 1, 3, 4, 5, 7, 8, 1000, 1003]) {
      const bytes = Uint8Array.from({ length }, () => random.int(256));
      const whole = crc32(bytes);
      const cut = Math.floor(length / 3);
      expect(crc32(bytes.subarray(cut), crc32(bytes.subarray(0, cut)))).toBe(whole);
    }
    expect(crc32(Buffer.from("123456789"))).toBe(0xcbf43926);
    expect(crc32(Buffer.from("IEND"))).toBe(0xae426082);
  });
});
