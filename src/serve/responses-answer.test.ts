/** Events and bodies of /v1/responses, built from news as the engine sends them; their types against the official ones. */
import fc from "fast-check";
import type OpenAI from "openai";
import { ResponseStream } from "openai/lib/responses/ResponseStream";
import { describe, expect, it } from "vitest";
import { requestFailed } from "../engine/host/errors.ts";
import type { GenerationNews, GenerationReader } from "../engine/host/generation-job.ts";
import type { Delta, FinishReason } from "../engine/host/protocol.ts";
import { eventStream, namedEvents } from "./event-stream.ts";
import { type ResponseShape, ResponseWriter, responseEvents } from "./responses-answer.ts";
import { responsesSchema } from "./responses-fields.ts";
import { messagesOf } from "./responses-items.ts";
import { parseResponses } from "./responses-request.ts";
import type { OutputItem, ResponseBody, ResponseEvent } from "./responses-types.ts";

/** `output_text` is put in by the client. */
type OfficialBody = Omit<OpenAI.Responses.Response, "output_text">;
type Official<E> = E extends { response: unknown } ? Omit<E, "response"> & { response: OfficialBody } : E;
type OfficialEvent = Official<OpenAI.Responses.ResponseStreamEvent>;

// That these compile is part of the tests: every field and event is one that the official client knows.
const asOfficialBody = (body: ResponseBody): OfficialBody => body;
const asOfficialEvent = (event: ResponseEvent & { sequence_number: number }): OfficialEvent => event;
const asInput = (items: OutputItem[]): OpenAI.Responses.ResponseInput => items;

const head = { id: "resp_1", created: 1, model: "m", fingerprint: "fp" };
const usage = { promptTokens: 5, cachedTokens: 2, imageTokens: 3, completionTokens: 7, reasoningTokens: 1 };
const shapeOf = (body: object = {}): ResponseShape => parseResponses({ input: "a", ...body }).shape;
const parseInput = (input: unknown) => responsesSchema.parse({ input }).input;
type News = Omit<Delta, "id" | "choice">;
const delta = (news: News): Delta => ({ id: 1, choice: 0, ...news });

function write(news: readonly News[], reason: FinishReason = "stop", shape = shapeOf()) {
  const writer = new ResponseWriter(head, shape);
  const events = [
    ...writer.begin(),
    ...news.flatMap((n) => writer.push(delta(n))),
    ...writer.finish(reason, usage),
  ];
  return { events, body: writer.body, types: events.map(({ type }) => type.replace("response.", "")) };
}

/** What the official client adds the events up to. */
async function accumulated(events: readonly ResponseEvent[]) {
  const numbered = events.map((event, sequence_number) => asOfficialEvent({ ...event, sequence_number }));
  const lines = numbered.map((event) => `${JSON.stringify(event)}\n`);
  const stream = ResponseStream.fromReadableStream(new Blob(lines).stream());
  return await stream.finalResponse();
}

const call = (index: number, args: string[]): News[] => [
  { toolCalls: [{ index, id: `call_${index}`, name: "f", arguments: "" }] },
  ...args.map((text) => ({ toolCalls: [{ index, arguments: text }] })),
];

