/** The server at its limits: full queues, keys, odd bodies, the end of the engine and of the server itself. */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import OpenAI from "openai";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { writeModelFolder } from "../engine/testing-folder.ts";
import { type RunningServer, type ServerOptions, startServer } from "./server.ts";
import { damageRow, post } from "./test-server.ts";

const folder = mkdtempSync(join(tmpdir(), "deepseek-ts-serve-"));
const open: RunningServer[] = [];
beforeAll(() => writeModelFolder(folder, { maxPositions: 4096, thinking: true }));
afterEach(async () => {
  await Promise.all(open.splice(0).map((server) => server.close(0)));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function start(engine: object = {}, options: Partial<ServerOptions> = {}): Promise<RunningServer> {
  const server = await startServer({
    port: 0,
    servedName: "tiny",
    engine: { model: folder, threads: 1, ...engine },
    ...options,
  });
  open.push(server);
  return server;
}

const clientOf = (server: RunningServer, apiKey = "any") =>
  new OpenAI({ baseURL: `${server.url}/v1`, apiKey, maxRetries: 0 });
const JSON_TYPE = { "content-type": "application/json" };
const messages = [{ role: "user" as const, content: "the of" }];

/** Never ends by itself before `max_tokens`. */
// Without a seed a reply may begin with `<think>`, and be all reasoning.
const endless = { model: "tiny", messages, ignore_eos: true, seed: 1 };

it("refuses what its queue does not hold with 429, and serves the rest", async () => {
  const server = await start({ maxBatch: 1, maxQueue: 2 });
  const body = { ...endless, max_tokens: 150 };
  const answers = await Promise.all(
    Array.from({ length: 12 }, () => post(server, "/v1/chat/completions", body)),
  );
  const served = answers.filter(({ status }) => status === 200);
  const refused = answers.filter(({ status }) => status === 429);
  expect(served.length + refused.length).toBe(12);
  expect(served.length).toBeGreaterThanOrEqual(3);
  expect(refused.length).toBeGreaterThan(0);
  for (const { headers, body } of refused) {
    expect(Number(headers.get("retry-after"))).toBeGreaterThan(0);
    expect(body.error).toMatchObject({ type: "rate_limit_error", code: "queue_full" });
  }
  for (const { body } of served) expect(body.usage.completion_tokens).toBe(150);
  // n choices that do not fit together leave nothing behind.
  const running = post(server, "/v1/chat/completions", body);
  const together = await post(server, "/v1/chat/completions", { ...body, n: 3 });
  expect([200, 429]).toContain(together.status);
  await running;
  const never = await post(server, "/v1/chat/completions", { ...body, n: 8 });
  expect(never).toMatchObject({ status: 400, body: { error: { param: "n", code: "too_many_choices" } } });
  expect(never.body.error.message).toContain("at most 3: 1 that run and 2 that wait");
  const after = await post(server, "/v1/chat/completions", { ...body, max_tokens: 3 });
  expect(after.status).toBe(200);
});

it("asks for one of its keys", async () => {
  const server = await start({}, { apiKeys: ["first", "second"] });
  for (const headers of [{}, { authorization: "Bearer other" }, { authorization: "first" }]) {
    const response = await fetch(`${server.url}/v1/models`, { headers: headers as Record<string, string> });
    expect(response.status).toBe(401);
    expect(response.headers.get("www-authenticate")).toBe("Bearer");
    expect((await response.json()).error.code).toBe("invalid_api_key");
  }
  expect((await fetch(`${server.url}/metrics`)).status).toBe(401);
  expect((await fetch(`${server.url}/health`)).status).toBe(200);
  expect((await clientOf(server, "first").models.list()).data).toHaveLength(1);
  const lower = { headers: { authorization: "bearer second" } };
  expect((await fetch(`${server.url}/v1/models`, lower)).status).toBe(200);
  await expect(clientOf(server, "firs").models.list()).rejects.toBeInstanceOf(OpenAI.AuthenticationError);
});

it("never answers a body with 500, whatever it is", async () => {
  const server = await start({ context: 64 });
  const valid = { messages, prompt: "the", max_tokens: 2, tokens: [1], text: "a" };
  const fields = fc.constantFrom(
    ...["messages", "prompt", "max_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "stop", "n"],
    ...["logprobs", "top_logprobs", "logit_bias", "stream", "stream_options", "tools", "tool_choice"],
    ...["response_format", "suffix", "echo", "tokens", "text", "chat_template_kwargs", "thinking"],
  );
  const value = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom("required", "none", { type: "json_object" }, [{ role: "tool", content: "" }], [[1]]),
    fc.double(),
    fc.integer({ min: -3, max: 80 }),
    fc.string({ unit: "binary" }),
    fc.jsonValue().map((schema) => ({ type: "json_schema", json_schema: { name: "a", schema } })),
    fc
      .jsonValue()
      .map((parameters) => [{ type: "function", function: { name: "f", parameters: { a: parameters } } }]),
  );
  const body = fc.oneof(
    {
      weight: 5,
      arbitrary: fc.dictionary(fields, value, { maxKeys: 3 }).map((odd) => ({ ...valid, ...odd })),
    },
    { weight: 1, arbitrary: fc.jsonValue() },
    { weight: 1, arbitrary: fc.string() },
  );
  const paths = ["/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize"];
  const statuses = new Set<number>();
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...paths), body, async (path, value) => {
      const text = typeof value === "string" ? value : JSON.stringify(value);
      const response = await fetch(server.url + path, { method: "POST", body: text, headers: JSON_TYPE });
      const answer = await response.text();
      statuses.add(response.status);
      expect([200, 400, 404]).toContain(response.status);
      if (response.status !== 200) expect(JSON.parse(answer).error.message).not.toBe("");
      else if (answer.startsWith("data: ")) expect(answer.endsWith("data: [DONE]\n\n")).toBe(true);
    }),
    { numRuns: 150 },
  );
  expect([...statuses]).toEqual(expect.arrayContaining([200, 400]));
  expect((await fetch(`${server.url}/health`)).status).toBe(200);
}, 120_000);

