/** Conversations with images over whole small models: what is kept, what is seen again, and what stays text. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type MessagePart, modelTemplate } from "../chat/index.ts";
import { worldFolder } from "../data/world/testing-checkpoints.ts";
import type { ImageProcessor } from "../models/image-processor.ts";
import { type LoadedModel, loadFolder } from "../pretrained/load.ts";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import type { Device, Tensor } from "../tensor/tensor.ts";
import type { RgbImage } from "../vision/image/image.ts";
import { encodePng } from "../vision/image/png-writer.ts";
import { Conversation, type Reply, type ReplyStream } from "./conversation.ts";
import { ImageEncoder } from "./image-encoder.ts";

let device: Device;
const models: Partial<Record<"vl" | "vl2", LoadedModel>> = {};
beforeAll(async () => {
  device = await createCpuDevice({ threads: 1 });
  for (const kind of ["vl", "vl2"] as const) {
    models[kind] = await loadFolder(await worldFolder(kind, device), { device });
  }
});
afterAll(async () => {
  for (const model of Object.values(models)) await model.dispose();
  await device[Symbol.asyncDispose]();
});

/** A picture of noise. */
function picture(seed: number, width = 40, height = 30): RgbImage {
  const rgb = Uint8Array.from(
    { length: width * height * 3 },
    (_, i) => (i * seed * 37 + (i >> 3) * 11) % 256,
  );
  return { width, height, rgb };
}

const part = (image: RgbImage | Uint8Array): MessagePart => ({ type: "image", image });
const text = (words: string): MessagePart => ({ type: "text", text: words });

/** A conversation of its own, and the views that the tower saw in it. */
function open(kind: "vl" | "vl2", options = {}) {
  const { model, vision, tokenizer } = models[kind]!;
  const seen: number[] = [];
  const watched = {
    device,
    imageTokens: vision!.model.imageTokens.bind(vision!.model),
    arrange: vision!.model.arrange.bind(vision!.model),
    encodeViewsByLayer(pixels: Tensor) {
      seen.push(pixels.shape[0]);
      return vision!.model.encodeViewsByLayer(pixels);
    },
  };
  const images = new ImageEncoder(watched, () => vision!.imageProcessor(), options);
  const template = modelTemplate(models[kind]!, tokenizer!);
  const conversation = new Conversation(model, tokenizer!, template, { images });
  return {
    conversation,
    images,
    seen,
    [Symbol.dispose]() {
      conversation[Symbol.dispose]();
      images[Symbol.dispose]();
    },
  };
}

const settings = { temperature: 0, maxTokens: 12, ignoreEos: true };

async function answer(stream: ReplyStream): Promise<Reply> {
  for (;;) {
    const next = await stream.next();
    if (next.done) return next.value;
  }
}

describe.each(["vl", "vl2"] as const)("%s", (kind) => {
  it("gives in two turns with images in both what a fresh conversation gives, and sees each image once", async () => {
    using talk = open(kind);
    const [a, b] = [picture(3), picture(5, 30, 60)];
    const first = await answer(talk.conversation.send([part(a), text("what is in the image ?")], settings));
    const views = talk.seen.length;
    expect(views).toBe(kind === "vl" ? 1 : 1 + 2);
    expect(first.stats.imageTokens).toBe(talk.images.plan([{ type: "image", image: a }])[0].tokens);
    const second = await answer(talk.conversation.send([text("and"), part(b), text("?")], settings));
    expect(talk.seen.length).toBeGreaterThan(views);
    using fresh = open(kind);
    fresh.conversation.load(talk.conversation.messages.slice(0, 2));
    const anew = await answer(fresh.conversation.send([text("and"), part(b), text("?")], settings));
    expect(anew.content).toBe(second.content);
    expect(anew.stats.cachedTokens).toBe(0);
    // All of the first prompt, at least.
    expect(second.stats.cachedTokens).toBeGreaterThanOrEqual(first.stats.promptTokens);
    expect(fresh.seen.length).toBe(talk.seen.length);
  });

  it("runs no tower for texts, nor for a second question about an image", async () => {
    using talk = open(kind);
    await answer(talk.conversation.send("what color is the ring ?", settings));
    expect(talk.seen).toEqual([]);
    const image = await encodePng(picture(7));
    talk.conversation.reset();
    await answer(talk.conversation.send([part(image), text("what is in the image ?")], settings));
    const { length } = talk.seen;
    await answer(talk.conversation.send("what color is the ring ?", settings));
    talk.conversation.reset();
    await answer(talk.conversation.send([part(image.slice()), text("read the text .")], settings));
    expect(talk.seen.length).toBe(length);
  });
});