describe("events", () => {
  it("of a text", () => {
    const { types, body } = write([{ content: "a" }, { content: "b" }]);
    expect(types).toEqual([
      ...["created", "in_progress", "output_item.added", "content_part.added"],
      ...["output_text.delta", "output_text.delta", "output_text.done", "content_part.done"],
      ...["output_item.done", "completed"],
    ]);
    expect(body).toMatchObject({ status: "completed", incomplete_details: null, error: null, store: false });
    expect(body.completed_at).toBeGreaterThan(0);
    expect(body.output).toMatchObject([
      {
        type: "message",
        role: "assistant",
        status: "completed",
        content: [{ type: "output_text", text: "ab" }],
      },
    ]);
    expect(body.usage).toEqual({
      input_tokens: 5,
      input_tokens_details: { cached_tokens: 2, cache_write_tokens: 0, image_tokens: 3 },
      output_tokens: 7,
      output_tokens_details: { reasoning_tokens: 1 },
      total_tokens: 12,
    });
  });

  it("of reasoning, a text, two calls and a text behind them", () => {
    const { types, body, events } = write(
      [
        { reasoning: "r" },
        { reasoning: "s", content: "t" },
        ...call(0, ['{"a"', ":1}"]),
        ...call(1, []),
        // The end of a call and what follows come in one piece.
        { content: "u", toolCalls: [{ index: 1, arguments: "{}" }] },
      ],
      "tool_calls",
    );
    expect(body.output.map((item) => item.type)).toEqual([
      ...["reasoning", "message", "function_call", "function_call", "message"],
    ]);
    expect(body.output[0]).toMatchObject({ summary: [], content: [{ type: "reasoning_text", text: "rs" }] });
    expect(body.output[2]).toMatchObject({
      call_id: "call_0",
      name: "f",
      arguments: '{"a":1}',
      status: "completed",
    });
    expect(body.output[3]).toMatchObject({ call_id: "call_1", arguments: "{}" });
    expect(types.slice(2, 9)).toEqual([
      ...["output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.delta"],
      ...["reasoning_text.done", "content_part.done", "output_item.done"],
    ]);
    const added = events.filter(({ type }) => type === "response.output_item.added");
    expect(added.map((event) => "output_index" in event && event.output_index)).toEqual([0, 1, 2, 3, 4]);
    expect(types.filter((type) => type.startsWith("function_call"))).toEqual([
      ...["arguments.delta", "arguments.delta", "arguments.done", "arguments.delta", "arguments.done"].map(
        (type) => `function_call_${type}`,
      ),
    ]);
    expect(new Set(body.output.map(({ id }) => id)).size).toBe(5);
  });

  it("of a call in a namespace carry its own name", () => {
    const shape = shapeOf({
      tools: [{ type: "namespace", name: "crm", tools: [{ type: "function", name: "f" }] }],
    });
    const news = { toolCalls: [{ index: 0, id: "call_0", name: "crm.f", arguments: "{}" }] };
    const { body, events } = write([news], "tool_calls", shape);
    expect(body.output).toMatchObject([{ type: "function_call", name: "f", namespace: "crm" }]);
    expect(events.find(({ type }) => type === "response.function_call_arguments.done")).toMatchObject({
      name: "f",
    });
    expect(messagesOf(parseInput(body.output), null)[0].tool_calls![0].function.name).toBe("crm.f");
  });

  it("of reasoning as its summary, where one is asked for, with what carries it", () => {
    const shape = shapeOf({ reasoning: { summary: "auto" }, include: ["reasoning.encrypted_content"] });
    const { types, body } = write([{ reasoning: "r" }, { content: "a" }], "stop", shape);
    expect(types.slice(2, 8)).toEqual([
      ...["output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta"],
      ...["reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done"],
    ]);
    const [item] = body.output;
    expect(item).toMatchObject({ summary: [{ type: "summary_text", text: "r" }] });
    expect(item).not.toHaveProperty("content");
    // A client that keeps only this gives the reasoning back.
    const { encrypted_content } = item as { encrypted_content: string };
    const [message] = messagesOf(parseInput([{ type: "reasoning", encrypted_content, summary: [] }]), null);
    expect(message.reasoning_content).toBe("r");
  });

  it("of an answer that is cut: what was open is incomplete", () => {
    const { types, body } = write([{ content: "a" }, ...call(0, ['{"a'])], "length");
    expect(types.at(-1)).toBe("incomplete");
    expect(body).toMatchObject({ status: "incomplete", incomplete_details: { reason: "max_output_tokens" } });
    expect(body.completed_at).toBeNull();
    expect(body.output.map(({ status }) => status)).toEqual(["completed", "incomplete"]);
  });

  it("of nothing hold an empty message, without a delta", () => {
    for (const [news, reason] of [
      [[], "stop"],
      [[], "length"],
      [[{ reasoning: "r" }], "stop"],
    ] as const) {
      const { types, body } = write(news, reason);
      expect(body.output.at(-1)).toMatchObject({
        type: "message",
        content: [{ type: "output_text", text: "" }],
      });
      expect(types).not.toContain("output_text.delta");
    }
    expect(write([{ reasoning: "r" }], "length").body.output.map(({ type }) => type)).toEqual(["reasoning"]);
  });

  it("give log-probabilities to the text that they belong to, where they are asked for", () => {
    const entry = (token: string) => ({ id: 1, token, bytes: [1], logprob: -1, top: [], offset: 0 });
    const news = [
      { reasoning: "r", logprobs: [entry("r")] },
      { logprobs: [entry("a")] },
      { content: "ab", logprobs: [entry("b")] },
      { logprobs: [entry("c")] },
    ];
    const tokens = (shape: ResponseShape) => {
      const { body } = write(news, "stop", shape);
      const [, message] = body.output;
      return message.type === "message" ? message.content[0].logprobs.map(({ token }) => token) : [];
    };
    expect(tokens(shapeOf({ top_logprobs: 1 }))).toEqual(["a", "b", "c"]);
    expect(tokens(shapeOf({ include: ["message.output_text.logprobs"] }))).toEqual(["a", "b", "c"]);
    expect(tokens(shapeOf())).toEqual([]);
  });
});

