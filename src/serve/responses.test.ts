/** POST /v1/responses as OpenAI's own client sees it. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import OpenAI from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { writeModelFolder } from "../engine/testing-folder.ts";
import { startServer } from "./server.ts";
import { post, startTestServer, type TestServer, user } from "./test-server.ts";

let test: TestServer;
let client: OpenAI;
beforeAll(async () => {
  test = await startTestServer();
  client = test.client;
});
afterAll(() => test[Symbol.asyncDispose]());

const greedy = { model: "tiny", temperature: 0, max_output_tokens: 12 };
const weather = {
  type: "function" as const,
  name: "get_weather",
  parameters: {
    type: "object",
    properties: { place: { enum: ["Paris", "Rome"] } },
    required: ["place"],
    additionalProperties: false,
  },
  strict: true,
};

describe("responses", () => {
  it("are the chat's answers, whole and streamed", async () => {
    const chat = await client.chat.completions.create({
      ...{ model: "tiny", temperature: 0, max_tokens: 12 },
      messages: [{ role: "system", content: "s" }, ...user("the of")],
    });
    const body = { ...greedy, instructions: "s", input: "the of" };
    const whole = await client.responses.create(body);
    expect(whole.output_text).toBe(chat.choices[0].message.content);
    expect(whole.usage).toMatchObject({ input_tokens: chat.usage!.prompt_tokens, output_tokens: 12 });
    expect(whole).toMatchObject({
      object: "response",
      model: "tiny",
      status: "incomplete",
      instructions: "s",
    });
    expect(whole.id).toMatch(/^resp_/);

    const stream = client.responses.stream(body);
    let text = "";
    const numbers: number[] = [];
    for await (const event of stream) {
      numbers.push(event.sequence_number);
      if (event.type === "response.output_text.delta") text += event.delta;
    }
    expect(numbers).toEqual(numbers.map((_, i) => i));
    expect(text).toBe(whole.output_text);
    const final = await stream.finalResponse();
    expect(final.output_text).toBe(whole.output_text);
    expect(final.status).toBe("incomplete");
    expect(final.usage?.total_tokens).toBe(whole.usage!.total_tokens);
  });

  it("go on from what they gave", async () => {
    const first = await client.responses.create({ ...greedy, input: "the of" });
    const next = await client.responses.create({
      ...greedy,
      input: [
        ...user("the of"),
        ...(first.output as OpenAI.Responses.ResponseInputItem[]),
        { type: "message", role: "user", content: "and" },
      ],
    });
    const chat = await client.chat.completions.create({
      ...{ model: "tiny", temperature: 0, max_tokens: 12 },
      messages: [...user("the of"), { role: "assistant", content: first.output_text }, ...user("and")],
    });
    expect(next.output_text).toBe(chat.choices[0].message.content);
    expect(next.usage!.input_tokens).toBe(chat.usage!.prompt_tokens);
  });

  it("call tools, and take their results", async () => {
    const body = { model: "tiny", tools: [weather], max_output_tokens: 200 };
    const choice = { tool_choice: { type: "function" as const, name: "get_weather" } };
    const first = await client.responses.create({ ...body, ...choice, input: "weather?" });
    const [call] = first.output;
    if (call.type !== "function_call") throw new Error(call.type);
    expect(call).toMatchObject({ name: "get_weather", status: "completed" });
    expect(["Paris", "Rome"]).toContain(JSON.parse(call.arguments).place);

    const stream = client.responses.stream({ ...body, input: "weather?", tool_choice: "required" });
    const seen: string[] = [];
    let args = "";
    for await (const event of stream) {
      seen.push(event.type);
      if (event.type === "response.function_call_arguments.delta") args += event.delta;
    }
    const [streamed] = (await stream.finalResponse()).output;
    expect(streamed).toMatchObject({
      type: "function_call",
      arguments: args,
      call_id: expect.stringMatching(/^call_/),
    });
    expect(seen.at(-1)).toBe("response.completed");

    const second = await client.responses.create({
      ...{ ...body, max_output_tokens: 4, tool_choice: "none" },
      input: [
        ...user("weather?"),
        call,
        { type: "function_call_output", call_id: call.call_id, output: "21" },
      ],
    });
    expect(second.output[0].type).toBe("message");
  });

  it("follow a schema, which the client parses", async () => {
    const schema = z.object({ ok: z.boolean(), kind: z.enum(["one", "two"]) });
    const answer = await client.responses.parse({
      ...{ model: "tiny", max_output_tokens: 200, input: "be" },
      text: { format: zodTextFormat(schema, "thing") },
    });
    expect(schema.safeParse(answer.output_parsed).success).toBe(true);
    expect(answer.status).toBe("completed");
  });

  it("score their tokens", async () => {
    const answer = await client.responses.create({
      ...{ ...greedy, input: "the of", top_logprobs: 2 },
      include: ["message.output_text.logprobs"],
    });
    const [message] = answer.output;
    const [part] = message.type === "message" ? message.content : [];
    if (part.type !== "output_text") throw new Error(part.type);
    expect(part.logprobs).toHaveLength(12);
    expect(part.logprobs!.every(({ top_logprobs: top }) => top.length === 2)).toBe(true);
    // Control tokens are scored, but never printed.
    const printed = part.logprobs!.filter(({ token }) => !token.startsWith("<\uFF5C"));
    expect(printed.map(({ token }) => token).join("")).toBe(part.text);
  });

  it("are not stored: what asks for that is refused by name", async () => {
    const error = (asked: Promise<unknown>) =>
      asked.catch((error: unknown) => error as InstanceType<typeof OpenAI.APIError>);
    expect(
      await error(client.responses.create({ ...greedy, input: "a", previous_response_id: "resp_1" })),
    ).toMatchObject({
      ...{ status: 400, param: "previous_response_id", code: "unsupported_parameter" },
    });
    for (const asked of [
      () => client.responses.retrieve("resp_1"),
      () => client.responses.delete("resp_1"),
      () => client.responses.cancel("resp_1"),
      () => client.responses.inputItems.list("resp_1"),
    ]) {
      expect(await error(asked() as Promise<unknown>)).toMatchObject({
        status: 404,
        code: "response_not_stored",
      });
    }
  });

  it("name the request's own fields in errors that only the model's thread can see", async () => {
    const param = async (body: object) =>
      (await test.post("/v1/responses", { input: "a", ...body })).body.error.param;
    expect(await param({ input: "x, ".repeat(5000) })).toBe("input");
    const format = { type: "json_schema", name: "x", schema: { type: "nonsense" } };
    expect(await param({ text: { format } })).toBe("text.format.schema");
    expect(await param({ logit_bias: { 99999: 1 } })).toBe("logit_bias");
  });
});

describe("a model that thinks", () => {
  const folder = mkdtempSync(join(tmpdir(), "deepseek-ts-responses-"));
  beforeAll(() => writeModelFolder(folder, { maxPositions: 1024, thinking: true }));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it("has its reasoning as an item, by effort, in both interfaces", async () => {
    const server = await startServer({ port: 0, servedName: "tiny", engine: { model: folder, threads: 1 } });
    try {
      const thinker = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "any", maxRetries: 0 });
      const close = (await post(server, "/tokenize", { text: "</think>", parse_special: true })).body
        .tokens[0];
      const body = { model: "tiny", max_output_tokens: 8, input: "the of" };
      const ask = (effort: "none" | "high", bias: number) =>
        thinker.responses.create({
          ...body,
          reasoning: { effort },
          ...{ logit_bias: { [close]: bias }, seed: 1 },
        });
      const types = async (effort: "none" | "high") =>
        (await ask(effort, -100)).output.map(({ type }) => type);
      expect(await types("high")).toEqual(["reasoning"]);
      expect(await types("none")).toEqual(["message"]);
      const { usage } = await ask("high", -100);
      expect(usage!.output_tokens_details.reasoning_tokens).toBe(8);

      for (const [effort, reasons] of [
        ["high", true],
        ["minimal", false],
      ] as const) {
        const { choices } = await thinker.chat.completions.create({
          ...{ model: "tiny", max_tokens: 8, messages: user("the of"), reasoning_effort: effort, seed: 1 },
          logit_bias: { [close]: -100 },
        });
        expect("reasoning_content" in choices[0].message).toBe(reasons);
      }

      const stream = thinker.responses.stream({ ...body, reasoning: { effort: "high", summary: "auto" } });
      const final = await stream.finalResponse();
      expect(final.output[0]).toMatchObject({ type: "reasoning", summary: [{ type: "summary_text" }] });
    } finally {
      await server.close(1);
    }
  });
});