describe("vl2", () => {
  it("starts over where a third image switches tiling off, as a conversation from scratch does", async () => {
    using talk = open("vl2");
    const [a, b, c] = [picture(3, 60, 30), picture(5, 30, 60), picture(9, 40, 40)];
    const first = await answer(
      talk.conversation.send([part(a), part(b), text("describe the image .")], settings),
    );
    expect(talk.seen.length).toBe(3 + 3);
    const second = await answer(talk.conversation.send([part(c), text("and ?")], settings));
    // Each image anew, with one tile.
    expect(talk.seen.length).toBe(6 + 3 * 2);
    expect(second.stats.cachedTokens).toBeLessThan(10);
    expect(second.stats.imageTokens).toBeLessThan(first.stats.imageTokens * 2);
    using fresh = open("vl2");
    fresh.conversation.load(talk.conversation.messages.slice(0, 2));
    const anew = await answer(fresh.conversation.send([part(c), text("and ?")], settings));
    expect(anew.content).toBe(second.content);
    // Taken back, the first two have their tiles again, which are still kept.
    talk.conversation.undo();
    await answer(talk.conversation.send("and ?", settings));
    expect(talk.seen.length).toBe(12);
  });

  it("shows an image in as many tiles as its part allows", async () => {
    using talk = open("vl2");
    const image = picture(3, 60, 30);
    const [free, one] = [{}, { maxTiles: 1 }].map(
      (more) => talk.images.plan([{ type: "image", image, ...more }])[0],
    );
    expect([free.tiles, one.tiles]).toEqual([
      [2, 1],
      [1, 1],
    ]);
    await answer(talk.conversation.send([{ type: "image", image, maxTiles: 1 }, text("and ?")], settings));
    expect(talk.seen.length).toBe(2);
  });

  it("prints the tags of boxes that a model writes, and takes those of users as text", () => {
    const { conversation } = open("vl2");
    const { tokenizer, template } = conversation;
    const reader = template.reader({ opensReasoning: false });
    const written = "<|ref|>the ring<|/ref|><|det|>[[1, 2, 3, 4]]<|/det|>";
    for (const id of tokenizer.encode(written, { addSpecialTokens: false })) reader.push(id);
    reader.end();
    expect(reader.result.content.replaceAll(/\s/g, "")).toBe(written.replaceAll(/\s/g, ""));
    // The world's vocabulary has no letters for it: it refuses what it could only spell as the token.
    expect(() => template.encode([{ role: "user", content: "<image> ?" }])).toThrow(/image/);
    const named = template.prompt([
      { role: "user", content: [text("describe"), { type: "token", token: "<|grounding|>" }] },
    ]);
    expect(named.ids).toContain(tokenizer.idOf("<|grounding|>"));
    expect(named.places).toEqual([]);
  });
});

