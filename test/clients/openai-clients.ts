/** OpenAI's own client, its Agents SDK, and Instructor on top of the client. */
import Instructor from "@instructor-ai/instructor";
import {
  Agent,
  OpenAIChatCompletionsModel,
  OpenAIResponsesModel,
  Runner,
  setTracingDisabled,
  tool,
} from "@openai/agents";
import OpenAI from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import { z as z3 } from "zod/v3";
import {
  AFTER_CALL,
  ANSWER,
  assert,
  type Check,
  calling,
  checkUsage,
  fails,
  MODEL,
  saying,
  THOUGHT,
  writingJson,
} from "./harness.ts";

setTracingDisabled(true);
const clientOf = (url: string) => new OpenAI({ baseURL: `${url}/v1`, apiKey: "any", maxRetries: 0 });
const weather = tool({
  name: "weather",
  description: "Weather of a city",
  parameters: z.object({ city: z.string() }),
  execute: async ({ city }) => `${city}: 21`,
});

const models = [
  { protocol: "responses", model: (url: string) => new OpenAIResponsesModel(clientOf(url), MODEL) },
  { protocol: "chat", model: (url: string) => new OpenAIChatCompletionsModel(clientOf(url), MODEL) },
] as const;

const agents = models.flatMap(({ protocol, model }): Check[] => {
  const check = (what: string, run: Check["run"]): Check => ({
    client: "@openai/agents",
    protocol,
    what,
    run,
  });
  return [
    check("a run with a tool, whole and streamed", async (serve) => {
      const agent = new Agent({
        name: "a",
        instructions: "s",
        tools: [weather],
        model: model(await serve(calling)),
      });
      const runner = new Runner();
      const result = await runner.run(agent, "Weather in Rome?");
      assert.equal(result.finalOutput, AFTER_CALL);
      assert.ok(result.newItems.some((item) => item.type === "tool_call_output_item"));
      checkUsage(result.state.usage.inputTokens, result.state.usage.outputTokens);
      const streamed = await runner.run(agent, "Weather in Rome?", { stream: true });
      let text = "";
      for await (const piece of streamed.toTextStream()) text += piece;
      await streamed.completed;
      assert.equal(streamed.finalOutput, AFTER_CALL);
      assert.equal(text, AFTER_CALL);
    }),
    check("an output by a schema, and a conversation that goes on", async (serve) => {
      const url = await serve(saying);
      const schema = z.object({ ok: z.boolean(), kind: z.enum(["one", "two"]) });
      const typed = new Agent({ name: "a", outputType: schema, model: model(url) });
      const { finalOutput } = await new Runner().run(typed, "a");
      assert.ok(schema.safeParse(finalOutput).success, JSON.stringify(finalOutput));
      const agent = new Agent({
        name: "a",
        model: model(url),
        modelSettings: { reasoning: { effort: "high" } },
      });
      const first = await new Runner().run(agent, "a");
      const second = await new Runner().run(agent, [...first.history, { role: "user", content: "b" }]);
      assert.equal(second.finalOutput, ANSWER);
    }),
  ];
});

const official: Check[] = [
  {
    ...{
      client: "openai",
      protocol: "responses",
      what: "stream, parse, a conversation that goes on, errors",
    },
    run: async (serve) => {
      const client = clientOf(await serve(saying));
      const stream = client.responses.stream({ model: MODEL, input: "a", reasoning: { effort: "high" } });
      const first = await stream.finalResponse();
      assert.equal(first.output_text, ANSWER);
      assert.deepEqual(
        first.output.map(({ type }) => type),
        ["reasoning", "message"],
      );
      checkUsage(first.usage?.input_tokens, first.usage?.output_tokens);
      const history = first.output as OpenAI.Responses.ResponseInputItem[];
      const next = await client.responses.create({
        model: MODEL,
        input: [{ role: "user", content: "a" }, ...history, { role: "user", content: "b" }],
      });
      assert.equal(next.output_text, ANSWER);
      const schema = z.object({ ok: z.boolean() });
      const parsed = await client.responses.parse({
        ...{ model: MODEL, input: "a", text: { format: zodTextFormat(schema, "thing") } },
      });
      assert.ok(schema.safeParse(parsed.output_parsed).success);
      const stored = { model: MODEL, input: "a", previous_response_id: first.id };
      await fails(() => client.responses.create(stored), /previous_response_id/);
    },
  },
  {
    ...{ client: "openai", protocol: "chat", what: "runTools, stream, reasoning" },
    run: async (serve) => {
      const runner = clientOf(await serve(calling)).chat.completions.runTools({
        model: MODEL,
        messages: [{ role: "user", content: "Weather in Rome?" }],
        tools: [
          {
            type: "function",
            function: {
              name: "weather",
              description: "Weather of a city",
              parse: (text: string) => JSON.parse(text) as { city: string },
              function: ({ city }: { city: string }) => `${city}: 21`,
              parameters: { type: "object", properties: { city: { type: "string" } } },
            },
          },
        ],
      });
      assert.equal(await runner.finalContent(), AFTER_CALL);
      const client = clientOf(await serve(saying));
      const stream = client.chat.completions.stream({
        ...{ model: MODEL, messages: [{ role: "user", content: "a" }], reasoning_effort: "high" },
        stream_options: { include_usage: true },
      });
      let reasoning = "";
      for await (const { choices } of stream) {
        reasoning += (choices[0]?.delta as { reasoning_content?: string })?.reasoning_content ?? "";
      }
      assert.equal(reasoning, THOUGHT);
      const final = await stream.finalChatCompletion();
      assert.equal(final.choices[0].message.content, ANSWER);
      checkUsage(final.usage?.prompt_tokens, final.usage?.completion_tokens);
    },
  },
];

const instructor = (["TOOLS", "JSON", "JSON_SCHEMA", "FUNCTIONS"] as const).map(
  (mode): Check => ({
    ...{ client: "@instructor-ai/instructor", protocol: "chat", what: `mode ${mode}` },
    run: async (serve) => {
      // It reads schemas of zod 3 only.
      const schema = z3.object({ ok: z3.boolean(), kind: z3.enum(["one", "two"]) });
      const url = await serve(mode.startsWith("JSON") ? writingJson : saying);
      const client = Instructor({ client: clientOf(url) as never, mode });
      const value = await client.chat.completions.create({
        ...{ model: MODEL, messages: [{ role: "user", content: "a" }], max_retries: 0, max_tokens: 200 },
        response_model: { schema: schema as never, name: "Thing" },
      });
      assert.ok(schema.safeParse(value).success, JSON.stringify(value));
    },
  }),
);

export const checks: readonly Check[] = [...official, ...agents, ...instructor];