it("answers 500 where the model's output is no numbers, whatever the temperature, and goes on with others", async () => {
  const damaged = mkdtempSync(join(tmpdir(), "deepseek-ts-serve-"));
  await writeModelFolder(damaged, { maxPositions: 4096 });
  damageRow(damaged, "model.embed_tokens.weight", 300);
  const lines: string[] = [];
  const server = await start({ model: damaged }, { log: (line) => lines.push(line) });
  const ask = (prompt: number[], more: object = {}) =>
    post(server, "/v1/completions", { prompt, max_tokens: 40, logit_bias: { 300: -100 }, ...more });
  const other = ask([9, 10], { ignore_eos: true });
  for (const more of [{ temperature: 0 }, { temperature: 1 }, { temperature: 0, logprobs: 3 }]) {
    const { status, body } = await ask([9, 300], more);
    expect(status).toBe(500);
    expect(body.error).toMatchObject({ type: "server_error", code: "logits_not_finite" });
    expect(body.error.message).toContain("not finite");
  }
  const streamed = await fetch(`${server.url}/v1/completions`, {
    method: "POST",
    headers: JSON_TYPE,
    body: JSON.stringify({ prompt: [9, 300], stream: true }),
  });
  expect(await streamed.text()).toMatch(/^data: \{"error":.*not finite.*\}\n\n$/);
  expect((await other).body.usage.completion_tokens).toBe(40);
  expect(lines.join("\n")).toMatch(/^error: .*not finite/);
  rmSync(damaged, { recursive: true, force: true });
});

describe("a model that thinks", () => {
  it("has its reasoning apart from its answer", async () => {
    const server = await start();
    const close: number = (await post(server, "/tokenize", { text: "</think>", parse_special: true })).body
      .tokens[0];
    const ask = (more: object) =>
      post(server, "/v1/chat/completions", { ...endless, seed: 4, thinking: { type: "enabled" }, ...more });
    const only = await ask({ max_tokens: 20, logit_bias: { [close]: -100 } });
    expect(only.body.choices[0].message).toMatchObject({ role: "assistant", content: "" });
    expect(only.body.choices[0].message.reasoning_content.length).toBeGreaterThan(0);
    expect(only.body.usage.completion_tokens_details.reasoning_tokens).toBe(20);

    const format = {
      type: "json_schema",
      json_schema: { name: "x", schema: { type: "object", properties: {}, additionalProperties: false } },
    };
    const both = await ask({
      max_tokens: 300,
      ignore_eos: false,
      logit_bias: { [close]: 4 },
      response_format: format,
    });
    const [{ message, finish_reason }] = both.body.choices;
    expect(finish_reason).toBe("stop");
    expect(message.content).toBe("{}");
    expect(message.reasoning_content.length).toBeGreaterThan(0);

    const none = await ask({ max_tokens: 5, thinking: { type: "disabled" } });
    expect(none.body.choices[0].message.reasoning_content).toBeUndefined();
  });
});

describe("the end", () => {
  const stream = (server: RunningServer, maxTokens: number) =>
    clientOf(server).chat.completions.create({ ...endless, max_tokens: maxTokens, stream: true });

  it("lets streams finish and takes no more requests", async () => {
    const server = await start();
    const events = await stream(server, 200);
    const idle = await fetch(`${server.url}/health`);
    expect(idle.status).toBe(200);
    await idle.text();
    const closed = server.close(60);
    let text = 0;
    let end: string | null = null;
    for await (const { choices } of events) {
      text += choices[0].delta.content?.length ?? 0;
      end = choices[0].finish_reason ?? end;
    }
    await closed;
    expect(text).toBeGreaterThan(50);
    expect(end).toBe("length");
    await expect(fetch(`${server.url}/health`)).rejects.toThrow();
  });

  it("cuts off what takes longer than it may, and says so", async () => {
    const server = await start();
    const events = await stream(server, 4000);
    const reader = (async () => {
      for await (const _ of events);
    })();
    const refused = expect(reader).rejects.toThrow(/shutting down/);
    await server.close(0.1);
    await refused;
  });

  it("of the engine is told to everybody", async () => {
    const lines: string[] = [];
    const server = await start({}, { log: (line) => lines.push(line) });
    const events = await stream(server, 4000);
    const reader = (async () => {
      for await (const _ of events);
    })();
    const told = expect(reader).rejects.toThrow(/engine has failed/);
    await server.engine.terminate();
    await told;
    expect(await server.failed).toMatch(/ended with code/);
    for (const path of ["/health", "/metrics", "/v1/models", "/"]) {
      const response = await fetch(server.url + path);
      expect(response.status).toBe(503);
      expect((await response.json()).error).toMatchObject({ code: "engine_failed", type: "server_error" });
    }
    expect((await post(server, "/v1/chat/completions", { messages })).status).toBe(503);
    expect(lines.join("\n")).toContain("the engine failed");
  });

  it("comes before the beginning where the model does not open or the port is taken", async () => {
    await expect(start({ model: join(folder, "nothing") })).rejects.toThrow(/nothing/);
    const other = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => other.once("listening", resolve));
    const { port } = other.address() as AddressInfo;
    await expect(start({}, { port })).rejects.toThrow(/another program listens on this port\. Choose/);
    other.close();
    const given = new AbortController();
    const starting = start({}, { signal: given.signal });
    given.abort();
    await expect(starting).rejects.toThrow();
  });
});