describe("an encoder", () => {
  const image = (seed: number) => ({ type: "image", image: picture(seed, 60, 30) }) as const;

  it("keeps as much as it may, and frees all that it made", async () => {
    const before = device.backend.memory().buffers;
    const bytes = 2 * 16 * 32 * 4;
    using talk = open("vl", { cacheBytes: bytes });
    const encoded = await talk.images.encode([image(1), image(2), image(3)]);
    expect(talk.images.cachedBytes).toBe(bytes);
    // What was evicted is still the caller's.
    expect((await encoded[0].embeddings.data()).length).toBe(16 * 32);
    for (const each of encoded) each[Symbol.dispose]();
    const again = await talk.images.encode([image(3), image(1)]);
    expect(talk.seen.length).toBe(4);
    for (const each of again) each[Symbol.dispose]();
    talk.images[Symbol.dispose]();
    expect(device.backend.memory().buffers).toBe(before);
  });

  it("decodes and sees an image once that stands in a conversation several times, even where nothing is kept", async () => {
    const before = device.backend.memory().buffers;
    const { vision } = models.vl!;
    const processor = vision!.imageProcessor();
    let prepared = 0;
    const watched: ImageProcessor = {
      ...processor,
      views: (...given) => {
        prepared++;
        return processor.views(...given);
      },
    };
    using images = new ImageEncoder(vision!.model, watched, { cacheBytes: 0 });
    const file = await encodePng(picture(5, 60, 30));
    // Another buffer of the same bytes: requests may send an image twice.
    const twin = { type: "image", image: file.slice() } as const;
    const encoded = await images.encode([{ type: "image", image: file }, image(2), twin]);
    expect(prepared).toBe(2);
    expect(images.counts).toMatchObject({ encoded: 2, kept: 1, views: 2 });
    expect(encoded[2].hash).toBe(encoded[0].hash);
    expect(await encoded[2].embeddings.data()).toEqual(await encoded[0].embeddings.data());
    expect(encoded[1].hash).not.toBe(encoded[0].hash);
    for (const each of encoded) each[Symbol.dispose]();
    expect(device.backend.memory().buffers).toBe(before);
  });

  it("stops between views, lets nobody wait for one that gave up, and sees an image once for all who ask", async () => {
    const before = device.backend.memory().buffers;
    using talk = open("vl2");
    const controller = new AbortController();
    const steps = talk.images.encodeSteps([image(1)], controller.signal);
    expect((await steps.next()).value).toEqual({ image: 1, images: 1, view: 1, views: 3 });
    expect((await steps.next()).value).toEqual({ image: 1, images: 1, view: 2, views: 3 });
    const waiting = talk.images.encode([image(2)], controller.signal);
    const others = [talk.images.encode([image(3)]), talk.images.encode([image(3)])];
    controller.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
    await expect(steps.next()).rejects.toThrow("enough");
    const found = (await Promise.all(others)).flat();
    expect(found[0].hash).toBe(found[1].hash);
    expect(talk.seen.length).toBe(1 + 3);
    for (const each of found) each[Symbol.dispose]();
    talk.images[Symbol.dispose]();
    expect(device.backend.memory().buffers).toBe(before);
  });

  it("a reply that is stopped while images are seen leaves no trace", async () => {
    using talk = open("vl2");
    const controller = new AbortController();
    const stream = talk.conversation.send([image(1), text("and ?")], {
      ...settings,
      signal: controller.signal,
    });
    expect((await stream.next()).value).toEqual({ kind: "image", image: 1, images: 1, view: 1, views: 3 });
    controller.abort();
    const reply = await answer(stream);
    expect([reply.message, reply.stats.stopReason, reply.content]).toEqual([null, "aborted", ""]);
    expect(talk.conversation.messages).toEqual([]);
  });

  it("refuses by name what is too large, damaged or for a model that does not see", async () => {
    using talk = open("vl2", { maxPixels: 100 });
    const file = await encodePng(picture(1));
    const send = (part: MessagePart, conversation = talk.conversation) =>
      conversation.send([part, text("?")], settings);
    expect(() => send({ type: "image", image: file, name: "a.png" })).toThrow(/a\.png: pixel limit/);
    using free = open("vl2");
    const cut = file.slice(0, 60);
    expect(() => send({ type: "image", image: cut, name: "b.png" }, free.conversation)).toThrow(/b\.png: /);
    expect(() => send({ type: "image", image: {} } as never)).toThrow(
      /messages\[0\]\.content\[0\].*not an image/,
    );
    expect(() => send({ type: "picture" } as never)).toThrow(/unknown kind of part.*picture/);
    const { model, tokenizer } = models.vl2!;
    using blind = new Conversation(model, tokenizer!, free.conversation.template);
    expect(() => send({ type: "image", image: file }, blind)).toThrow(/no encoder for images/);
    expect(() => free.conversation.send([part(file), text("?")], { ...settings, temperature: -1 })).toThrow(
      /temperature/,
    );
    expect(free.seen).toEqual([]);
  });
});
