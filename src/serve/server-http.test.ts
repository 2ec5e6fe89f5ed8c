/** The server around generation: what it refuses, models, cross-origin requests, cancelling, health, metrics. */
import { connect } from "node:net";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { greedy, startTestServer, type TestServer, until, user } from "./test-server.ts";

let test: TestServer;
let client: OpenAI;
beforeAll(async () => {
  test = await startTestServer();
  client = test.client;
});
afterAll(() => test[Symbol.asyncDispose]());

describe("what is refused", () => {
  it.each<[string, string, unknown, number, Record<string, unknown>]>([
    ["broken JSON", "/v1/chat/completions", "{", 400, { code: "invalid_json", param: null }],
    ["no object", "/v1/chat/completions", "[]", 400, { type: "invalid_request_error" }],
    [
      "a wrong type",
      "/v1/chat/completions",
      { messages: user("a"), top_p: "x" },
      400,
      { param: "top_p", code: "invalid_value" },
    ],
    [
      "another model",
      "/v1/chat/completions",
      { model: "gpt-4", messages: user("a") },
      404,
      { code: "model_not_found", param: "model" },
    ],
    [
      "a context too long",
      "/v1/completions",
      { prompt: "a", max_tokens: 5000 },
      400,
      { code: "context_length_exceeded", param: "prompt" },
    ],
    [
      "a prompt too long",
      "/v1/chat/completions",
      { messages: user("x, ".repeat(5000)) },
      400,
      { code: "context_length_exceeded", param: "messages" },
    ],
    ["a token that is none", "/v1/completions", { prompt: [99_999] }, 400, { param: "prompt" }],
    [
      "a bias of one",
      "/v1/completions",
      { prompt: "a", logit_bias: { 99999: 1 } },
      400,
      { param: "logit_bias" },
    ],
    [
      "a body too large",
      "/v1/completions",
      { prompt: "a".repeat(100_001) },
      413,
      { code: "request_too_large" },
    ],
    ["a path that is none", "/v1/embeddings", {}, 404, { code: "not_found" }],
    ["a method that is none", "/v1/models", {}, 405, { code: "method_not_allowed" }],
  ])("%s", async (_, path, body, status, error) => {
    const answer = await test.post(path, body);
    expect(answer.status).toBe(status);
    expect(answer.body.error).toMatchObject(error);
    expect(Object.keys(answer.body.error).sort()).toEqual(["code", "message", "param", "type"]);
  });

  it("says the numbers of a context too long, in the client's own error", async () => {
    const error = await client.completions
      .create({ model: "tiny", prompt: "the of", max_tokens: 4095 })
      .catch((error: unknown) => error);
    expect(error).toBeInstanceOf(OpenAI.BadRequestError);
    expect((error as Error).message).toMatch(/4096 tokens.*4097 .*2 in the prompt, 4095/);
  });

  it("a body that is too large but does not say so", async () => {
    const body = new ReadableStream({
      pull(controller) {
        controller.enqueue(new Uint8Array(50_000).fill(97));
      },
    });
    const request = { method: "POST", body, duplex: "half" } as RequestInit;
    expect((await fetch(`${test.server.url}/v1/completions`, request)).status).toBe(413);
  });
});

describe("around generation", () => {
  it("lists the model", async () => {
    const { data } = await client.models.list();
    expect(data.map(({ id }) => id)).toEqual(["tiny"]);
    expect((await client.models.retrieve("tiny")).id).toBe("tiny");
    await expect(client.models.retrieve("other")).rejects.toBeInstanceOf(OpenAI.NotFoundError);
    expect(await (await fetch(test.server.url)).text()).toContain("/v1/chat/completions");
    expect((await fetch(`${test.server.url}/health`, { method: "HEAD" })).status).toBe(200);
  });

  it("lets pages of one origin in", async () => {
    const preflight = await fetch(`${test.server.url}/v1/chat/completions`, {
      method: "OPTIONS",
      headers: {
        origin: "http://page.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
      },
    });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get("access-control-allow-origin")).toBe("http://page.example");
    expect(preflight.headers.get("access-control-allow-headers")).toContain("authorization");
    const refused = await test.post("/v1/chat/completions", "{", { origin: "http://page.example" });
    expect(refused.headers.get("access-control-allow-origin")).toBe("http://page.example");
  });

  it("frees a slot when the client leaves, streaming or not", async () => {
    const before = await test.metric('deepseek_ts_generations_total{reason="cancelled"}');
    const long = {
      model: "tiny",
      messages: user("be"),
      max_tokens: 4000,
      logit_bias: { [await test.tokenId(" of")]: 100 },
    };
    const stream = await client.chat.completions.create({ ...long, stream: true });
    let seen = 0;
    for await (const _ of stream) if (++seen === 3) break;
    const controller = new AbortController();
    const whole = client.chat.completions.create(long, { signal: controller.signal });
    await until(async () => (await test.metric("deepseek_ts_generations_running")) >= 1);
    controller.abort();
    await expect(whole).rejects.toThrow();
    await until(async () => (await test.metric("deepseek_ts_generations_running")) === 0);
    await until(
      async () => (await test.metric('deepseek_ts_generations_total{reason="cancelled"}')) === before + 2,
    );
    expect(await test.metric("deepseek_ts_jobs_active")).toBe(0);
  });

  it("thinks nothing of a client that leaves in the middle of its body", async () => {
    const { hostname, port } = new URL(test.server.url);
    const socket = connect(Number(port), hostname);
    socket.write("POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{");
    const left = 'deepseek_ts_http_requests_total{route="/v1/completions",method="POST",status="499"}';
    const before = await test.metric(left);
    // The request has to be there before its end is.
    await until(async () => (await test.post("/tokenize", { text: "a" })).status === 200);
    socket.destroy();
    // Whatever is logged fails the disposal of the server.
    await until(async () => (await test.metric(left)) === before + 1);
  });

  it("answers others while the model computes", async () => {
    let [busy, answers] = [true, 0];
    const streams = Array.from({ length: 4 }, (_, i) =>
      client.chat.completions.create({
        model: "tiny",
        messages: user(`be ${i}`),
        max_tokens: 300,
        logit_bias: { 1: -100 },
      }),
    );
    const done = Promise.all(streams).then(() => {
      busy = false;
    });
    while (busy) {
      expect((await fetch(`${test.server.url}/health`)).status).toBe(200);
      answers++;
    }
    await done;
    // 300 steps of the model: were they in the way, hardly an answer would have come between.
    expect(answers).toBeGreaterThan(30);
  });

  it("counts what it does", async () => {
    await test.post("/v1/completions", "{");
    await client.completions.create({ ...greedy, prompt: "the" });
    const text = await (await fetch(`${test.server.url}/metrics`)).text();
    expect(text).toMatch(
      /deepseek_ts_http_requests_total\{route="\/v1\/completions",method="POST",status="400"\} [1-9]/,
    );
    expect(text).toMatch(/deepseek_ts_first_token_seconds_count [1-9]/);
    expect(text).toMatch(/deepseek_ts_between_tokens_seconds_bucket\{le="\+Inf"\} [1-9]/);
    expect(text).toMatch(/process_resident_memory_bytes [1-9]/);
    for (const line of text.trimEnd().split("\n")) {
      expect(line).toMatch(/^(# (HELP|TYPE) \w+ .+|\w+(\{[^}]*\})? [-+0-9.eInf]+)$/);
    }
  });
});
