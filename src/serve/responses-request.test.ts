/** Bodies of POST /v1/responses: what clients send, what is refused, what a conversation of items becomes. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fromPlain } from "../json/index.ts";
import { ApiError, type ErrorShape } from "./errors.ts";
import { carryReasoning } from "./responses-items.ts";
import { inResponsesTerms, parseResponses } from "./responses-request.ts";

function refusal(body: unknown): ErrorShape {
  try {
    parseResponses(body);
  } catch (error) {
    if (error instanceof ApiError) return error.shape;
    throw error;
  }
  throw new Error("it was taken");
}

const messages = (input: unknown, more: object = {}) => parseResponses({ input, ...more }).job.messages;
const f = { type: "function", name: "f", parameters: { type: "object" } };
const g = { type: "function", name: "g", strict: true };

describe("input", () => {
  it("is a text, with instructions before it", () => {
    expect(messages("a")).toEqual([{ role: "user", content: "a" }]);
    expect(messages("a", { instructions: "s" })[0]).toEqual({ role: "system", content: "s" });
  });

  it("is messages, with or without their type, of texts or parts", () => {
    const list = messages([
      { role: "developer", content: "d" },
      {
        type: "message",
        role: "user",
        content: [
          { type: "input_text", text: "a" },
          { type: "input_text", text: "b" },
        ],
      },
      { role: "assistant", content: [{ type: "output_text", text: "c", annotations: [] }], id: "msg_1" },
      { role: "assistant", content: [{ type: "refusal", refusal: "no" }], status: "completed" },
    ]);
    expect(list.map(({ role, content }) => [role, content])).toEqual([
      ["system", "d"],
      ["user", "ab"],
      ["assistant", "c"],
      ["assistant", "no"],
    ]);
  });

  it("makes one message of what one answer left: reasoning, text and calls", () => {
    const call = (call_id: string) => ({ type: "function_call", call_id, name: "f", arguments: "{}" });
    const list = messages([
      { role: "user", content: "a" },
      { type: "reasoning", summary: [], content: [{ type: "reasoning_text", text: "r" }] },
      { role: "assistant", content: [{ type: "output_text", text: "t" }] },
      call("c1"),
      call("c2"),
      { type: "function_call_output", call_id: "c1", output: "1" },
      { type: "function_call_output", call_id: "c2", output: [{ type: "input_text", text: "2" }] },
      { type: "reasoning", summary: [{ type: "summary_text", text: "s" }] },
      call("c3"),
      { type: "function_call_output", call_id: "c3", output: "3" },
      { role: "assistant", content: "u" },
    ]);
    const calls = (...ids: string[]) =>
      ids.map((id) => ({ id, type: "function", function: { name: "f", arguments: "{}" } }));
    expect(list).toEqual([
      { role: "user", content: "a" },
      { role: "assistant", content: "t", reasoning_content: "r", tool_calls: calls("c1", "c2") },
      { role: "tool", tool_call_id: "c1", content: "1" },
      { role: "tool", tool_call_id: "c2", content: "2" },
      { role: "assistant", content: "", reasoning_content: "s", tool_calls: calls("c3") },
      { role: "tool", tool_call_id: "c3", content: "3" },
      { role: "assistant", content: "u" },
    ]);
  });

  it("takes reasoning back that clients do not read, and ignores what another server has sealed", () => {
    const of = (encrypted_content: string) =>
      messages([
        { type: "reasoning", summary: [], encrypted_content },
        { role: "assistant", content: "a" },
      ])[0].reasoning_content;
    expect(of(carryReasoning("Grüße, 你好"))).toBe("Grüße, 你好");
    expect(of("gAAAAABo")).toBeUndefined();
  });

  it("takes calls of free-form tools as calls with one argument", () => {
    const [call, result] = messages([
      { type: "custom_tool_call", call_id: "c", name: "patch", input: 'a "b"' },
      { type: "custom_tool_call_output", call_id: "c", output: "done" },
    ]);
    expect(JSON.parse(call.tool_calls![0].function.arguments)).toEqual({ input: 'a "b"' });
    expect(result).toEqual({ role: "tool", tool_call_id: "c", content: "done" });
  });

  it("keeps images as references with their fields", () => {
    const content = [
      { type: "input_text", text: "a" },
      { type: "input_image", image_url: "data:x", detail: "low" },
    ];
    expect(
      messages([
        { role: "assistant", content: "b" },
        { role: "user", content },
      ])[1],
    ).toEqual({
      role: "user",
      content: [
        { type: "text", text: "a" },
        { type: "image_url", url: "data:x", maxTiles: 1, param: "input[1].content[1].image_url" },
      ],
    });
  });

  it.each<[string, unknown, string, string]>([
    ["an item that stands elsewhere", [{ type: "item_reference", id: "x" }], "input[0].type", "not stored"],
    ["an item of a hosted tool", [{ type: "web_search_call" }], "input[0].type", "web_search_call"],
    ["an item that is none", [{}], "input[0].type", "undefined"],
    ["a role that is none", [{ role: "bot", content: "" }], "input[0].role", "developer"],
    [
      "an image without its URL",
      [{ role: "user", content: [{ type: "input_image" }] }],
      "input[0].content[0].image_url",
      "needs its URL",
    ],
    [
      "a stored file",
      [{ role: "user", content: [{ type: "input_image", image_url: "data:", file_id: "file-1" }] }],
      "input[0].content[0].file_id",
      "not stored",
    ],
    [
      "an image of the system",
      [{ role: "system", content: [{ type: "input_image", image_url: "data:" }] }],
      "input[0].content[0].type",
      "it holds text",
    ],
    [
      "another kind of part",
      [{ role: "user", content: [{ type: "input_file" }] }],
      "input[0].content[0].type",
      "'input_image'",
    ],
    [
      "a call without an id",
      [{ type: "function_call", name: "f", arguments: "" }],
      "input[0].call_id",
      "call_id",
    ],
    ["a number", 1, "input", "string"],
    ["nothing", undefined, "input", "Missing"],
  ])("refuses %s by name", (_, input, param, text) => {
    expect(refusal({ input })).toMatchObject({ status: 400, param, message: expect.stringContaining(text) });
  });
});

describe("settings", () => {
  it("become those of a chat, and are repeated in the answer", () => {
    const { job, stream, model, shape } = parseResponses({
      model: "m",
      input: "a",
      stream: true,
      max_output_tokens: 7,
      temperature: 0.5,
      top_p: 0.9,
      top_logprobs: 2,
      user: "u",
      store: true,
      metadata: { a: "b" },
      service_tier: "auto",
      prompt_cache_key: "k",
      stream_options: { include_obfuscation: false },
      text: { verbosity: "low" },
    });
    expect({ stream, model }).toEqual({ stream: true, model: "m" });
    expect(job).toMatchObject({
      maxTokens: 7,
      temperature: 0.5,
      topP: 0.9,
      logprobs: 2,
      n: 1,
      thinking: null,
    });
    expect(shape.settings).toMatchObject({
      ...{ max_output_tokens: 7, temperature: 0.5, top_p: 0.9, top_logprobs: 2, user: "u" },
      ...{ metadata: { a: "b" }, prompt_cache_key: "k", tool_choice: "auto", tools: [], instructions: null },
      ...{ text: { format: { type: "text" } }, reasoning: { effort: null, summary: null } },
    });
  });

  it("turn flat tools into nested ones and leave out what is no function", () => {
    const { job, shape } = parseResponses({
      input: "a",
      tools: [{ type: "web_search" }, f, { type: "custom" }, g],
    });
    expect(job.tools).toEqual([
      { type: "function", function: { name: "f", parameters: fromPlain({ type: "object" }) } },
      { type: "function", function: { name: "g", strict: true } },
    ]);
    expect(job.toolChoice).toBe("auto");
    expect(shape.settings.tools.map(({ name }) => name)).toEqual(["f", "g"]);
    expect(parseResponses({ input: "a", tools: [{ type: "web_search" }] }).job.toolChoice).toBe("none");
    expect(refusal({ input: "a", tools: [{ type: "x" }, f, f] })).toMatchObject({ param: "tools[2].name" });
    expect(refusal({ input: "a", tools: [{ type: "x" }, { ...f, name: "a b" }] }).param).toBe(
      "tools[1].name",
    );
  });

  it("keep the namespaces of functions, which the model knows by one name", () => {
    const crm = {
      type: "namespace",
      name: "crm",
      description: "d",
      tools: [f, { type: "custom", name: "x" }],
    };
    const { job, shape } = parseResponses({
      ...{ tools: [f, crm, { type: "namespace", name: "empty", tools: [{ type: "custom" }] }] },
      input: [{ type: "function_call", namespace: "crm", call_id: "c", name: "f", arguments: "{}" }],
    });
    expect(job.tools.map((tool) => tool.function.name)).toEqual(["f", "crm.f"]);
    expect(job.messages[0].tool_calls![0].function.name).toBe("crm.f");
    expect(shape.namespaced.get("crm.f")).toEqual({ namespace: "crm", name: "f" });
    expect(shape.settings.tools).toMatchObject([
      { type: "function", name: "f" },
      { type: "namespace", name: "crm", description: "d", tools: [{ name: "f" }] },
    ]);
    const twice = { ...crm, tools: [f, { type: "custom" }, f] };
    expect(refusal({ input: "a", tools: [twice] }).param).toBe("tools[0].tools[2].name");
  });

  it("choose tools in every form", () => {
    const choose = (tool_choice: unknown) =>
      parseResponses({ input: "a", tools: [f, g], tool_choice }).job.toolChoice;
    expect(choose("required")).toBe("required");
    expect(choose({ type: "function", name: "g" })).toEqual({ mode: "required", names: ["g"] });
    const allow = (mode: string, ...tools: object[]) => choose({ type: "allowed_tools", mode, tools });
    expect(allow("auto", { type: "function", name: "f" })).toEqual({ mode: "auto", names: ["f"] });
    expect(allow("required", f, g)).toBe("required");
    expect(allow("auto", { type: "web_search" })).toBe("none");
    expect(() => allow("required", { type: "mcp", server_label: "x" })).toThrow(
      /none of its tools is a function/,
    );
    expect(() => choose({ type: "web_search" })).toThrow(/only tools of type 'function'/);
    expect(() => choose({ type: "function", name: "h" })).toThrow(/'h'/);
  });

  it("give formats, one of which may not meet a forced call", () => {
    const schema = { type: "object", properties: { a: { type: "string" } } };
    const format = { type: "json_schema", name: "x", schema, strict: true };
    const { job, shape } = parseResponses({ input: "a", text: { format } });
    expect(job.format).toEqual({ type: "json_schema", name: "x", schema: fromPlain(schema) });
    expect(shape.settings.text.format).toEqual(format);
    expect(parseResponses({ input: "a", text: { format: { type: "json_object" } } }).job.format.type).toBe(
      "json_object",
    );
    expect(refusal({ input: "a", text: { format: { type: "json_schema" } } }).param).toBe("text.format.name");
    expect(refusal({ input: "a", text: { format }, tools: [f], tool_choice: "required" }).param).toBe(
      "text.format",
    );
  });

  it("map an effort to whether the model thinks, unless that is said outright", () => {
    const thinking = (effort: string | null, more: object = {}) =>
      parseResponses({ input: "a", reasoning: { effort }, ...more }).job.thinking;
    expect([null, "none", "minimal", "low", "high", "max"].map((effort) => thinking(effort))).toEqual([
      ...[null, false, false, true, true, true],
    ]);
    expect(thinking("high", { thinking: { type: "disabled" } })).toBe(false);
    expect(thinking("none", { chat_template_kwargs: { enable_thinking: true } })).toBe(true);
    const { templateVariables } = parseResponses({ input: "a", reasoning: { effort: "low" } }).job;
    expect(templateVariables).toEqual(fromPlain({ reasoning_effort: "low" }));
    expect(refusal({ input: "a", reasoning: { effort: "huge" } }).param).toBe("reasoning.effort");
  });

  it.each<[string, unknown]>([
    ["previous_response_id", "resp_1"],
    ["conversation", { id: "x" }],
    ["prompt", { id: "x" }],
    ["background", true],
    ["context_management", [{ type: "compaction" }]],
    ["n", 2],
    ["truncation", "auto"],
    ["messages", []],
    ["max_tokens", 5],
    ["response_format", { type: "json_object" }],
  ])("refuse %s by name", (param, value) => {
    expect(refusal({ input: "a", [param]: value })).toMatchObject({ status: 400, param });
  });

  it("take what stands for nothing", () => {
    const nothing = {
      previous_response_id: null,
      conversation: null,
      background: false,
      truncation: "disabled",
      n: 1,
    };
    expect(
      parseResponses({ input: "a", ...nothing, include: [], tools: [], text: {} }).job.messages,
    ).toHaveLength(1);
  });
});

it("names the fields of errors as the request does", () => {
  const named = (param: string) =>
    (inResponsesTerms(new ApiError({ ...refusal({}), param })) as ApiError).shape.param;
  expect(["messages", "response_format.json_schema.schema", "tools"].map(named)).toEqual([
    ...["input", "text.format.schema", "tools"],
  ]);
});

it("never fails with anything but an error of the interface, whatever the body", () => {
  const fields = [
    "input",
    "tools",
    "tool_choice",
    "text",
    "reasoning",
    "include",
    "metadata",
    "instructions",
  ];
  const item = fc.dictionary(
    fc.constantFrom("type", "role", "content", "call_id", "name", "arguments", "output", "summary"),
    fc.oneof(fc.constantFrom("message", "user", "assistant", "function_call", "reasoning"), fc.jsonValue()),
  );
  const body = fc.oneof(
    fc.dictionary(fc.constantFrom(...fields), fc.jsonValue()),
    fc.array(item, { maxLength: 4 }).map((input) => ({ input })),
    fc.jsonValue(),
  );
  fc.assert(
    fc.property(body, (value) => {
      try {
        parseResponses(value);
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        expect(error.shape.status).toBe(400);
      }
    }),
    { numRuns: 500 },
  );
});
