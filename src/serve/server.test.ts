/** Chat and completions as OpenAI's own client sees them. */
import type OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { logProbability } from "../engine/token-sampler.ts";
import { load } from "../pretrained/node-load.ts";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import { TOKEN } from "../tokenizer/families.ts";
import { greedy, startTestServer, type TestServer, user } from "./test-server.ts";

let test: TestServer;
let client: OpenAI;
beforeAll(async () => {
  test = await startTestServer();
  client = test.client;
});
afterAll(() => test[Symbol.asyncDispose]());

describe("chat", () => {
  it("answers in one piece, with usage and what identifies the model", async () => {
    const answer = await client.chat.completions.create({ ...greedy, messages: user("the of and") });
    expect(answer).toMatchObject({ object: "chat.completion", model: "tiny" });
    expect(answer.id).toMatch(/^chatcmpl-/);
    expect(answer.system_fingerprint).toMatch(/^fp_[0-9a-f]{12}$/);
    const [{ message, finish_reason, index }] = answer.choices;
    expect({ index, role: message.role, finish_reason }).toEqual({
      index: 0,
      role: "assistant",
      finish_reason: "length",
    });
    expect(message.content?.length).toBeGreaterThan(0);
    const { body } = await test.post("/tokenize", { messages: user("the of and") });
    expect(answer.usage).toMatchObject({
      prompt_tokens: body.count,
      completion_tokens: 12,
      total_tokens: body.count + 12,
    });
  });

  it("streams the same text in order: role, content, end, usage", async () => {
    const whole = await client.chat.completions.create({ ...greedy, messages: user("not this, that") });
    const stream = await client.chat.completions.create({
      ...greedy,
      messages: user("not this, that"),
      stream: true,
      stream_options: { include_usage: true },
    });
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    expect(chunks[0].choices[0].delta).toEqual({ role: "assistant", content: null, refusal: null });
    // An empty text would stand for one that has begun.
    expect(chunks.some((chunk) => chunk.choices[0]?.delta.content === "")).toBe(false);
    expect(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("")).toBe(
      whole.choices[0].message.content,
    );
    const ends = chunks.map((chunk) => chunk.choices[0]?.finish_reason ?? null);
    expect(ends.filter((reason) => reason !== null)).toEqual(["length"]);
    expect(ends.at(-2)).toBe("length");
    expect(chunks.at(-1)?.choices).toEqual([]);
    expect(chunks.at(-1)?.usage?.completion_tokens).toBe(12);
    expect(chunks.slice(0, -1).every((chunk) => chunk.usage === null)).toBe(true);
    expect(new Set(chunks.map((chunk) => chunk.id)).size).toBe(1);
    expect(chunks.length).toBeGreaterThan(5);
  });

  it("finds the beginning of a conversation in the cache", async () => {
    const first = user("a long beginning of this conversation, which was had before by one and not by two");
    const { choices } = await client.chat.completions.create({ ...greedy, messages: first });
    const answer = { role: "assistant" as const, content: choices[0].message.content };
    const next = await client.chat.completions.create({
      ...greedy,
      messages: [...first, answer, ...user("and?")],
    });
    expect(next.usage?.prompt_tokens_details?.cached_tokens).toBeGreaterThan(20);
  });

  it("gives the same text for the same seed and others for others", async () => {
    const ask = async (seed?: number) => {
      const answer = await client.chat.completions.create({
        model: "tiny",
        messages: user("be"),
        max_tokens: 20,
        seed,
      });
      return answer.choices[0].message.content;
    };
    const [a, b, c, d, e] = await Promise.all([ask(7), ask(7), ask(8), ask(), ask()]);
    expect(a).toBe(b);
    expect(new Set([a, c, d, e]).size).toBe(4);
  });

  it("gives n choices, each its own", async () => {
    const options = { model: "tiny", messages: user("be"), max_tokens: 10, n: 3, seed: 1 };
    const { choices, usage } = await client.chat.completions.create(options);
    expect(choices.map(({ index }) => index)).toEqual([0, 1, 2]);
    expect(new Set(choices.map(({ message }) => message.content)).size).toBe(3);
    expect(usage?.completion_tokens).toBe(30);
    const texts = ["", "", ""];
    for await (const chunk of await client.chat.completions.create({ ...options, stream: true })) {
      for (const { index, delta } of chunk.choices) texts[index] += delta.content ?? "";
    }
    expect(texts).toEqual(choices.map(({ message }) => message.content));
  });

  it("scores its tokens as the model does", async () => {
    const messages = user("the of and");
    const answer = await client.chat.completions.create({
      ...greedy,
      messages,
      logprobs: true,
      top_logprobs: 3,
    });
    const entries = answer.choices[0].logprobs!.content!;
    expect(entries).toHaveLength(12);
    for (const { logprob, top_logprobs: top } of entries) {
      expect(top.map((other) => other.logprob)).toEqual(
        [...top.map((other) => other.logprob)].sort((a, b) => b - a),
      );
      // Greedy: the token is the likeliest.
      expect(logprob).toBe(top[0].logprob);
      expect(top.reduce((sum, other) => sum + Math.exp(other.logprob), 0)).toBeLessThanOrEqual(1 + 1e-6);
    }

    await using device = await createCpuDevice({ threads: 1 });
    await using loaded = await load(test.folder, { device });
    const { model, tokenizer } = loaded;
    const byBytes = new Map<string, number>();
    for (let id = tokenizer!.vocabSize - 1; id >= 0; id--) {
      if (tokenizer!.tokenOf(id) !== undefined) byBytes.set(tokenizer!.bytesOf(id).join(), id);
    }
    const ids = entries.map(({ bytes }) => byBytes.get(bytes!.join())!);
    const prompt: number[] = (await test.post("/tokenize", { messages })).body.tokens;
    using hidden = model.hidden(model.ids([[...prompt, ...ids]]));
    const [, tokens, d] = hidden.shape;
    using output = model.logits(hidden.view([tokens, d]));
    const rows = (await output.data()) as Float32Array;
    const width = output.shape[1];
    const wanted = ids.map((id, i) => {
      const at = prompt.length - 1 + i;
      return logProbability(rows.subarray(at * width, (at + 1) * width), id, tokenizer!.vocabSize);
    });
    const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);
    expect(sum(entries.map(({ logprob }) => logprob))).toBeCloseTo(sum(wanted), 2);
  });

  it("follows a bias, and stops at a string that spans tokens", async () => {
    const of = await test.tokenId(" of");
    const options = { ...greedy, messages: user("be"), logit_bias: { [of]: 100 } };
    const free = await client.chat.completions.create(options);
    expect(free.choices[0].message.content).toBe(" of".repeat(12));
    const stopped = await client.chat.completions.create({ ...options, stop: ["of of of", "f of o"] });
    expect(stopped.choices[0]).toMatchObject({ finish_reason: "stop", message: { content: " o" } });
    let text = "";
    for await (const chunk of await client.chat.completions.create({
      ...options,
      stop: "f of o",
      stream: true,
    })) {
      text += chunk.choices[0].delta.content ?? "";
    }
    expect(text).toBe(" o");
    expect((await client.chat.completions.create({ ...options, stop: " x" })).choices[0].finish_reason).toBe(
      "length",
    );
  });

  it("runs two streams at once", async () => {
    const order: number[] = [];
    const run = async (which: number) => {
      const stream = await client.chat.completions.create({
        ...greedy,
        max_tokens: 60,
        messages: user(`stream ${which}`),
        stream: true,
      });
      for await (const _ of stream) order.push(which);
    };
    await Promise.all([run(0), run(1)]);
    expect(order.indexOf(1)).toBeLessThan(order.lastIndexOf(0));
    expect(order.indexOf(0)).toBeLessThan(order.lastIndexOf(1));
  });
});

