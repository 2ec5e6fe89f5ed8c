/** Pictures over HTTP, through the official client: the engine's own, whole and as events, and what is refused. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { worldCheckpoint } from "../data/world/testing-checkpoints.ts";
import { draw } from "../engine/draw/draw.ts";
import type { DrawnImage, DrawRequest } from "../engine/draw/events.ts";
import { drawnImages } from "../engine/draw/testing.ts";
import { load } from "../pretrained/node-load.ts";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import { decodeImage } from "../vision/image/decode.ts";
import { pngTexts } from "../vision/image/png-text.ts";
import { type RunningServer, startServer } from "./server.ts";
import { metricOf, post, until } from "./test-server.ts";

const root = mkdtempSync(join(tmpdir(), "deepseek-ts-drawing-"));
const problems: string[] = [];
// How far loading is tells a busy machine, not a fault.
const log = (line: string) => void (/^load: \d+%/.test(line) || problems.push(line));
const kinds = ["janus", "janusflow", "vl", "flow-alone"] as const;
const servers = new Map<string, RunningServer>();
beforeAll(async () => {
  await using device = await createCpuDevice({ threads: 1 });
  process.env.HF_HOME = join(root, "hub");
  for (const kind of kinds) {
    for (const [name, bytes] of await worldCheckpoint(kind === "flow-alone" ? "janusflow" : kind, device)) {
      if (kind === "flow-alone" && name.startsWith("vae/")) continue;
      const path = join(root, kind, name);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, bytes);
    }
    const server = await startServer({
      ...{ port: 0, servedName: kind, log },
      engine: { model: join(root, kind), threads: 1, cacheTokens: 1024, maxQueue: 2, dtype: "q8" },
    });
    servers.set(kind, server);
  }
}, 240_000);
afterAll(async () => {
  for (const server of servers.values()) await server.close(1);
  rmSync(root, { recursive: true, force: true });
  expect(problems).toEqual([]);
});

const clientOf = (kind: string) =>
  new OpenAI({ baseURL: `${servers.get(kind)!.url}/v1`, apiKey: "any", maxRetries: 0 });
const prompt = "a red ring left of a blue cross";

/** The pictures that the same request gives in this process. */
async function drawn(kind: string, request: DrawRequest): Promise<DrawnImage[]> {
  const device = await createCpuDevice({ threads: 1 });
  await using opened = await load(join(root, kind), { device, dtype: "q8", drawing: true });
  return await drawnImages(draw(opened, request));
}

const bytesOf = (base64: string) => new Uint8Array(Buffer.from(base64, "base64"));
const pixels = async (base64: string) => (await decodeImage(bytesOf(base64), { name: "png" })).rgb;
const metric = (kind: string, name: string) => metricOf(servers.get(kind)!, name);

