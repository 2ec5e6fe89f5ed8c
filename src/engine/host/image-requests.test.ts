/** Requests with images in a host: what they answer, what is seen once, and whom they keep waiting. */
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { type Message, type MessagePart, modelTemplate } from "../../chat/index.ts";
import { memoryFolder } from "../../checkpoint/byte-source.ts";
import { worldCheckpoint } from "../../data/world/testing-checkpoints.ts";
import { VisionLanguageModel } from "../../models/vision-language.ts";
import { type LoadedModel, loadFolder } from "../../pretrained/load.ts";
import { createCpuDevice } from "../../tensor/cpu/backend.ts";
import { encodePng } from "../../vision/image/png-writer.ts";
import { Conversation } from "../conversation.ts";
import { ImageEncoder } from "../image-encoder.ts";
import { EngineClient } from "./engine-client.ts";
import type { GenerationJob } from "./generation-job.ts";
import { localChannel } from "./local-channel.ts";
import type { ChatRequest, Delta, HostSettings } from "./protocol.ts";

type Kind = "vl" | "vl2";
const checkpoints = new Map<Kind, Map<string, Uint8Array>>();
beforeAll(async () => {
  await using device = await createCpuDevice({ threads: 1 });
  for (const kind of ["vl", "vl2"] as const) checkpoints.set(kind, await worldCheckpoint(kind, device));
});

/** A model on a device of its own, which goes with it. */
async function open(kind: Kind): Promise<LoadedModel> {
  const device = await createCpuDevice({ threads: 1 });
  const loaded = await loadFolder(memoryFolder(checkpoints.get(kind)!), { device });
  const dispose = async () => {
    await loaded.dispose();
    await device[Symbol.asyncDispose]();
  };
  return { ...loaded, dispose, [Symbol.asyncDispose]: dispose };
}

const clients: EngineClient[] = [];
const lines: string[] = [];
async function host(kind: Kind, settings: HostSettings = {}): Promise<EngineClient> {
  const client = await EngineClient.connect(
    localChannel({ cacheTokens: 4096, ...settings }, () => open(kind)),
    (line) => lines.push(line),
  );
  clients.push(client);
  return client;
}
afterEach(async () => {
  vi.restoreAllMocks();
  for (const client of clients.splice(0)) await client.shutdown();
  expect(lines.splice(0)).toEqual([]);
});

/** A file with a picture of noise. */
function file(seed: number, width = 40, height = 30): Promise<Uint8Array> {
  const rgb = Uint8Array.from(
    { length: width * height * 3 },
    (_, i) => (i * seed * 37 + (i >> 3) * 11) % 256,
  );
  return encodePng({ width, height, rgb });
}
const part = (image: Uint8Array, name?: string): MessagePart => ({
  ...{ type: "image", image },
  ...(name === undefined ? {} : { name }),
});
const text = (words: string): MessagePart => ({ type: "text", text: words });
const user = (...content: MessagePart[]): Message => ({ role: "user", content });

const asked = (messages: readonly Message[], more: Partial<ChatRequest> = {}): ChatRequest => ({
  ...{ kind: "chat", messages, tools: [], toolChoice: "none", parallelToolCalls: true },
  ...{ format: { type: "text" }, thinking: null, templateVariables: new Map(), continueFinal: false },
  ...{ addGenerationPrompt: true, maxTokens: 12, temperature: 0, topP: 1, topK: 0, minP: 0 },
  ...{ repetitionPenalty: 1, presencePenalty: 0, frequencyPenalty: 0, logitBias: [], seed: 1, stop: [] },
  ...{ logprobs: null, n: 1, ignoreEos: false, minTokens: 0, stopIds: [], includeStop: false },
  ...{ skipSpecial: true, reusePrefix: true, echo: false },
  ...more,
});

async function answer(job: GenerationJob) {
  const deltas: Delta[] = [];
  for await (const news of job) if (news.type === "delta") deltas.push(news.delta);
  const [{ usage, reason }] = await job.job.result();
  return { content: deltas.map(({ content = "" }) => content).join(""), usage, reason, deltas };
}

const ask = async (client: EngineClient, messages: readonly Message[], more: Partial<ChatRequest> = {}) =>
  answer(await client.generate(asked(messages, more)));

