/** Requests to `/v1/responses` as official clients send them. */
import type { Item, RequestCase } from "./request-cases.ts";

export const responses: readonly RequestCase[] = [
  {
    title: "Responses: a text, and items of messages",
    requests: [
      {
        path: "/v1/responses",
        body: { input: "hi", max_output_tokens: 5 },
        check: (a) => {
          if (a.status !== 200) return "not 200";
          const r = a.json;
          if (r.object !== "response" || !r.id || !["completed", "incomplete"].includes(r.status))
            return "no response object";
          const m = r.output.find((o: Item) => o.type === "message");
          if (
            m?.role !== "assistant" ||
            m.content[0].type !== "output_text" ||
            typeof m.content[0].text !== "string" ||
            !Array.isArray(m.content[0].annotations)
          )
            return "no message with output_text";
          if (
            !(
              r.usage.input_tokens > 0 &&
              r.usage.output_tokens > 0 &&
              r.usage.total_tokens === r.usage.input_tokens + r.usage.output_tokens &&
              r.usage.input_tokens_details &&
              r.usage.output_tokens_details
            )
          )
            return "usage";
        },
      },
      {
        path: "/v1/responses",
        body: {
          instructions: "s",
          input: [{ role: "user", content: "hi" }],
          include: [],
          tools: [],
          stream: false,
          max_output_tokens: 5,
        },
        check: (a) => {
          if (a.status !== 200) return "not 200";
          const r = a.json;
          if (r.object !== "response" || !r.id || !["completed", "incomplete"].includes(r.status))
            return "no response object";
          const m = r.output.find((o: Item) => o.type === "message");
          if (
            m?.role !== "assistant" ||
            m.content[0].type !== "output_text" ||
            typeof m.content[0].text !== "string" ||
            !Array.isArray(m.content[0].annotations)
          )
            return "no message with output_text";
          if (
            !(
              r.usage.input_tokens > 0 &&
              r.usage.output_tokens > 0 &&
              r.usage.total_tokens === r.usage.input_tokens + r.usage.output_tokens &&
              r.usage.input_tokens_details &&
              r.usage.output_tokens_details
            )
          )
            return "usage";
        },
      },
      {
        path: "/v1/responses",
        body: {
          input: [
            { role: "system", content: "s" },
            {
              role: "user",
              content: [
                { type: "input_text", text: "a" },
                { type: "input_text", text: "b" },
              ],
            },
          ],
          temperature: 0,
          top_p: 0.9,
          max_output_tokens: 5,
        },
        check: (a) => {
          if (a.status !== 200) return "not 200";
          const r = a.json;
          if (r.object !== "response" || !r.id || !["completed", "incomplete"].includes(r.status))
            return "no response object";
          const m = r.output.find((o: Item) => o.type === "message");
          if (
            m?.role !== "assistant" ||
            m.content[0].type !== "output_text" ||
            typeof m.content[0].text !== "string" ||
            !Array.isArray(m.content[0].annotations)
          )
            return "no message with output_text";
          if (
            !(
              r.usage.input_tokens > 0 &&
              r.usage.output_tokens > 0 &&
              r.usage.total_tokens === r.usage.input_tokens + r.usage.output_tokens &&
              r.usage.input_tokens_details &&
              r.usage.output_tokens_details
            )
          )
            return "usage";
          if (r.status === "incomplete" && r.incomplete_details?.reason !== "max_output_tokens")
            return "incomplete_details";
        },
      },
      {
        path: "/v1/responses",
        body: {
          input: [{ type: "message", role: "user", content: "hi" }],
          stream: false,
          text: {},
          max_output_tokens: 5,
        },
        check: (a) => {
          if (a.status !== 200) return "not 200";
          const r = a.json;
          if (r.object !== "response" || !r.id || !["completed", "incomplete"].includes(r.status))
            return "no response object";
          const m = r.output.find((o: Item) => o.type === "message");
          if (
            m?.role !== "assistant" ||
            m.content[0].type !== "output_text" ||
            typeof m.content[0].text !== "string" ||
            !Array.isArray(m.content[0].annotations)
          )
            return "no message with output_text";
          if (
            !(
              r.usage.input_tokens > 0 &&
              r.usage.output_tokens > 0 &&
              r.usage.total_tokens === r.usage.input_tokens + r.usage.output_tokens &&
              r.usage.input_tokens_details &&
              r.usage.output_tokens_details
            )
          )
            return "usage";
        },
      },
    ],
  },
  {
    title: "Responses: a forced function call, its result, and the answer",
    requests: [
      {
        path: "/v1/responses",
        body: {
          input: "w",
          tools: [
            {
              type: "function",
              name: "weather",
              parameters: {
                type: "object",
                properties: { city: { type: "string", enum: ["Rome", "Oslo"] } },
                required: ["city"],
                additionalProperties: false,
              },
            },
          ],
          tool_choice: "required",
          max_output_tokens: 200,
        },
        check: (a) => {
          if (a.status !== 200) return "not 200";
          const r = a.json;
          if (r.object !== "response" || !r.id || !["completed", "incomplete"].includes(r.status))
            return "no response object";
          const c = r.output.find((o: Item) => o.type === "function_call");
          if (c?.name !== "weather" || !c.call_id || !["Rome", "Oslo"].includes(JSON.parse(c.arguments).city))
            return "no function_call";
        },
      },
      {
        path: "/v1/responses",
        body: {
          input: "w",
          tools: [
            {
              type: "function",
              name: "weather",
              parameters: {
                type: "object",
                properties: { city: { type: "string", enum: ["Rome", "Oslo"] } },
                required: ["city"],
                additionalProperties: false,
              },
            },
          ],
          tool_choice: { type: "function", name: "weather" },
          max_output_tokens: 200,
          stream: true,
        },
        check: (a) => {
          if (a.status !== 200) return "not 200";
          if (!a.type.startsWith("text/event-stream")) return "no stream";
          const names = a.events
            .filter((e) => e.json)
            .map((e: Item) => {
              if (e.name !== e.json.type) throw new Error("event name and type differ");
              return e.name;
            });
          const numbers = a.events.filter((e) => e.json).map((e: Item) => e.json.sequence_number);
          if (numbers.some((n, i) => n !== numbers[0] + i)) return "sequence_number";
          if (names[0] !== "response.created") return "first event";
          const last = a.events.filter((e) => e.json).at(-1).json;
          if (!["response.completed", "response.incomplete"].includes(last.type)) return "last event";
          for (const n of ["response.function_call_arguments.delta", "response.function_call_arguments.done"])
            if (!names.includes(n)) return `no ${n}`;
        },
      },
      {
        path: "/v1/responses",
        body: {
          input: [
            { role: "user", content: "w" },
            { type: "function_call", call_id: "c1", name: "weather", arguments: '{"city":"Rome"}' },
            { type: "function_call_output", call_id: "c1", output: "21" },
          ],
          tools: [
            {
              type: "function",
              name: "weather",
              parameters: {
                type: "object",
                properties: { city: { type: "string", enum: ["Rome", "Oslo"] } },
                required: ["city"],
                additionalProperties: false,
              },
            },
          ],
          tool_choice: "none",
          max_output_tokens: 5,
          store: false,
        },
        check: (a) => {
          if (a.status !== 200) return "not 200";
          const r = a.json;
          if (r.object !== "response" || !r.id || !["completed", "incomplete"].includes(r.status))
            return "no response object";
          const m = r.output.find((o: Item) => o.type === "message");
          if (
            m?.role !== "assistant" ||
            m.content[0].type !== "output_text" ||
            typeof m.content[0].text !== "string" ||
            !Array.isArray(m.content[0].annotations)
          )
            return "no message with output_text";
          if (
            !(
              r.usage.input_tokens > 0 &&
              r.usage.output_tokens > 0 &&
              r.usage.total_tokens === r.usage.input_tokens + r.usage.output_tokens &&
              r.usage.input_tokens_details &&
              r.usage.output_tokens_details
            )
          )
            return "usage";
        },
      },
    ],
  },
  {
    title: "Responses: an answer by JSON schema",
    requests: [
      {
        path: "/v1/responses",
        body: {
          input: "x",
          max_output_tokens: 200,
          text: {
            format: {
              type: "json_schema",
              strict: true,
              name: "response",
              schema: {
                type: "object",
                properties: {
                  city: { type: "string", enum: ["Rome", "Oslo"] },
                  n: { type: "integer", minimum: 0, maximum: 9 },
                },
                required: ["city", "n"],
                additionalProperties: false,
              },
            },
          },
        },
        check: (a) => {
          if (a.status !== 200) return "not 200";
          const r = a.json;
          if (r.object !== "response" || !r.id || !["completed", "incomplete"].includes(r.status))
            return "no response object";
          const m = r.output.find((o: Item) => o.type === "message");
          if (
            m?.role !== "assistant" ||
            m.content[0].type !== "output_text" ||
            typeof m.content[0].text !== "string" ||
            !Array.isArray(m.content[0].annotations)
          )
            return "no message with output_text";
          if (
            !(
              r.usage.input_tokens > 0 &&
              r.usage.output_tokens > 0 &&
              r.usage.total_tokens === r.usage.input_tokens + r.usage.output_tokens &&
              r.usage.input_tokens_details &&
              r.usage.output_tokens_details
            )
          )
            return "usage";
          const v = JSON.parse(m.content[0].text);
          if (!["Rome", "Oslo"].includes(v.city) || !(v.n >= 0 && v.n <= 9)) return "schema";
        },
      },
    ],
  },
];