describe("forms of answers", () => {
  const schema = {
    type: "object",
    properties: {
      ok: { type: "boolean" },
      kind: { enum: ["one", "two"] },
      size: { type: "integer", minimum: 0, maximum: 999 },
      tags: { type: "array", items: { enum: ["a", "b"] }, maxItems: 2 },
    },
    required: ["ok", "kind", "size", "tags"],
    additionalProperties: false,
  };

  it("are JSON by a schema", async () => {
    for (const seed of [1, 2, 3]) {
      const answer = await client.chat.completions.create({
        model: "tiny",
        messages: user("be"),
        seed,
        max_tokens: 200,
        response_format: { type: "json_schema", json_schema: { name: "thing", schema, strict: true } },
      });
      const [{ message, finish_reason }] = answer.choices;
      expect(finish_reason).toBe("stop");
      const value = JSON.parse(message.content!);
      expect(Object.keys(value).sort()).toEqual(["kind", "ok", "size", "tags"]);
      expect(typeof value.ok).toBe("boolean");
      expect(["one", "two"]).toContain(value.kind);
      expect(value.size).toBeGreaterThanOrEqual(0);
      expect(value.size).toBeLessThanOrEqual(999);
      for (const tag of value.tags) expect(["a", "b"]).toContain(tag);
    }
  });

  it("are a JSON object where any will do", async () => {
    const close = await test.tokenId("}");
    const answer = await client.chat.completions.create({
      model: "tiny",
      messages: user("be"),
      seed: 1,
      max_tokens: 200,
      // A random model would not find an end by itself.
      logit_bias: { [close]: 20, [await test.tokenId('"')]: 10 },
      response_format: { type: "json_object" },
    });
    expect(answer.choices[0].finish_reason).toBe("stop");
    expect(typeof JSON.parse(answer.choices[0].message.content!)).toBe("object");
  });

  it("refuse a schema that cannot be followed, with the place", async () => {
    const { status, body } = await test.post("/v1/chat/completions", {
      messages: user("be"),
      response_format: { type: "json_schema", json_schema: { name: "x", schema: { type: "nonsense" } } },
    });
    expect(status).toBe(400);
    expect(body.error.param).toBe("response_format.json_schema.schema");
  });

  const tools = [
    {
      type: "function" as const,
      function: {
        name: "get_weather",
        description: "Weather of a place",
        parameters: {
          type: "object",
          properties: { place: { enum: ["Paris", "Rome"] } },
          required: ["place"],
          additionalProperties: false,
        },
      },
    },
    {
      type: "function" as const,
      function: { name: "get", parameters: { type: "object", properties: {}, additionalProperties: false } },
    },
  ];

  it("are calls of tools, whose results are answered", async () => {
    const messages: OpenAI.ChatCompletionMessageParam[] = user("weather?");
    const options = { model: "tiny", tools, seed: 3, max_tokens: 100 };
    const choice = { type: "function" as const, function: { name: "get_weather" } };
    const first = await client.chat.completions.create({ ...options, messages, tool_choice: choice });
    const [{ message, finish_reason }] = first.choices;
    expect({ finish_reason, content: message.content }).toEqual({
      finish_reason: "tool_calls",
      content: null,
    });
    const [call] = message.tool_calls!;
    if (call.type !== "function") throw new Error(call.type);
    expect(call.function.name).toBe("get_weather");
    expect(["Paris", "Rome"]).toContain(JSON.parse(call.function.arguments).place);

    messages.push(message, { role: "tool", tool_call_id: call.id, content: "21 degrees" });
    const second = await client.chat.completions.create({ ...options, messages, tool_choice: "none" });
    expect(second.choices[0].message.tool_calls).toBeUndefined();
    expect(second.usage!.prompt_tokens).toBeGreaterThan(message.tool_calls!.length);
  });

  it("leave nothing of a forced call in the content, wherever the limit cuts it", async () => {
    const options = { model: "tiny", tools, seed: 3, tool_choice: "required" as const };
    const messages = user("weather?");
    let named = 0;
    const limits = [1, 2, 3, 5, 8, 12, 18, 26, 36, 50];
    for (const limit of limits) {
      const cut = { ...options, messages, max_tokens: limit };
      const { message } = (await client.chat.completions.create(cut)).choices[0];
      expect(message.content ?? "").toBe("");
      if (message.tool_calls) named++;
      for await (const { choices } of await client.chat.completions.create({ ...cut, stream: true }))
        expect(choices[0].delta.content ?? "").toBe("");
    }
    // Cuts before and behind the name.
    expect(named).toBeGreaterThan(0);
    expect(named).toBeLessThan(limits.length);
  });

  it("are forced though the schema of one tool cannot be followed, unless it is strict", async () => {
    const odd = (strict: boolean) => ({
      type: "function" as const,
      function: { name: "odd", strict, parameters: { type: "object", contains: { type: "null" } } },
    });
    const ask = (strict: boolean) =>
      test.post("/v1/chat/completions", {
        ...{ messages: user("weather?"), tools: [...tools, odd(strict)], seed: 3, max_tokens: 100 },
        ...{ tool_choice: "required" },
      });
    const { status, body } = await ask(false);
    expect([status, body.choices?.[0].message.tool_calls]).toEqual([200, [expect.anything()]]);
    const refused = await ask(true);
    expect(refused.status).toBe(400);
    expect(refused.body.error.message).toMatch(/tool 'odd'.*contains is not supported/);
    expect(refused.body.error.param).toBe("tools[2].function.parameters");
  });

  it("have arguments by the schema where the model decides to call a strict tool", async () => {
    const strict = tools.map((tool) => ({ ...tool, function: { ...tool.function, strict: true } }));
    const begin = await test.tokenId(TOKEN.toolCallsBegin);
    const close = await test.tokenId(TOKEN.toolCallsEnd);
    const ask = (seed: number, options: object) =>
      client.chat.completions.create({
        ...{ model: "tiny", messages: user("weather?"), tools: strict, seed, max_tokens: 300 },
        ...options,
      });
    let texts = 0;
    let several = 0;
    for (const seed of [1, 2, 3, 4]) {
      // A random model calls, and goes on calling, only if it is pushed.
      const pushed = await ask(seed, { logit_bias: { [begin]: 8, [close]: seed > 2 ? -1 : 0 } });
      const [{ message, finish_reason }] = pushed.choices;
      expect(finish_reason).toBe("tool_calls");
      for (const call of message.tool_calls!) {
        if (call.type !== "function") throw new Error(call.type);
        const args = JSON.parse(call.function.arguments);
        if (call.function.name === "get_weather") expect(["Paris", "Rome"]).toContain(args.place);
        else expect(call.function.name).toBe("get");
      }
      if (message.content) texts++;
      if (message.tool_calls!.length > 1) several++;
      const one = await ask(seed, { logit_bias: { [begin]: 8, [close]: -2 }, parallel_tool_calls: false });
      expect(one.choices[0].message.tool_calls).toHaveLength(1);
      const held = await ask(seed, { logit_bias: { [begin]: -100 } });
      expect(held.choices[0].message.tool_calls).toBeUndefined();
      expect(held.choices[0].message.content).not.toBe("");
    }
    expect(several).toBeGreaterThan(0);
    expect(texts).toBeGreaterThan(0);
  });

  it("are calls of the allowed tools alone, the model being told of all", async () => {
    const begin = await test.tokenId(TOKEN.toolCallsBegin);
    const allow = (mode: "auto" | "required", name: string) => ({
      type: "allowed_tools" as const,
      allowed_tools: { mode, tools: [{ type: "function", function: { name } }] },
    });
    const ask = (choice: OpenAI.ChatCompletionToolChoiceOption, bias: number) =>
      client.chat.completions.create({
        ...{ model: "tiny", messages: user("weather?"), tools, seed: 3, max_tokens: 200 },
        ...{ tool_choice: choice, logit_bias: { [begin]: bias } },
      });
    const free = await ask("auto", -100);
    for (const { function: tool } of tools) {
      for (const mode of ["auto", "required"] as const) {
        const { choices, usage } = await ask(allow(mode, tool.name), 100);
        const names = choices[0].message.tool_calls!.map((call) => "function" in call && call.function.name);
        expect(new Set(names)).toEqual(new Set([tool.name]));
        expect(usage!.prompt_tokens).toBe(free.usage!.prompt_tokens);
      }
      const text = await ask(allow("auto", tool.name), -100);
      expect(text.choices[0].message.tool_calls).toBeUndefined();
    }
  });

  it("are JSON or calls where both are asked for", async () => {
    const begin = await test.tokenId(TOKEN.toolCallsBegin);
    const ask = (bias: number) =>
      client.chat.completions.create({
        ...{ model: "tiny", messages: user("weather?"), tools: [tools[0]], seed: 1, max_tokens: 200 },
        logit_bias: { [begin]: bias },
        response_format: { type: "json_schema", json_schema: { name: "thing", schema, strict: true } },
      });
    const [json] = (await ask(-100)).choices;
    expect(Object.keys(JSON.parse(json.message.content!)).sort()).toEqual(["kind", "ok", "size", "tags"]);
    const [call] = (await ask(100)).choices;
    expect(call.message.content).toBeNull();
    expect(call.message.tool_calls?.[0]).toMatchObject({ function: { name: "get_weather" } });
  });

  it("are calls in the older form where functions are given in it", async () => {
    const functions = tools.map((tool) => tool.function);
    const body = { model: "tiny", functions, seed: 3, max_tokens: 100 };
    const messages: OpenAI.ChatCompletionMessageParam[] = user("weather?");
    const forced = { ...body, messages, function_call: { name: "get_weather" } };
    const [{ message, finish_reason }] = (await client.chat.completions.create(forced)).choices;
    expect(finish_reason).toBe("function_call");
    expect(message.tool_calls).toBeUndefined();
    const { name, arguments: text } = message.function_call!;
    expect(name).toBe("get_weather");
    expect(["Paris", "Rome"]).toContain(JSON.parse(text).place);

    const parts: OpenAI.ChatCompletionChunk.Choice.Delta.FunctionCall[] = [];
    let end: string | null = null;
    for await (const { choices } of await client.chat.completions.create({ ...forced, stream: true })) {
      expect(choices[0].delta.tool_calls).toBeUndefined();
      if (choices[0].delta.function_call) parts.push(choices[0].delta.function_call);
      end = choices[0].finish_reason ?? end;
    }
    expect(end).toBe("function_call");
    expect(parts.map((part) => part.name ?? "").join("")).toBe("get_weather");
    expect(["Paris", "Rome"]).toContain(JSON.parse(parts.map((part) => part.arguments ?? "").join("")).place);

    const results = [message, { role: "function" as const, name, content: "21 degrees" }];
    const next = await client.chat.completions.create({
      ...{ ...body, function_call: "none" as const, max_tokens: 3 },
      messages: [...messages, ...results],
    });
    expect(next.choices[0].message.content).not.toBeNull();
    // It is the conversation that it is in the present form.
    const same = await client.chat.completions.create({
      ...{ model: "tiny", tools, tool_choice: "none", max_tokens: 3 },
      messages: [
        ...messages,
        {
          role: "assistant",
          tool_calls: [{ id: "c", type: "function", function: { name, arguments: text } }],
        },
        { role: "tool", tool_call_id: "c", content: "21 degrees" },
      ],
    });
    expect(next.usage!.prompt_tokens).toBe(same.usage!.prompt_tokens);
  });

  it("stream calls in parts: id and name first, then the arguments", async () => {
    const stream = await client.chat.completions.create({
      model: "tiny",
      tools,
      messages: user("weather?"),
      seed: 5,
      max_tokens: 100,
      tool_choice: "required",
      stream: true,
    });
    const parts: OpenAI.ChatCompletionChunk.Choice.Delta.ToolCall[] = [];
    let end: string | null = null;
    for await (const { choices } of stream) {
      parts.push(...(choices[0].delta.tool_calls ?? []));
      end = choices[0].finish_reason ?? end;
    }
    expect(end).toBe("tool_calls");
    expect(parts[0]).toMatchObject({ index: 0, type: "function" });
    expect(parts[0].id).toMatch(/^call_/);
    expect(["get_weather", "get"]).toContain(parts[0].function?.name);
    expect(parts.slice(1).every((part) => part.id === undefined && part.index === 0)).toBe(true);
    expect(() => JSON.parse(parts.map((part) => part.function?.arguments ?? "").join(""))).not.toThrow();
  });
});