/** What a conversation answers, in this thread. */
async function directly(kind: Kind, messages: readonly Message[]) {
  await using loaded = await open(kind);
  const { model, vision, tokenizer } = loaded;
  using images = new ImageEncoder(vision!.model, () => vision!.imageProcessor());
  using conversation = new Conversation(model, tokenizer!, modelTemplate(loaded, tokenizer!), { images });
  conversation.load(messages.slice(0, -1));
  const stream = conversation.send(messages.at(-1)!.content!, { temperature: 0, maxTokens: 12 });
  for (;;) {
    const next = await stream.next();
    if (next.done) return next.value;
  }
}

const refused = (client: EngineClient, messages: readonly Message[], more: Partial<ChatRequest> = {}) =>
  ask(client, messages, more).then(
    () => expect.fail("it was answered"),
    (error: { fault?: unknown }) => error.fault ?? error,
  );

describe.each(["vl", "vl2"] as const)("%s", (kind) => {
  it("answers what a conversation does, with one and several images in several turns", async () => {
    const client = await host(kind);
    expect(client.info.imageInput).toEqual({ size: 32, tokens: kind === "vl" ? 16 : 13 });
    const [a, b, c] = await Promise.all([file(3), file(5, 30, 60), file(9, 64, 64)]);
    const conversations: Message[][] = [
      [user(part(a), text("what is in the image ?"))],
      [user(text("describe"), part(a), text("and"), part(b), text("."))],
      [
        user(part(a), part(b), text("read the text .")),
        { role: "assistant", content: "a red ring" },
        user(text("and"), part(c), text("?")),
      ],
      [user(text("what color is the ring ?"))],
    ];
    for (const [i, messages] of conversations.entries()) {
      const expected = await directly(kind, messages);
      const found = await ask(client, messages);
      expect(found.content).toBe(expected.content);
      const { promptTokens, imageTokens } = expected.stats;
      expect(found.usage).toMatchObject({ promptTokens, imageTokens });
      expect(imageTokens > 0).toBe(i < 3);
      const { tools, thinking, templateVariables, continueFinal, addGenerationPrompt } = asked([]);
      const options = { tools, thinking, templateVariables, continueFinal, addGenerationPrompt };
      expect((await client.tokenize({ messages, ...options })).length).toBe(promptTokens);
    }
  });
});