it("add up to the body in the official client, whatever comes", async () => {
  const text = fc.string({ minLength: 1, unit: "grapheme" });
  const piece = fc.oneof(
    text.map((content) => [{ content }]),
    text.map((reasoning) => [{ reasoning }]),
    fc.tuple(text, text).map(([reasoning, content]) => [{ reasoning, content }]),
    fc.array(text, { maxLength: 3 }).map((args) => ["call", args] as const),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(piece, { maxLength: 8 }),
      fc.constantFrom<FinishReason>("stop", "length", "tool_calls"),
      fc.constantFrom({}, { reasoning: { summary: "detailed" } }),
      async (pieces, reason, body) => {
        let calls = 0;
        const news = pieces.flatMap((p): News[] =>
          p[0] === "call" ? call(calls++, p[1] as string[]) : (p as News[]),
        );
        const written = write(news, reason, shapeOf(body));
        const final = await accumulated(written.events);
        const strip = (value: unknown) =>
          JSON.parse(JSON.stringify(value, (key, v) => (key.startsWith("parsed") ? undefined : v)));
        expect(strip(final.output)).toEqual(strip(written.body.output));
        expect(final.status).toBe(asOfficialBody(written.body).status);
        // What was answered is taken back as it is.
        const input = asInput(written.body.output);
        expect(() => parseResponses({ input })).not.toThrow();
        const open = new Set<string>();
        for (const event of written.events) {
          if (event.type === "response.output_item.added") open.add(event.item.id);
          if ("item_id" in event) expect([...open]).toEqual([event.item_id]);
          if (event.type === "response.output_item.done") open.delete(event.item.id);
        }
        expect(open.size).toBe(0);
      },
    ),
    { numRuns: 60 },
  );
});

describe("a stream", () => {
  /** News that end with an error, if one is given. */
  const reader = (news: readonly GenerationNews[], error: unknown = null): GenerationReader => ({
    choices: 1,
    async *[Symbol.asyncIterator]() {
      yield* news;
      if (error !== null) throw error;
    },
  });
  const begun: GenerationNews = { type: "delta", delta: delta({ content: "a" }) };

  async function textOf(
    stream: GenerationReader,
    onError: (error: unknown) => void = () => {},
  ): Promise<string[]> {
    const body = eventStream(responseEvents(stream, head, shapeOf()), namedEvents(), () => {}, onError);
    return (await new Response(body).text()).split("\n\n").slice(0, -1);
  }

  it("names its events by their type, and numbers them", async () => {
    const events = await textOf(reader([begun, { type: "finished", choice: 0, reason: "stop", usage }]));
    expect(events.length).toBe(9);
    events.forEach((event, i) => {
      const [, name, data] = /^event: (.+)\ndata: (.+)$/.exec(event)!;
      expect(JSON.parse(data)).toMatchObject({ type: name, sequence_number: i });
    });
  });

  it("ends with response.failed where the engine fails", async () => {
    const events = await textOf(reader([begun], requestFailed("It broke.")));
    const last = JSON.parse(events.at(-1)!.split("\ndata: ")[1]);
    expect(last).toMatchObject({
      type: "response.failed",
      sequence_number: 5,
      response: { status: "failed", error: { code: "server_error", message: "It broke." } },
    });
  });

  it("ends with error where the fault is here, and says it to the log", async () => {
    const problems: unknown[] = [];
    const events = await textOf(reader([], new TypeError("a defect")), (error) => problems.push(error));
    expect(events.at(-1)).toMatch(/^event: error\ndata: /);
    const last = JSON.parse(events.at(-1)!.split("\ndata: ")[1]);
    expect(last).toMatchObject({ type: "error", sequence_number: 2, code: "internal_error", param: null });
    expect(last.message).not.toContain("defect");
    expect(problems).toHaveLength(1);
  });
});
