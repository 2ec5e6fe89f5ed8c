/** LangChain.js: its OpenAI client over both interfaces, and its DeepSeek client. */
import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { tool } from "@langchain/core/tools";
import { ChatDeepSeek } from "@langchain/deepseek";
import { ChatOpenAI } from "@langchain/openai";
import { z } from "zod";
import {
  AFTER_CALL,
  ANSWER,
  assert,
  type Check,
  calling,
  checkUsage,
  MODEL,
  saying,
  THOUGHT,
} from "./harness.ts";

const options = { model: MODEL, apiKey: "any", maxRetries: 0 };
const openai = (url: string, useResponsesApi: boolean) =>
  new ChatOpenAI({ ...options, useResponsesApi, configuration: { baseURL: `${url}/v1` } });

interface Client {
  readonly client: string;
  readonly protocol: Check["protocol"];
  readonly model: (url: string) => ChatOpenAI | ChatDeepSeek;
}

const clients: readonly Client[] = [
  { client: "@langchain/openai", protocol: "chat", model: (url: string) => openai(url, false) },
  { client: "@langchain/openai", protocol: "responses", model: (url: string) => openai(url, true) },
  {
    ...{ client: "@langchain/deepseek", protocol: "chat" },
    model: (url: string) => new ChatDeepSeek({ ...options, configuration: { baseURL: url } }),
  },
];

const weather = tool(async ({ city }: { city: string }) => `${city}: 21`, {
  name: "weather",
  description: "Weather of a city",
  schema: z.object({ city: z.string() }),
});

export const checks: readonly Check[] = clients.flatMap(({ client, protocol, model }) => {
  const check = (what: string, run: Check["run"]): Check => ({ client, protocol, what, run });
  return [
    check("invoke and stream", async (serve) => {
      const chat = model(await serve(saying));
      const answer = await chat.invoke([new HumanMessage("a")]);
      assert.equal(answer.text, ANSWER);
      checkUsage(answer.usage_metadata?.input_tokens, answer.usage_metadata?.output_tokens);
      let text = "";
      for await (const chunk of await chat.stream("a")) text += chunk.text;
      assert.equal(text, ANSWER);
    }),
    check("tools: call, result, answer", async (serve) => {
      const chat = model(await serve(calling)).bindTools([weather]);
      const question = new HumanMessage("Weather in Rome?");
      const first = await chat.invoke([question]);
      assert.deepEqual(first.tool_calls?.[0].args, { city: "Rome" });
      const [call] = first.tool_calls!;
      const result = new ToolMessage({
        content: String(await weather.invoke(call.args as { city: string })),
        tool_call_id: call.id!,
      });
      const second = await chat.invoke([question, first, result]);
      assert.equal(second.text, AFTER_CALL);
      let args = "";
      for await (const chunk of await chat.stream([question])) {
        for (const part of chunk.tool_call_chunks ?? []) args += part.args ?? "";
      }
      assert.deepEqual(JSON.parse(args), { city: "Rome" });
    }),
    check("withStructuredOutput", async (serve) => {
      const schema = z.object({ ok: z.boolean(), kind: z.enum(["one", "two"]) });
      // DeepSeek's client leaves out schemas of answers: a function is forced instead.
      const method = client === "@langchain/deepseek" ? "functionCalling" : "jsonSchema";
      const value = await model(await serve(saying))
        .withStructuredOutput(schema, { name: "thing", method })
        .invoke("a");
      assert.ok(schema.safeParse(value).success, JSON.stringify(value));
    }),
    ...(client === "@langchain/deepseek"
      ? [
          check("reasoning", async (serve) => {
            const thinking = new ChatDeepSeek({
              ...{ ...options, configuration: { baseURL: await serve(saying) } },
              modelKwargs: { thinking: { type: "enabled" } },
            });
            const answer = await thinking.invoke("a");
            assert.equal(answer.additional_kwargs.reasoning_content, THOUGHT);
            let reasoning = "";
            for await (const chunk of await thinking.stream("a")) {
              reasoning += chunk.additional_kwargs.reasoning_content ?? "";
            }
            assert.equal(reasoning, THOUGHT);
          }),
        ]
      : []),
  ];
});