describe("completions", () => {
  it("continue texts and ids, several at once", async () => {
    const { body } = await test.post("/tokenize", { text: "the of" });
    const options = { ...greedy, max_tokens: 6 };
    const text = await client.completions.create({ ...options, prompt: "the of" });
    const ids = await client.completions.create({ ...options, prompt: body.tokens });
    const both = await client.completions.create({ ...options, prompt: ["the of", "and to"], n: 2 });
    expect(text.object).toBe("text_completion");
    expect(ids.choices[0].text).toBe(text.choices[0].text);
    expect(both.choices.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    expect(both.choices[0].text).toBe(text.choices[0].text);
    expect(both.choices[1].text).toBe(text.choices[0].text);
    expect(both.usage).toMatchObject({ completion_tokens: 24 });
  });

  it("repeat the prompt, score tokens, fill in the middle and stream", async () => {
    const options = { ...greedy, max_tokens: 6, prompt: "export const" };
    const plain = await client.completions.create(options);
    const echoed = await client.completions.create({ ...options, echo: true });
    expect(echoed.choices[0].text).toBe(`export const${plain.choices[0].text}`);
    const scored = await client.completions.create({ ...options, logprobs: 2 });
    const { tokens, token_logprobs, top_logprobs, text_offset } = scored.choices[0].logprobs!;
    expect([tokens, token_logprobs, top_logprobs, text_offset].map((list) => list?.length)).toEqual([
      6, 6, 6, 6,
    ]);
    const filled = await client.completions.create({ ...options, suffix: ";" });
    expect(filled.usage!.prompt_tokens).toBe(plain.usage!.prompt_tokens + 4);
    let text = "";
    for await (const chunk of await client.completions.create({ ...options, stream: true })) {
      text += chunk.choices[0].text;
    }
    expect(text).toBe(plain.choices[0].text);
  });

  it("tell texts and ids from each other", async () => {
    const { body } = await test.post("/tokenize", { text: "Grüße, 你好 the" });
    expect((await test.post("/detokenize", { tokens: body.tokens })).body.text).toBe("Grüße, 你好 the");
    expect((await test.post("/detokenize", { tokens: [99_999] })).status).toBe(400);
  });
});
