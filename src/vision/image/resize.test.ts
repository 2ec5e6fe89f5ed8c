/** Resizing against Pillow's bytes, on plain bytes and on devices. */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createCpuDevice } from "../../tensor/cpu/backend.ts";
import { ShapeError } from "../../tensor/errors.ts";
import { resample } from "../../tensor/ops/resample.ts";
import { Random } from "../../tensor/random.ts";
import { createReferenceDevice } from "../../tensor/reference/backend.ts";
import type { Device } from "../../tensor/tensor.ts";
import { bicubicTaps } from "./resample-taps.ts";
import { resizeImage, resizeImageOn } from "./resize.ts";
import { fixtureTensors } from "./testing.ts";

const inputs = fixtureTensors("resample/inputs.safetensors");
const outputs = fixtureTensors("resample/expected.safetensors");
const cases = inputs.names.filter((name) => name.startsWith("bicubic."));

function noise(width: number, height: number, seed: number) {
  const random = new Random(seed);
  // Black and white beside each other overshoot the most.
  const level = () => (random.int(3) === 0 ? random.int(256) : random.int(2) * 255);
  return { width, height, rgb: Uint8Array.from({ length: width * height * 3 }, level) };
}

describe("resizing", () => {
  const devices: Device[] = [];
  beforeAll(async () => {
    for (const threads of [1, 2, 3]) {
      devices.push(await createCpuDevice({ threads, relaxed: false }));
      devices.push(await createCpuDevice({ threads }));
    }
    devices.push(createReferenceDevice());
  });
  afterAll(() => Promise.all(devices.map((device) => device[Symbol.asyncDispose]())));

  it("has all cases", () => expect(cases).toHaveLength(11));

  it.each(cases)("%s as Pillow does, on bytes and on every device", async (name) => {
    const { shape, bytes } = inputs(name);
    const wanted = outputs(name);
    const [height, width] = wanted.shape;
    const image = { width: shape[1], height: shape[0], rgb: bytes };
    expect(resizeImage(image, width, height)).toEqual({ width, height, rgb: wanted.bytes });
    for (const device of devices) {
      expect(await resizeImageOn(device, image, width, height)).toEqual({ width, height, rgb: wanted.bytes });
      expect(device.backend.memory().buffers).toBe(0);
    }
  });

  it("gives the same bytes on a device, whatever the sizes (property)", async () => {
    const side = fc.integer({ min: 1, max: 70 });
    await fc.assert(
      fc.asyncProperty(
        side,
        side,
        side,
        side,
        fc.nat(devices.length - 1),
        async (w, h, width, height, index) => {
          const image = noise(w, h, w + 71 * h);
          expect(await resizeImageOn(devices[index], image, width, height)).toEqual(
            resizeImage(image, width, height),
          );
        },
      ),
      { numRuns: 150 },
    );
  });

  it("gives others turns in large images, with the same bytes, and ends where a turn throws", async () => {
    const image = noise(1300, 1700, 5);
    let turns = 0;
    const turn = async () => {
      turns++;
      expect(devices[0].backend.memory().buffers).toBeLessThan(2);
    };
    const resized = await resizeImageOn(devices[0], image, 33, 40, turn);
    expect(resized).toEqual(resizeImage(image, 33, 40));
    // Three bands of rows, then the columns.
    expect(turns).toBe(3);
    const end = async () => {
      if (--turns === 1) throw new Error("enough");
    };
    await expect(resizeImageOn(devices[0], image, 33, 40, end)).rejects.toThrow("enough");
    expect(devices[0].backend.memory().buffers).toBe(0);
  });

  it("keeps the bytes of an image that has the size already", async () => {
    const image = noise(20, 10, 1);
    expect(resizeImage(image, 20, 10).rgb).toEqual(image.rgb);
    expect((await resizeImageOn(devices[0], image, 20, 10)).rgb).toEqual(image.rgb);
  });

  it("refuses an image of another size than its taps", () => {
    const taps = bicubicTaps(5, 3);
    expect(() => resample.bytes(new Uint8Array(24), [2, 4], "rows", taps)).toThrow(ShapeError);
    expect(() => resample.bytes(new Uint8Array(24), [2, 4], "columns", taps)).toThrow(/columns do not fit/);
  });
});

describe("bicubicTaps", () => {
  it("has weights that add up to one, and whose sums cannot overflow", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5000 }), fc.integer({ min: 1, max: 1200 }), (from, to) => {
        const { most, bounds, weights } = bicubicTaps(from, to);
        for (let i = 0; i < to; i += 1 + Math.floor(to / 40)) {
          const own = weights.slice(i * most, i * most + bounds[2 * i + 1]);
          expect(bounds[2 * i] + own.length).toBeLessThanOrEqual(from);
          const sum = own.reduce((a, b) => a + b, 0);
          expect(Math.abs(sum - 2 ** 22)).toBeLessThanOrEqual(own.length);
          const sizes = own.reduce((a, b) => a + Math.abs(b), 0);
          expect(sizes * 255 + 2 ** 21).toBeLessThan(2 ** 31);
        }
      }),
      { numRuns: 300 },
    );
  });
});
