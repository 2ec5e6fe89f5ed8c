/** Walks over the table of fields: what it says is what becomes of each of them. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { ApiError } from "./errors.ts";
import { type Endpoint, IGNORED, OBEYED, REFUSED, requestTable } from "./request-table.ts";
import { parseChat, parseCompletion } from "./schemas.ts";

const user = { role: "user", content: "hi" };
const begun = { role: "assistant", content: "so" };
const tool = { type: "function", function: { name: "f" } };
const BASE: Record<Endpoint, Record<string, unknown>> = {
  chat: { messages: [user], seed: 1 },
  completions: { prompt: "a", seed: 1 },
};
const parse = (endpoint: Endpoint, more: object) => {
  const body = { ...BASE[endpoint], ...more };
  return endpoint === "chat" ? parseChat(body) : parseCompletion(body);
};
const endpoints = (where: Endpoint | "both"): Endpoint[] =>
  where === "both" ? ["chat", "completions"] : [where];

const schema = { type: "object" };
/** A value of every obeyed field that changes what is asked for, with what else it needs. */
const EXAMPLES: Record<string, [value: unknown, beside?: object]> = {
  model: ["m"],
  max_tokens: [5],
  max_completion_tokens: [5],
  n_predict: [5],
  min_tokens: [2],
  temperature: [0.5],
  top_p: [0.5],
  top_k: [5],
  min_p: [0.5],
  repetition_penalty: [1.5],
  presence_penalty: [1],
  frequency_penalty: [1],
  logit_bias: [{ 7: 1 }],
  seed: [2],
  n: [2],
  stop: ["x"],
  stop_token_ids: [[3]],
  include_stop_str_in_output: [true],
  ignore_eos: [true],
  skip_special_tokens: [false],
  return_tokens_as_token_ids: [true],
  stream: [true],
  stream_options: [{ include_usage: true }, { stream: true }],
  cache_prompt: [false],
  inside: [true],
  response_format: [{ type: "json_object" }],
  structured_outputs: [{ json: schema }],
  guided_json: [schema],
  guided_choice: [["a", "b"]],
  guided_regex: ["a+"],
  json_schema: [schema],
  messages: [[user, begun, user]],
  top_logprobs: [2, { logprobs: true }],
  tools: [[tool]],
  tool_choice: ["required", { tools: [tool] }],
  parallel_tool_calls: [false],
  functions: [[{ name: "f" }]],
  function_call: [{ name: "f" }, { functions: [{ name: "f" }] }],
  thinking: [{ type: "enabled" }],
  reasoning_effort: ["high"],
  chat_template_kwargs: [{ a: 1 }],
  documents: [[{ title: "a", text: "b" }]],
  add_generation_prompt: [false],
  grounding: [true],
  continue_final_message: [true, { messages: [user, begun] }],
  prompt: ["b"],
  suffix: ["b"],
  add_special_tokens: [false],
};
const exampleOf = (endpoint: Endpoint, field: string): [unknown, object?] => {
  if (field === "logprobs") return endpoint === "chat" ? [true] : [2];
  if (field === "echo")
    return [true, endpoint === "chat" ? { messages: [user, begun], continue_final_message: true } : {}];
  return EXAMPLES[field];
};

const rows = (groups: typeof OBEYED) =>
  groups.flatMap(({ endpoint, fields }) =>
    endpoints(endpoint).flatMap((where) => fields.map((field) => [where, field] as const)),
  );

describe("fields that the table calls", () => {
  it.each(rows(OBEYED))("obeyed change what is asked for (%s: %s)", (where, field) => {
    const [value, beside = {}] = exampleOf(where, field);
    expect(parse(where, { ...beside, [field]: value })).not.toEqual(parse(where, beside));
    // Null is what SDKs write for nothing.
    if (field !== "messages" && field !== "prompt" && field !== "seed") {
      expect(parse(where, { [field]: null })).toEqual(parse(where, {}));
    }
  });

  it.each(rows(IGNORED))("ignored change nothing, whatever they hold (%s: %s)", (where, field) => {
    for (const value of [1, "x", true, ["x"], { a: 1 }]) {
      expect(parse(where, { [field]: value })).toEqual(parse(where, {}));
    }
  });

  it.each(
    REFUSED.flatMap((rule) => endpoints(rule.endpoint).map((where) => [where, rule.field, rule] as const)),
  )("refused are, by name (%s: %s)", (where, field, { neutral, why }) => {
    const inside = (value: unknown) => {
      const names = field.split(".");
      return names.reduceRight<unknown>((inner, name) => ({ [name]: inner }), value) as object;
    };
    let shape: unknown;
    try {
      parse(where, inside({ probe: 1 }));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      shape = error.shape;
    }
    expect(shape).toMatchObject({ status: 400, param: field, code: "unsupported_parameter" });
    expect((shape as { message: string }).message).toContain(why);
    if (field.includes(".")) return;
    for (const value of [null, ...neutral]) expect(parse(where, inside(value))).toEqual(parse(where, {}));
  });

  it("none is in two rows of one endpoint", () => {
    const all = [...rows(OBEYED), ...rows(IGNORED)].map(([where, field]) => `${where} ${field}`);
    const refused = REFUSED.flatMap(({ endpoint, field }) =>
      endpoints(endpoint).map((where) => `${where} ${field}`),
    );
    expect(new Set([...all, ...refused]).size).toBe(all.length + refused.length);
  });
});

it("is the table of docs/server.md", () => {
  const docs = readFileSync(new URL("../../docs/server.md", import.meta.url), "utf8");
  expect(docs).toContain(requestTable().join("\n"));
});