describe("a host", () => {
  it("sees an image once for requests at once, and not again for a second question", async () => {
    const client = await host("vl2");
    const image = await file(3);
    const messages = (words: string) => [user(part(image.slice()), text(words))];
    const [first, other] = await Promise.all([
      ask(client, messages("what is in the image ?"), { n: 3 }),
      ask(client, messages("read the text .")),
    ]);
    expect(first.usage.imageTokens).toBe(other.usage.imageTokens);
    const before = (await client.figures())!.images!;
    expect(before).toMatchObject({ encoded: 1, kept: 1, views: 3, waiting: 0 });
    expect(before.seconds).toBeGreaterThan(0);
    const again = await ask(client, messages("what is in the image ? yes"));
    // The image and what stands before it.
    expect(again.usage.cachedTokens).toBeGreaterThan(again.usage.imageTokens);
    const after = (await client.figures())!.images!;
    expect(after).toEqual({ ...before, kept: 2 });
    expect(after.cacheBytes).toBeGreaterThan(0);
  });

  it("gives bytes away only if it is told to", async () => {
    const client = await host("vl");
    const image = await file(4);
    const copy = image.slice();
    const messages = [user(part(copy), text("what is in the image ?"))];
    await ask(client, messages);
    expect(copy).toEqual(image);
    // Small pieces of a larger buffer stay where they are.
    const inside = new Uint8Array(new ArrayBuffer(image.length + 8), 8, image.length);
    inside.set(image);
    const job = await client.generate(asked([user(part(inside), text("what is in the image ?"))]), {
      giveImages: true,
    });
    expect((await answer(job)).content).toBe((await ask(client, messages)).content);
    expect(inside).toEqual(image);
  });

  it("refuses files that cannot be read, before anything is seen, by the name of the part", async () => {
    const client = await host("vl");
    const good = await file(3);
    const see = vi.spyOn(VisionLanguageModel.prototype, "encodeViewsByLayer");
    // The header of a picture whose data end too early.
    const cut = good.slice(0, good.length - 40);
    const messages = [user(part(good, "first"), part(cut, "second"), text("?"))];
    expect(await refused(client, messages)).toMatchObject({
      ...{ kind: "invalid", code: "invalid_image", param: "second" },
      message: expect.stringMatching(/^second: (truncated|damaged|checksum)/),
    });
    const unknown = [user(part(new Uint8Array(50), "third"), text("?"))];
    expect(await refused(client, unknown)).toMatchObject({
      ...{ code: "invalid_image", param: "third" },
      message: expect.stringContaining("unknown format"),
    });
    const unnamed = [user(part(new Uint8Array(50)), text("?"))];
    expect(await refused(client, unnamed)).toMatchObject({ param: "messages" });
    const many = [user(...new Array(70).fill(part(good)), text("?"))];
    expect(await refused(client, many)).toMatchObject({ code: "context_length_exceeded" });
    expect(see).not.toHaveBeenCalled();
    expect((await client.figures())!.images).toMatchObject({ encoded: 0, waiting: 0 });
    expect((await ask(client, [user(part(good), text("?"))])).usage.imageTokens).toBe(16);
  });

  it("goes on with other answers while it sees, and frees all when a request is canceled", async () => {
    // Layers that each take longer than a turn.
    const pauses = 30;
    const passed: number[] = [];
    const { encodeViewsByLayer } = VisionLanguageModel.prototype;
    vi.spyOn(VisionLanguageModel.prototype, "encodeViewsByLayer").mockImplementation(function* (
      this: VisionLanguageModel,
      pixels,
    ) {
      for (let i = 0; i < pauses; i++) {
        passed.push(i);
        const until = performance.now() + 60;
        while (performance.now() < until);
        yield;
      }
      return yield* encodeViewsByLayer.call(this, pixels);
    });
    const client = await host("vl");
    const image = await file(3);
    const asking = [user(part(image), text("what is in the image ?"))];
    const stream = await client.generate(
      asked([user(text("describe"))], { maxTokens: 900, ignoreEos: true }),
    );
    await stream.accepted();
    const seeing = await client.generate(asked(asking));
    await vi.waitFor(() => expect(passed.length).toBeGreaterThan(4), 20_000);
    const before = stream.job.info().lastEvent;
    await vi.waitFor(() => expect(passed.length).toBeGreaterThan(10), 20_000);
    // A step and the telling of it take a turn each: three in six, and not always all.
    expect(stream.job.info().lastEvent).toBeGreaterThan(before + 1);
    expect((await client.figures())!.images).toMatchObject({ waiting: 1, encoded: 0 });
    await seeing.cancel();
    const { length } = passed;
    expect(length).toBeLessThan(pauses);
    expect((await client.figures())!.images).toMatchObject({ waiting: 0, encoded: 0 });
    await stream.cancel();
    expect(passed.length).toBe(length);
    expect((await client.figures())!.ended.canceled).toBe(2);
    // What was begun is begun anew.
    expect((await ask(client, asking)).usage.imageTokens).toBe(16);
    expect(passed.length).toBe(length + pauses);
  });

  it("holds no more tensors after canceled requests than before", async () => {
    const client = await host("vl2");
    const image = await file(3);
    await ask(client, [user(part(image), text("?"))]);
    const before = (await client.figures())!.deviceBytes;
    const other = await file(7, 60, 30);
    for (let turn = 1; turn < 6; turn++) {
      const job = await client.generate(asked([user(part(other), part(image), text("?"))]));
      for (let i = 0; i < turn; i++) await new Promise((resolve) => setImmediate(resolve));
      await job.cancel();
    }
    await vi.waitFor(async () => {
      const { deviceBytes, images, cacheBytes } = (await client.figures())!;
      expect(images).toMatchObject({ waiting: 0 });
      expect(deviceBytes - images!.cacheBytes - cacheBytes).toBeLessThanOrEqual(before);
    });
  });

  it("takes no text for an image, and refuses what it has no place for", async () => {
    const client = await host("vl2");
    // A vocabulary of words cannot spell it; no image is missed.
    expect(await refused(client, [user(text("what is <image> ?"))])).toMatchObject({
      ...{ param: "messages", message: expect.stringContaining("a control token in plain text") },
    });
    const image = part(await file(3));
    const system = await refused(client, [{ role: "system", content: [image] }, user(text("?"))]);
    expect(system).toMatchObject({ kind: "invalid", param: "messages" });
    expect(await refused(client, [user(text("?"))], { grounding: true })).toMatchObject({
      param: "grounding",
    });
    const vl = await host("vl");
    expect(await refused(vl, [user(image, text("?"))], { grounding: true })).toMatchObject({
      ...{ param: "grounding", message: expect.stringContaining("does not answer with boxes") },
    });
    const token = { type: "token", token: "<|grounding|>" } as const;
    const [plain, grounded] = await Promise.all([
      ask(client, [user(image, text("?"))]),
      ask(client, [user(image, token, text("?"))], { grounding: true }),
    ]);
    expect(grounded.usage.promptTokens).toBe(plain.usage.promptTokens + 1);
  });
});
