/** Histories, tools and schemas as official clients send them. */
import type { RequestCase } from "./request-cases.ts";

export const historiesAndTools: readonly RequestCase[] = [
  {
    title: "one tool with an uncommon schema does not spoil a forced call, or is named",
    requests: [
      {
        path: "/v1/chat/completions",
        body: {
          messages: [{ role: "user", content: "hi" }],
          max_tokens: 200,
          temperature: 0,
          tools: [
            {
              type: "function",
              function: {
                name: "good",
                parameters: {
                  type: "object",
                  properties: { a: { enum: ["x"] } },
                  required: ["a"],
                  additionalProperties: false,
                },
              },
            },
            {
              type: "function",
              function: {
                name: "other_tool",
                parameters: { type: "object", properties: { q: { not: { type: "null" } } } },
              },
            },
          ],
          tool_choice: "required",
        },
        check: (a) => {
          if (a.status === 200 && a.json.choices[0].message.tool_calls) return;
          if (a.status === 400 && a.text.includes("other_tool")) return;
          return "the whole request fails and nothing says which tool";
        },
      },
    ],
  },
  {
    title: "histories as SDKs dump them",
    requests: [
      {
        path: "/v1/chat/completions",
        body: {
          messages: [
            { role: "user", content: "hi" },
            {
              role: "assistant",
              content: "x",
              refusal: null,
              audio: null,
              function_call: null,
              tool_calls: null,
              annotations: [],
            },
            { role: "user", content: "hi" },
          ],
          max_tokens: 2,
        },
        check: (a) => {
          if (a.status !== 200) return "not 200";
        },
      },
      {
        path: "/v1/chat/completions",
        body: {
          messages: [
            { role: "user", content: "hi" },
            {
              role: "assistant",
              content: null,
              tool_calls: [{ id: "c", type: "function", function: { name: "f", arguments: "{}" } }],
            },
            { role: "tool", tool_call_id: "c", content: "sunny" },
          ],
          max_tokens: 2,
        },
        check: (a) => {
          if (a.status !== 200) return "not 200";
        },
      },
      {
        path: "/v1/chat/completions",
        body: {
          messages: [
            { role: "user", content: "hi" },
            { role: "assistant", content: "" },
            { role: "user", content: "hi" },
          ],
          max_tokens: 2,
        },
        check: (a) => {
          if (a.status !== 200) return "not 200";
        },
      },
      {
        path: "/v1/chat/completions",
        body: {
          messages: [{ role: "user", content: "hi" }],
          max_tokens: 8,
          temperature: 0,
          stop: null,
          tools: null,
          tool_choice: null,
          response_format: null,
          logit_bias: null,
          stream_options: null,
          seed: null,
          n: null,
          functions: null,
          function_call: null,
          top_logprobs: null,
          logprobs: null,
          metadata: null,
          parallel_tool_calls: null,
        },
        check: (a) => {
          if (a.status !== 200) return "not 200";
        },
      },
    ],
  },
  {
    title: "characters of several tokens under a schema",
    requests: [
      {
        path: "/v1/chat/completions",
        body: {
          messages: [{ role: "user", content: "hi" }],
          max_tokens: 60,
          temperature: 0,
          response_format: { type: "json_schema", json_schema: { name: "x", schema: { enum: ["😀🐈"] } } },
        },
        check: (a) => {
          if (a.json.choices[0].message.content !== '"😀🐈"' || a.json.choices[0].finish_reason !== "stop")
            return "content";
        },
      },
      {
        path: "/v1/chat/completions",
        body: {
          messages: [{ role: "user", content: "hi" }],
          max_tokens: 60,
          temperature: 0,
          response_format: { type: "json_schema", json_schema: { name: "x", schema: { enum: ["日本語"] } } },
        },
        check: (a) => {
          if (a.json.choices[0].message.content !== '"日本語"' || a.json.choices[0].finish_reason !== "stop")
            return "content";
        },
      },
      {
        path: "/v1/chat/completions",
        body: {
          messages: [{ role: "user", content: "hi" }],
          max_tokens: 60,
          temperature: 0,
          response_format: { type: "json_schema", json_schema: { name: "x", schema: { enum: ["نص"] } } },
        },
        check: (a) => {
          if (a.json.choices[0].message.content !== '"نص"' || a.json.choices[0].finish_reason !== "stop")
            return "content";
        },
      },
      {
        path: "/v1/chat/completions",
        body: {
          messages: [{ role: "user", content: "hi" }],
          max_tokens: 60,
          temperature: 0,
          response_format: { type: "json_schema", json_schema: { name: "x", schema: { enum: ["é"] } } },
        },
        check: (a) => {
          if (a.json.choices[0].message.content !== '"é"' || a.json.choices[0].finish_reason !== "stop")
            return "content";
        },
      },
    ],
  },
  {
    title: "tool_choice allowed_tools",
    requests: [
      {
        path: "/v1/chat/completions",
        body: {
          messages: [{ role: "user", content: "hi" }],
          max_tokens: 200,
          tools: [
            {
              type: "function",
              function: {
                name: "first",
                parameters: {
                  type: "object",
                  properties: { city: { type: "string", enum: ["Rome", "Oslo"] } },
                  required: ["city"],
                  additionalProperties: false,
                },
              },
            },
            {
              type: "function",
              function: {
                name: "second",
                parameters: {
                  type: "object",
                  properties: { city: { type: "string", enum: ["Rome", "Oslo"] } },
                  required: ["city"],
                  additionalProperties: false,
                },
              },
            },
          ],
          tool_choice: {
            type: "allowed_tools",
            allowed_tools: { mode: "required", tools: [{ type: "function", function: { name: "second" } }] },
          },
        },
        check: (a) => {
          if (a.status !== 200) return "not 200";
          if (a.json.choices[0].message.tool_calls?.[0].function.name !== "second")
            return "expected a call of second";
        },
      },
      {
        path: "/v1/chat/completions",
        body: {
          messages: [{ role: "user", content: "hi" }],
          max_tokens: 3,
          tools: [
            {
              type: "function",
              function: {
                name: "first",
                parameters: {
                  type: "object",
                  properties: { city: { type: "string", enum: ["Rome", "Oslo"] } },
                  required: ["city"],
                  additionalProperties: false,
                },
              },
            },
            {
              type: "function",
              function: {
                name: "second",
                parameters: {
                  type: "object",
                  properties: { city: { type: "string", enum: ["Rome", "Oslo"] } },
                  required: ["city"],
                  additionalProperties: false,
                },
              },
            },
          ],
          tool_choice: {
            type: "allowed_tools",
            allowed_tools: { mode: "auto", tools: [{ type: "function", function: { name: "second" } }] },
          },
        },
        check: (a) => {
          if (a.status !== 200) return "not 200";
        },
      },
    ],
  },
  {
    title: "a refusal in the history",
    requests: [
      {
        path: "/v1/chat/completions",
        body: {
          messages: [
            { role: "user", content: "hi" },
            { role: "assistant", content: [{ type: "refusal", refusal: "no" }] },
            { role: "user", content: "hi" },
          ],
          max_tokens: 3,
        },
        check: (a) => {
          if (a.status !== 200) return "not 200";
        },
      },
      {
        path: "/v1/chat/completions",
        body: {
          messages: [
            { role: "user", content: "hi" },
            { role: "assistant", content: null, refusal: "no" },
            { role: "user", content: "hi" },
          ],
          max_tokens: 3,
        },
        check: (a) => {
          if (a.status !== 200) return "not 200";
        },
      },
    ],
  },
  {
    title: "functions, function_call and the role function (old clients)",
    requests: [
      {
        path: "/v1/chat/completions",
        body: {
          messages: [{ role: "user", content: "hi" }],
          max_tokens: 200,
          functions: [
            {
              name: "City",
              description: "",
              parameters: {
                type: "object",
                properties: { city: { type: "string", enum: ["Rome", "Oslo"] } },
                required: ["city"],
                additionalProperties: false,
              },
            },
          ],
          function_call: { name: "City" },
        },
        check: (a) => {
          if (a.status !== 200) return "not 200";
          const m = a.json.choices[0].message;
          if (m.function_call?.name !== "City" || !JSON.parse(m.function_call.arguments).city)
            return "no function_call";
        },
      },
      {
        path: "/v1/chat/completions",
        body: {
          messages: [
            { role: "user", content: "hi" },
            { role: "assistant", content: null, function_call: { name: "f", arguments: "{}" } },
            { role: "function", name: "f", content: "1" },
          ],
          max_tokens: 3,
        },
        check: (a) => {
          if (a.status !== 200) return "not 200";
        },
      },
    ],
  },
  {
    title: "a call, its result, and the next step of an agent",
    requests: [
      {
        path: "/v1/chat/completions",
        body: {
          messages: [
            { role: "system", content: "s" },
            { role: "user", content: [{ type: "text", text: "x" }] },
          ],
          max_tokens: 200,
          tools: [
            {
              type: "function",
              function: {
                name: "weather",
                parameters: {
                  type: "object",
                  properties: { city: { type: "string", enum: ["Rome", "Oslo"] } },
                  required: ["city"],
                  additionalProperties: false,
                },
              },
            },
          ],
          tool_choice: "required",
          parallel_tool_calls: false,
        },
        check: (a) => {
          if (a.status !== 200) return "not 200";
          const c = a.json.choices[0];
          if (
            c.finish_reason !== "tool_calls" ||
            c.message.content !== null ||
            c.message.tool_calls.length !== 1
          )
            return "no call";
        },
      },
      {
        path: "/v1/chat/completions",
        body: {
          messages: [
            { role: "user", content: "x" },
            {
              role: "assistant",
              content: "",
              reasoning_content: "r",
              tool_calls: [
                {
                  id: "c1",
                  type: "function",
                  index: 0,
                  function: { name: "weather", arguments: '{"city":"Rome"}' },
                },
              ],
            },
            { role: "tool", tool_call_id: "c1", name: "weather", content: [{ type: "text", text: "21" }] },
          ],
          max_tokens: 3,
          tools: [
            {
              type: "function",
              function: {
                name: "weather",
                parameters: {
                  type: "object",
                  properties: { city: { type: "string", enum: ["Rome", "Oslo"] } },
                  required: ["city"],
                  additionalProperties: false,
                },
              },
            },
          ],
          tool_choice: "auto",
          stream: true,
          stream_options: { include_usage: true },
        },
        check: (a) => {
          if (a.status !== 200) return "not 200";
          const j = a.events.map((e) => e.json).filter(Boolean);
          if (j.at(-1).choices.length !== 0 || !(j.at(-1).usage.completion_tokens > 0)) return "usage chunk";
        },
      },
    ],
  },
  {
    title: "what zod writes for an e-mail, a UUID, records, unions and tuples",
    requests: [
      {
        path: "/v1/chat/completions",
        body: {
          messages: [{ role: "user", content: "hi" }],
          max_tokens: 900,
          response_format: {
            type: "json_schema",
            json_schema: {
              name: "response",
              strict: true,
              schema: {
                $schema: "http://json-schema.org/draft-07/schema#",
                type: "object",
                properties: {
                  id: {
                    type: "string",
                    format: "uuid",
                    pattern:
                      "^([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[1-8][0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}|00000000-0000-0000-0000-000000000000|ffffffff-ffff-ffff-ffff-ffffffffffff)$",
                  },
                  on: {
                    type: "object",
                    propertyNames: { type: "string", enum: ["a", "b"] },
                    additionalProperties: { type: "boolean" },
                    required: ["a", "b"],
                  },
                  u: {
                    oneOf: [
                      {
                        type: "object",
                        properties: { k: { type: "string", const: "a" }, v: { type: "boolean" } },
                        required: ["k", "v"],
                        additionalProperties: false,
                      },
                      {
                        type: "object",
                        properties: { k: { type: "string", const: "b" } },
                        required: ["k"],
                        additionalProperties: false,
                      },
                    ],
                  },
                  l: { enum: ["a", 1, true, null] },
                },
                required: ["id", "on", "u", "l"],
                additionalProperties: false,
              },
            },
          },
        },
        check: (a) => {
          if (a.status !== 200) return "not 200";
          const v = JSON.parse(a.json.choices[0].message.content);
          if (
            !/^[0-9a-fA-F-]{36}$/.test(v.id) ||
            typeof v.on.a !== "boolean" ||
            typeof v.on.b !== "boolean" ||
            !["a", "b"].includes(v.u.k) ||
            !["a", 1, true, null].includes(v.l)
          )
            return "schema";
        },
      },
    ],
  },
];