describe.each([
  ["janus", { temperature: 0.7, guidance: 3 }],
  ["janusflow", { steps: 4, guidance: 3 }],
] as const)("a server of %s", (kind, settings) => {
  it("gives the pictures of the engine, which say what they are of", async () => {
    const before = await metric(kind, "deepseek_ts_pictures_drawn_total");
    const answer = await clientOf(kind).images.generate({
      ...{ model: kind, prompt, n: 2, size: "32x32" as never, response_format: "b64_json" },
      ...({ seed: 5, ...settings } as object),
    });
    const expected = await drawn(kind, { prompt, count: 2, seed: 5, ...settings });
    expect(answer).toMatchObject({ size: "32x32", output_format: "png", background: "opaque", seed: 5 });
    const found = await Promise.all(answer.data!.map(({ b64_json }) => pixels(b64_json!)));
    expect(found).toEqual(expected.map(({ picture }) => picture.rgb));
    // The prompt counts once, each of the pictures with its 16 codes or places.
    const { promptTokens } = expected[0].usage;
    expect(answer.usage satisfies OpenAI.ImagesResponse.Usage | undefined).toEqual({
      input_tokens: promptTokens,
      input_tokens_details: { text_tokens: promptTokens, image_tokens: 0 },
      output_tokens: 32,
      output_tokens_details: { text_tokens: 0, image_tokens: 32 },
      total_tokens: promptTokens + 32,
    });
    const texts = Object.fromEntries(pngTexts(bytesOf(answer.data![1].b64_json!)));
    expect(texts).toEqual({ Software: "deepseek-ts serve", prompt, seed: "5", image: "2" });
    expect(await metric(kind, "deepseek_ts_pictures_drawn_total")).toBe(before + 2);
    expect(await metric(kind, "deepseek_ts_drawings_running")).toBe(0);
  });

  it("streams partial pictures, then the same whole one", async () => {
    const stream = await clientOf(kind).images.generate({
      ...{ model: kind, prompt, stream: true, partial_images: 2 },
      ...({ seed: 5, ...settings } as object),
    });
    const events = [];
    for await (const event of stream) events.push(event);
    const types = events.map(({ type }) => type.replace("image_generation.", ""));
    // Of four rows or steps, two apart.
    expect(types).toEqual(["partial_image", "completed"]);
    expect(events[0]).toMatchObject({ partial_image_index: 0, size: "32x32", output_format: "png" });
    const [{ picture, usage }] = await drawn(kind, { prompt, count: 1, seed: 5, ...settings });
    expect(await pixels(events.at(-1)!.b64_json)).toEqual(picture.rgb);
    expect(await pixels(events[0].b64_json)).not.toEqual(picture.rgb);
    const counts = { input_tokens: usage.promptTokens, output_tokens: 16 };
    expect(events[1]).toMatchObject({
      usage: {
        ...counts,
        total_tokens: usage.promptTokens + 16,
      } satisfies Partial<OpenAI.ImageGenCompletedEvent.Usage>,
    });
    expect(events[0]).not.toHaveProperty("usage");
  });

  it("stops where the client leaves, and answers others meanwhile", async () => {
    const leaving = new AbortController();
    const { url } = servers.get(kind)!;
    const long = { prompt, n: 10, ...(kind === "janusflow" ? { steps: 1000 } : {}) };
    const left = fetch(`${url}/v1/images/generations`, {
      ...{ method: "POST", body: JSON.stringify(long), signal: leaving.signal },
      headers: { "content-type": "application/json" },
    }).catch((error: Error) => error.name);
    await until(async () => (await metric(kind, "deepseek_ts_drawings_running")) === 1);
    if (kind === "janusflow") {
      const answer = await clientOf(kind).chat.completions.create({
        ...{ model: kind, max_tokens: 3, messages: [{ role: "user", content: "what is in the image ?" }] },
      });
      expect(answer.usage!.completion_tokens).toBeGreaterThan(0);
      expect(await metric(kind, "deepseek_ts_drawings_running")).toBe(1);
    }
    leaving.abort();
    expect(await left).toBe("AbortError");
    await until(async () => (await metric(kind, "deepseek_ts_drawings_running")) === 0);
  });

  it("says that it draws, and how large", async () => {
    const { data } = await clientOf(kind).models.list();
    expect(data[0]).toMatchObject({
      architecture: { input_modalities: ["text", "image"], output_modalities: ["text", "image"] },
      drawing: { size: "32x32" },
    });
  });

  const other = kind === "janus" ? ["steps", 3] : ["top_k", 3];
  const wrong: [Record<string, unknown>, string, RegExp][] = [
    [{ size: "1024x1024" }, "size", /must be '32x32' or 'auto'/],
    [{ response_format: "url" }, "response_format", /no address; 'b64_json'/],
    [{ quality: "hd" }, "quality", /not supported here/],
    [{ background: "transparent" }, "background", /no transparent/],
    [{ output_format: "webp" }, "output_format", /PNG/],
    [{ style: "vivid" }, "style", /prompt/],
    [{ n: 11 }, "n", /n/],
    [{ partial_images: 1 }, "partial_images", /need 'stream'/],
    [{ partial_images: 4, stream: true }, "partial_images", /3/],
    [{ prompt: " " }, "prompt", /empty/],
    [{ prompt: "unpronounceable" }, "prompt", /lacks a piece of the text/],
    [{ seed: -1 }, "seed", /seed/],
    [{ model: "other" }, "model", /not served here/],
    [{ [other[0]]: other[1] }, other[0] as string, /draws without this/],
    [{ solver: "heun" }, "solver", /euler/],
  ];
  it.each(wrong)("refuses %j by name", async (fields, param, message) => {
    const { status, body } = await post(servers.get(kind)!, "/v1/images/generations", { prompt, ...fields });
    expect(status).toBe(param === "model" ? 404 : 400);
    expect(body.error).toMatchObject({ param, message: expect.stringMatching(message) });
  });
});

describe("a server that does not draw", () => {
  it.each([
    ["vl", /does not draw/, "drawing_not_supported"],
    ["flow-alone", /deepseek-ts download stabilityai\/sdxl-vae/, "autoencoder_missing"],
  ])("says so of %s, and answers texts", async (kind, message, code) => {
    const { status, body } = await post(servers.get(kind)!, "/v1/images/generations", { prompt });
    expect(status).toBe(400);
    expect(body.error).toMatchObject({ code, message: expect.stringMatching(message) });
    const answer = await clientOf(kind).chat.completions.create({
      ...{ model: kind, max_tokens: 3, messages: [{ role: "user", content: "what is in the image ?" }] },
    });
    expect(answer.usage!.completion_tokens).toBeGreaterThan(0);
    const { data } = await clientOf(kind).models.list();
    expect(data[0]).toMatchObject({ architecture: { output_modalities: ["text"] } });
  });
});
