/** The server around generation: what it refuses, models, cross-origin requests, canceling, health, metrics. */
import { connect } from "node:net";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { greedy, raw, startTestServer, type TestServer, until, user } from "./test-server.ts";

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
    const headers = { "content-type": "application/json" };
    const request = { method: "POST", body, headers, duplex: "half" } as RequestInit;
    expect((await fetch(`${test.server.url}/v1/completions`, request)).status).toBe(413);
  });
});

describe("who may ask", () => {
  const head = (...lines: string[]) =>
    ["POST /v1/completions HTTP/1.1", "connection: close", ...lines, "", ""].join("\r\n");
  const body = '{"prompt":"a","max_tokens":1}';
  const json = ["content-type: application/json", `content-length: ${body.length}`];

  it.each([
    ["a host of this machine", ["host: localhost:1", ...json], 200, "text_completion"],
    ["a page of this machine", ["host: localhost", "origin: http://localhost:3000", ...json], 200, "usage"],
    ["a page that is allowed", ["host: localhost", "origin: http://page.example", ...json], 200, "usage"],
    ["another host", ["host: evil.example", ...json], 403, "host_not_allowed"],
    ["another page", ["host: localhost", "origin: http://evil.example", ...json], 403, "origin_not_allowed"],
    ["a frame", ["host: localhost", "origin: null", ...json], 403, "origin_not_allowed"],
    ["no host", json, 400, ""],
    ["a host that is none", ["host: a b", ...json], 400, ""],
    ["text", ["host: localhost", "content-type: text/plain", json[1]], 415, "unsupported_media_type"],
    ["no type", ["host: localhost", json[1]], 415, "unsupported_media_type"],
    [
      "a form",
      ["host: localhost", "content-type: application/x-www-form-urlencoded", json[1]],
      415,
      "application/json",
    ],
    [
      "JSON with a charset",
      ["host: localhost", "Content-Type: Application/JSON; Charset=UTF-8", json[1]],
      200,
      "",
    ],
    ["JSON of a kind", ["host: localhost", "content-type: application/vnd.a+json", json[1]], 200, ""],
    ["no charset", ["host: localhost", "content-type: application/json; charset=x", json[1]], 415, "charset"],
  ] as [string, string[], number, string][])("%s", async (_, lines, status, says) => {
    const answer = await raw(test.server, head(...lines) + body);
    expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect(answer).toContain(says);
  });

  it("reads a body in the charset that it names", async () => {
    const bytes = Buffer.from('{"text":"Grüße"}', "latin1");
    const lines = ["host: localhost", "content-type: application/json; charset=iso-8859-1"];
    const text = `${head(...lines, `content-length: ${bytes.length}`)}`.replace(
      "/v1/completions",
      "/tokenize",
    );
    const answer = await raw(test.server, Buffer.concat([Buffer.from(text), bytes]));
    const { tokens } = (await test.post("/tokenize", { text: "Grüße" })).body;
    expect(answer).toContain(JSON.stringify(tokens));
  });
});

describe("below HTTP", () => {
  it.each([
    ["no HTTP", "hello\r\n\r\n", "400 Bad Request", "invalid_http"],
    ["headers too large", `GET / HTTP/1.1\r\nx: ${"a".repeat(20_000)}\r\n\r\n`, "431 ", "headers_too_large"],
    [
      "a length that is none",
      "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n",
      "400 ",
      "invalid_http",
    ],
    [
      "two lengths",
      "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
      "400 ",
      "invalid_http",
    ],
    [
      "a target that is none",
      "GET /\\x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
      "400 ",
      "invalid_url",
    ],
  ])("%s", async (_, bytes, status, code) => {
    const answer = await raw(test.server, bytes);
    expect(answer).toContain(`HTTP/1.1 ${status}`);
    const { error } = JSON.parse(answer.slice(answer.indexOf("{")));
    expect(error).toMatchObject({ type: "invalid_request_error", code, param: null });
  });

  it("ends a connection whose chunks are none", async () => {
    const answer = await raw(
      test.server,
      "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n" +
        "transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    );
    expect(answer === "" || answer.startsWith("HTTP/1.1 400")).toBe(true);
    expect((await fetch(`${test.server.url}/health`)).status).toBe(200);
  });

  it("answers requests that come together in their order", async () => {
    const get = (path: string, end = "") => `GET ${path} HTTP/1.1\r\nhost: localhost\r\n${end}\r\n`;
    const answer = await raw(
      test.server,
      get("/health") + get("/v1/models") + get("/none") + get("/", "connection: close\r\n"),
    );
    const statuses = [...answer.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status);
    expect(statuses).toEqual(["200", "200", "404", "200"]);
  });
});

describe("around generation", () => {
  it("answers at DeepSeek's addresses and others that clients make", async () => {
    for (const path of [
      "/chat/completions",
      "/beta/chat/completions",
      "//v1//chat/completions/",
      "/v1/v1/chat/completions",
    ]) {
      const { status } = await test.post(path, { ...greedy, messages: user("a"), max_tokens: 1 });
      expect(status).toBe(200);
    }
    const answer = await test.post("/beta/completions", {
      prompt: "a",
      max_tokens: 1,
      model: "deepseek-chat",
    });
    expect(answer.body.model).toBe("deepseek-chat");
    expect((await (await fetch(`${test.server.url}/models/`)).json()).data).toHaveLength(2);
    const counted = await test.metric(
      'deepseek_ts_http_requests_total{route="/v1/chat/completions",method="POST",status="200"}',
    );
    expect(counted).toBeGreaterThanOrEqual(4);
  });

  it("lists the model", async () => {
    const { data } = await client.models.list();
    expect(data.map(({ id }) => id)).toEqual(["tiny", "deepseek-chat"]);
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
    const before = await test.metric('deepseek_ts_generations_total{reason="canceled"}');
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
      async () => (await test.metric('deepseek_ts_generations_total{reason="canceled"}')) === before + 2,
    );
    expect(await test.metric("deepseek_ts_jobs_active")).toBe(0);
  });

  it("thinks nothing of a client that leaves in the middle of its body", async () => {
    const { hostname, port } = new URL(test.server.url);
    const socket = connect(Number(port), hostname);
    socket.write(
      "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n" +
        "content-length: 100\r\n\r\n{",
    );
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
