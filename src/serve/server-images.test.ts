/** Images over HTTP: the answers of conversations, their usage, what is refused. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type MessagePart, modelTemplate } from "../chat/index.ts";
import { worldCheckpoint } from "../data/world/testing-checkpoints.ts";
import { Conversation } from "../engine/conversation.ts";
import { ImageEncoder } from "../engine/image-encoder.ts";
import { load } from "../pretrained/node-load.ts";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import { encodePng } from "../vision/image/png-writer.ts";
import { chatBody, chatChunks } from "./chat-answer.ts";
import { type RunningServer, startServer } from "./server.ts";
import { metricOf, post, startTestServer } from "./test-server.ts";

const folder = mkdtempSync(join(tmpdir(), "deepseek-ts-images-"));
const problems: string[] = [];
let server: RunningServer;
let client: OpenAI;
beforeAll(async () => {
  await using device = await createCpuDevice({ threads: 1 });
  for (const [name, bytes] of await worldCheckpoint("vl2", device)) writeFileSync(join(folder, name), bytes);
  server = await startServer({
    ...{ port: 0, servedName: "world", log: (line) => problems.push(line) },
    engine: { model: folder, threads: 1, cacheTokens: 4096 },
  });
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "any", maxRetries: 0 });
}, 120_000);
afterAll(async () => {
  await server?.close(1);
  rmSync(folder, { recursive: true, force: true });
  expect(problems).toEqual([]);
});

function picture(seed: number, width = 40, height = 90): Promise<Uint8Array> {
  const rgb = Uint8Array.from(
    { length: width * height * 3 },
    (_, i) => (i * seed * 37 + (i >> 3) * 11) % 256,
  );
  return encodePng({ width, height, rgb });
}
const dataUrl = (bytes: Uint8Array) => `data:image/png;base64,${Buffer.from(bytes).toString("base64")}`;
const image = (bytes: Uint8Array, detail: "auto" | "low" = "auto") => ({
  type: "image_url" as const,
  image_url: { url: dataUrl(bytes), detail },
});
const text = (words: string) => ({ type: "text" as const, text: words });
const greedy = { model: "world", temperature: 0, max_tokens: 12 };

async function directly(content: readonly MessagePart[]) {
  await using loaded = await load(folder, { device: await createCpuDevice({ threads: 1 }) });
  const { model, vision, tokenizer } = loaded;
  using images = new ImageEncoder(vision!.model, () => vision!.imageProcessor());
  using conversation = new Conversation(model, tokenizer!, modelTemplate(loaded, tokenizer!), { images });
  const stream = conversation.send(content, { temperature: 0, maxTokens: 12 });
  for (;;) {
    const next = await stream.next();
    if (next.done) return next.value;
  }
}

describe("a server of a model that sees", () => {
  it("answers as a conversation does: whole, streamed, by /v1/responses", async () => {
    const [a, b] = await Promise.all([picture(3), picture(5, 64, 30)]);
    const expected = await directly([
      { type: "image", image: a },
      { type: "text", text: "and" },
      { type: "image", image: b },
      { type: "text", text: "describe ." },
    ]);
    const { promptTokens, imageTokens } = expected.stats;
    const messages = [
      { role: "user" as const, content: [image(a), text("and"), image(b), text("describe .")] },
    ];
    const whole = await client.chat.completions.create({ ...greedy, messages });
    expect(whole.choices[0].message.content).toBe(expected.content);
    expect(whole.usage).toMatchObject({
      prompt_tokens: promptTokens,
      prompt_tokens_details: { cached_tokens: 0, image_tokens: imageTokens },
    });
    const parts: string[] = [];
    for await (const chunk of await client.chat.completions.create({ ...greedy, messages, stream: true })) {
      parts.push(chunk.choices[0].delta.content ?? "");
    }
    expect(parts.join("")).toBe(expected.content);
    const input = [
      { type: "input_image" as const, image_url: dataUrl(a), detail: "auto" as const },
      { type: "input_text" as const, text: "and" },
      { type: "input_image" as const, image_url: dataUrl(b), detail: "high" as const },
      { type: "input_text" as const, text: "describe ." },
    ];
    const response = await client.responses.create({
      ...{ model: "world", temperature: 0, max_output_tokens: 12 },
      input: [{ role: "user", content: input }],
    });
    expect(response.output_text).toBe(expected.content);
    expect(response.usage).toMatchObject({
      input_tokens: promptTokens,
      input_tokens_details: { image_tokens: imageTokens },
    });
    const counted = await post(server, "/tokenize", { messages });
    expect(counted.body.count).toBe(promptTokens);
    const metric = (name: string) => metricOf(server, `deepseek_ts_${name}`);
    expect(await metric("images_encoded_total")).toBe(2);
    expect(await metric("images_cached_total")).toBe(4);
    expect(await metric("image_views_total")).toBe(4 + 3);
    expect(await metric("image_seconds_total")).toBeGreaterThan(0);
    expect(await metric("image_cache_bytes")).toBe(imageTokens * 32 * 4);
  });

  it("tells how pictures were cut, before the first token", async () => {
    const [tall, small] = await Promise.all([picture(3), picture(5, 20, 20)]);
    const messages = [{ role: "user", content: [image(tall), image(small), text("describe .")] }];
    const asked = { ...greedy, messages, inside: true, cache_prompt: false };
    const { body } = await post(server, "/v1/chat/completions", asked);
    const { pictures, tokens } = body.inside;
    expect(tokens).toHaveLength(body.usage.completion_tokens);
    expect(pictures).toMatchObject([
      { width: 40, height: 90, view: 32, tiles: [1, 3] },
      { width: 20, height: 20, view: 32, tiles: [1, 1], areas: [[0, 0, 20, 20]] },
    ]);
    const [{ areas, tokens: first }, { tokens: second }] = pictures;
    // The picture is scaled to 32 x 72 pixels, in the middle of three tiles.
    expect(areas).toEqual([
      [0, 0, 40, 25],
      [0, 25, 40, 65],
      [0, 65, 40, 90],
    ]);
    expect(first + second).toBe(body.usage.prompt_tokens_details.image_tokens);
    const streamed = { ...asked, stream: true } as unknown as OpenAI.ChatCompletionCreateParamsStreaming;
    const news: { tokens: unknown[]; pictures?: unknown }[] = [];
    for await (const chunk of await client.chat.completions.create(streamed)) {
      if ("inside" in chunk) news.push(chunk.inside as (typeof news)[number]);
    }
    expect(news[0]).toEqual({ tokens: [], pictures });
    expect(news.slice(1).some((each) => "pictures" in each)).toBe(false);
    expect(news.flatMap((each) => each.tokens)).toEqual(tokens);
  });

  it("shows less of an image of low detail", async () => {
    const bytes = await picture(7);
    const count = async (detail: "auto" | "low") =>
      (
        await post(server, "/tokenize", {
          messages: [{ role: "user", content: [image(bytes, detail), text("?")] }],
        })
      ).body.count;
    expect(await count("low")).toBeLessThan(await count("auto"));
  });

  it("refuses what is no image, in its field, before anything runs", async () => {
    const bytes = await picture(9);
    const ask = (url: string, more = {}) =>
      post(server, "/v1/chat/completions", {
        ...greedy,
        messages: [{ role: "user", content: [text("?"), { type: "image_url", image_url: { url } }] }],
        ...more,
      });
    const param = "messages[0].content[1].image_url.url";
    const cut = await ask(dataUrl(bytes.slice(0, bytes.length - 40)), { stream: true });
    expect(cut).toMatchObject({ status: 400, body: { error: { code: "invalid_image", param } } });
    expect(cut.body.error.message).toContain(param);
    expect(await ask(dataUrl(Buffer.from("what?")))).toMatchObject({
      ...{ status: 400, body: { error: { code: "invalid_image", param } } },
    });
    expect(await ask("http://127.0.0.1/a.png")).toMatchObject({
      ...{ status: 400, body: { error: { code: "image_urls_not_allowed", param } } },
    });
    const respond = await post(server, "/v1/responses", {
      ...{ model: "world", temperature: 0 },
      input: [{ role: "user", content: [{ type: "input_image", image_url: dataUrl(Buffer.from("no")) }] }],
    });
    expect(respond).toMatchObject({
      ...{ status: 400, body: { error: { code: "invalid_image", param: "input[0].content[0].image_url" } } },
    });
    const grounded = await ask(dataUrl(bytes), { grounding: true });
    expect(grounded).toMatchObject({ status: 200, body: { choices: [{ message: { grounding: [] } }] } });
    const blind = await post(server, "/v1/chat/completions", {
      ...{ ...greedy, grounding: true },
      messages: [{ role: "user", content: "?" }],
    });
    expect(blind).toMatchObject({ status: 400, body: { error: { param: "grounding" } } });
  });
});

it("lists what a model reads", async () => {
  const listed = async (url: string) => (await (await fetch(`${url}/v1/models`)).json()).data[0];
  const sees = await listed(server.url);
  expect(sees.architecture.input_modalities).toEqual(["text", "image"]);
  const messages = [{ role: "user", content: [image(await picture(2, 32, 32), "low")] }];
  const { body } = await post(server, "/v1/chat/completions", { ...greedy, messages });
  expect(sees.image).toEqual({ size: 32, tokens: body.usage.prompt_tokens_details.image_tokens });
});

it("says of a model that reads text that it does", async () => {
  await using tiny = await startTestServer();
  const { data } = await (await fetch(`${tiny.server.url}/v1/models`)).json();
  expect(data[0].architecture.input_modalities).toEqual(["text"]);
  expect(data[0]).not.toHaveProperty("image");
  const content = [text("?"), image(await picture(2, 8, 8))];
  const { status, body } = await tiny.post("/v1/chat/completions", { messages: [{ role: "user", content }] });
  expect([status, body.error.code]).toEqual([400, "images_not_supported"]);
  expect(body.error.message).toContain("'tiny' reads text only");
});

it("tells boxes in pixels and in the model's numbers", async () => {
  const usage = {
    ...{ promptTokens: 9, cachedTokens: 0, imageTokens: 4 },
    ...{ completionTokens: 3, reasoningTokens: 0 },
  };
  const numbers = [100, 200, 300, 150] as const;
  const box = { label: "ring", numbers, box: [10, 40, 30, 30], flags: ["order"] } as const;
  const content = "<|ref|>ring<|/ref|><|det|>[[100, 200, 300, 150]]<|/det|>";
  const news = () => ({
    choices: 1,
    async *[Symbol.asyncIterator]() {
      const delta = { id: 1, choice: 0, content, grounding: [{ label: "ring", image: 1, boxes: [box] }] };
      yield { type: "delta", delta } as const;
      yield { type: "finished", choice: 0, reason: "stop", usage } as const;
    },
  });
  const head = { id: "a", created: 1, model: "m", fingerprint: "f" };
  const shape = { logprobs: false, oldForm: false, tokenIds: false, grounding: true };
  const grounding = [
    {
      ...{ label: "ring", image: 1 },
      boxes: [{ x1: 10, y1: 40, x2: 30, y2: 30, numbers: [...numbers], flags: ["order"] }],
    },
  ];
  expect(await chatBody(news(), head, shape)).toMatchObject({
    choices: [{ message: { content, grounding } }],
  });
  const chunks: unknown[] = [];
  for await (const chunk of chatChunks(news(), head, { ...shape, includeUsage: false })) chunks.push(chunk);
  expect(chunks[1]).toMatchObject({ choices: [{ delta: { content, grounding } }] });
});
