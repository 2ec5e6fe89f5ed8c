import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fromPlain } from "../json/index.ts";
import { parseBody } from "./body.ts";
import { ApiError, type ErrorShape } from "./errors.ts";
import { parseChat, parseCompletion, parseDetokenize, parseTokenize } from "./schemas.ts";

const messages = [{ role: "user", content: "hi" }];

function refusal(body: () => unknown): ErrorShape {
  try {
    body();
  } catch (error) {
    if (error instanceof ApiError) return error.shape;
    throw error;
  }
  throw new Error("it was accepted");
}

const tool = (name: string) => ({ type: "function", function: { name } });

describe("chat bodies", () => {
  it("takes OpenAI's defaults where nothing is said", () => {
    const { job, stream, model } = parseChat({ messages });
    expect({ stream, model }).toEqual({ stream: false, model: null });
    expect(job).toMatchObject({
      messages,
      maxTokens: null,
      temperature: 1,
      topP: 1,
      topK: 0,
      n: 1,
      logprobs: null,
      stop: [],
      toolChoice: "none",
      format: { type: "text" },
    });
  });

  it("keeps images as references with their fields, and named tokens as such", () => {
    const url = (detail: string) => ({ type: "image_url", image_url: { url: "data:x", detail } });
    const content = [url("low"), { type: "token", token: "<|grounding|>" }, url("high"), url("auto")];
    const at = (i: number) => ({
      type: "image_url",
      url: "data:x",
      param: `messages[1].content[${i}].image_url.url`,
    });
    expect(
      parseChat({
        messages: [
          { role: "system", content: "s" },
          { role: "user", content },
        ],
      }).job.messages[1],
    ).toEqual({
      role: "user",
      content: [{ ...at(0), maxTiles: 1 }, { type: "token", token: "<|grounding|>" }, at(2), at(3)],
    });
  });

  it("reads what OpenAI's clients send", () => {
    const { job, includeUsage } = parseChat({
      model: "m",
      messages: [
        { role: "developer", content: "be brief" },
        {
          role: "user",
          content: [
            { type: "text", text: "a" },
            { type: "text", text: "b" },
          ],
        },
        {
          role: "assistant",
          content: null,
          tool_calls: [{ id: "c", type: "function", function: { name: "f", arguments: "{}" } }],
        },
        { role: "tool", tool_call_id: "c", content: "1" },
      ],
      max_tokens: 5,
      max_completion_tokens: 6,
      stream: true,
      stream_options: { include_usage: true },
      stop: "x",
      logit_bias: { "7": -100 },
      tools: [{ type: "function", function: { name: "f", parameters: { type: "object" } } }],
      user: "somebody",
      store: true,
      metadata: {},
    });
    expect(includeUsage).toBe(true);
    expect(job.messages.map(({ role }) => role)).toEqual(["system", "user", "assistant", "tool"]);
    expect(job.messages[1].content).toBe("ab");
    expect(job).toMatchObject({ maxTokens: 6, stop: ["x"], logitBias: [[7, -100]], toolChoice: "auto" });
  });

  it("takes histories back as answers carry them, refusals and absent texts included", () => {
    const history = (...answers: object[]) =>
      parseChat({ messages: [...messages, ...answers, { role: "user", content: "b" }] }).job.messages.slice(
        1,
        -1,
      );
    expect(history({ role: "assistant", content: [{ type: "refusal", refusal: "no" }] })[0].content).toBe(
      "no",
    );
    expect(history({ role: "assistant", content: null, refusal: "no" })[0].content).toBe("no");
    expect(history({ role: "assistant", content: "a", refusal: null })[0].content).toBe("a");
    expect(history({ role: "assistant", content: null })[0].content).toBe("");
    expect(history({ role: "assistant", content: null, reasoning_content: "r" })[0]).toEqual({
      role: "assistant",
      content: "",
      reasoning_content: "r",
    });
    expect(history({ role: "tool", tool_call_id: "c", content: null })[0].content).toBe("");
  });

  it.each<[string, object, string]>([
    ["no messages", {}, "messages"],
    ["empty messages", { messages: [] }, "messages"],
    ["a role that is none", { messages: [{ role: "bot", content: "" }] }, "messages[0].role"],
    ["content of a wrong type", { messages: [{ role: "user", content: 1 }] }, "messages[0].content"],
    [
      "an image",
      { messages: [{ role: "user", content: [{ type: "image_url" }] }] },
      "messages[0].content[0].image_url",
    ],
    [
      "an image of the system",
      { messages: [{ role: "system", content: [{ type: "image_url", image_url: { url: "data:" } }] }] },
      "messages[0].content[0].type",
    ],
    [
      "a detail that is none",
      {
        messages: [
          { role: "user", content: [{ type: "image_url", image_url: { url: "data:", detail: "fine" } }] },
        ],
      },
      "messages[0].content[0].image_url.detail",
    ],
    [
      "sound",
      { messages: [{ role: "user", content: [{ type: "input_audio", input_audio: {} }] }] },
      "messages[0].content[0].type",
    ],
    [
      "a control token that is not one of grounding",
      { messages: [{ role: "user", content: [{ type: "token", token: "<｜end▁of▁sentence｜>" }] }] },
      "messages[0].content[0].token",
    ],
    ["an answer without content", { messages: [{ role: "assistant" }] }, "messages[0].content"],
    [
      "a refusal by the user",
      { messages: [{ role: "user", content: [{ type: "refusal", refusal: "no" }] }] },
      "messages[0].content[0].type",
    ],
    [
      "a part without its text",
      { messages: [{ role: "assistant", content: [{ type: "refusal", text: "no" }] }] },
      "messages[0].content[0].refusal",
    ],
    ["a number as text", { messages, temperature: "1" }, "temperature"],
    ["a number too large", { messages, temperature: 2.1 }, "temperature"],
    ["no tokens", { messages, max_tokens: 0 }, "max_tokens"],
    ["too many choices", { messages, n: 129 }, "n"],
    ["stop strings beyond any use", { messages, stop: new Array(1025).fill("a") }, "stop"],
    ["stop strings that are too long", { messages, stop: ["a".repeat(65_537)] }, "stop"],
    ["an empty stop string", { messages, stop: [""] }, "stop[0]"],
    ["a stop string that would cut a character", { messages, stop: ["x", "\ud83d"] }, "stop[1]"],
    ["a bias too large", { messages, logit_bias: { 1: 101 } }, "logit_bias.1"],
    ["a bias of a word", { messages, logit_bias: { the: 1 } }, "logit_bias.the"],
    ["alternatives without logprobs", { messages, top_logprobs: 2 }, "top_logprobs"],
    ["stream options without a stream", { messages, stream_options: {} }, "stream_options"],
    ["audio", { messages, audio: { voice: "x" } }, "audio"],
    ["other modalities", { messages, modalities: ["text", "audio"] }, "modalities"],
    [
      "a choice of old functions for tools",
      { messages, tools: [tool("f")], function_call: "auto" },
      "function_call",
    ],
    [
      "a choice of tools for old functions",
      { messages, functions: [{ name: "f" }], tool_choice: "auto" },
      "tool_choice",
    ],
    ["functions in both forms", { messages, functions: [{ name: "f" }], tools: [tool("f")] }, "functions"],
    [
      "an old function that is none",
      { messages, functions: [{ name: "f" }], function_call: { name: "g" } },
      "function_call",
    ],
    [
      "two old functions of one name",
      { messages, functions: [{ name: "f" }, { name: "f" }] },
      "functions[1].name",
    ],
    ["a format that is none", { messages, response_format: { type: "xml" } }, "response_format.type"],
    [
      "a schema without a name",
      { messages, response_format: { type: "json_schema", json_schema: {} } },
      "response_format.json_schema.name",
    ],
    ["a tool that is none", { messages, tools: [{ type: "search" }] }, "tools[0].type"],
    ["a choice without tools", { messages, tool_choice: "required" }, "tool_choice"],
  ])("refuses %s by name", (_, body, param) => {
    expect(refusal(() => parseChat(body))).toMatchObject({
      status: 400,
      type: "invalid_request_error",
      param,
    });
  });

  it("refuses a choice of a tool that is not there, two tools of one name, and two constraints", () => {
    const tool = { type: "function", function: { name: "f" } };
    const named = (name: string) => ({ type: "function", function: { name } });
    expect(refusal(() => parseChat({ messages, tools: [tool], tool_choice: named("g") })).message).toContain(
      "'g'",
    );
    expect(refusal(() => parseChat({ messages, tools: [tool, tool] })).param).toBe("tools[1].function.name");
    const both = {
      messages,
      tools: [tool],
      tool_choice: named("f"),
      response_format: { type: "json_object" },
    };
    expect(refusal(() => parseChat(both)).param).toBe("response_format");
  });

  it("reads functions in the older form, and who answered which", () => {
    const functions = [{ name: "f", parameters: { type: "object" } }];
    const history = [
      { role: "assistant", content: null, function_call: { name: "f", arguments: "{}" } },
      { role: "function", name: "f", content: "1" },
      { role: "assistant", content: null, function_call: { name: "f", arguments: "{}" } },
      { role: "function", name: "f", content: null },
    ];
    const { job, oldForm } = parseChat({ messages: [...messages, ...history], functions });
    expect(oldForm).toBe(true);
    const parameters = fromPlain({ type: "object" });
    expect(job.tools).toEqual([{ type: "function", function: { name: "f", parameters } }]);
    expect(job).toMatchObject({ toolChoice: "auto", parallelToolCalls: false });
    const ids = job.messages.slice(1).map((m) => m.tool_call_id ?? m.tool_calls?.[0].id);
    expect([ids[0] === ids[1], ids[2] === ids[3], ids[0] === ids[2]]).toEqual([true, true, false]);
    expect(job.messages.map(({ role }) => role)).toEqual(["user", "assistant", "tool", "assistant", "tool"]);
    expect(parseChat({ messages, functions: [], function_call: "none" }).oldForm).toBe(false);
  });

  it("maps reasoning_effort to whether the model thinks, unless that is said outright", () => {
    const thinking = (reasoning_effort: string, more: object = {}) =>
      parseChat({ messages, reasoning_effort, ...more }).job.thinking;
    expect(["none", "minimal", "low", "xhigh"].map((effort) => thinking(effort))).toEqual([
      false,
      false,
      true,
      true,
    ]);
    expect(thinking("high", { chat_template_kwargs: { thinking: false } })).toBe(false);
    expect(thinking("none", { thinking: { type: "enabled" } })).toBe(true);
    const { thinking: none, templateVariables } = parseChat({ messages, chat_template_kwargs: { a: 1 } }).job;
    expect([none, templateVariables]).toEqual([null, fromPlain({ a: 1 })]);
  });

  it("reads a choice among the tools, and drops one that is no choice", () => {
    const tools = ["f", "g"].map((name) => ({ type: "function", function: { name } }));
    const choose = (mode: string, ...names: string[]) => {
      const listed = names.map((name) => ({ type: "function", function: { name } }));
      const tool_choice = { type: "allowed_tools", allowed_tools: { mode, tools: listed } };
      return () => parseChat({ messages, tools, tool_choice }).job.toolChoice;
    };
    expect(choose("auto", "g")()).toEqual({ mode: "auto", names: ["g"] });
    expect(choose("required", "f")()).toEqual({ mode: "required", names: ["f"] });
    expect(choose("required", "f", "g")()).toBe("required");
    expect(refusal(choose("auto", "h")).message).toContain("'h'");
    expect(refusal(choose("auto")).param).toBe("tool_choice.allowed_tools.tools");
    expect(refusal(choose("none", "f")).param).toBe("tool_choice.allowed_tools.mode");
  });

  it("gives different seeds where none is asked for, and the one that is", () => {
    const seeds = new Set(Array.from({ length: 5 }, () => parseChat({ messages }).job.seed));
    expect(seeds.size).toBeGreaterThan(1);
    expect(parseChat({ messages, seed: -3 }).job.seed).toBe(-3);
  });
});

describe("completion bodies", () => {
  it("takes prompts in all four forms", () => {
    const prompts = (prompt: unknown) => parseCompletion({ prompt }).job.prompts;
    expect(prompts("a")).toEqual(["a"]);
    expect(prompts(["a", "b"])).toEqual(["a", "b"]);
    expect(prompts([1, 2])).toEqual([[1, 2]]);
    expect(prompts([[1], [2, 3]])).toEqual([[1], [2, 3]]);
    expect(parseCompletion({ prompt: "a" }).job.maxTokens).toBe(16);
  });

  it("says what is missing", () => {
    for (const [parse, field] of [
      [() => parseCompletion({}), "prompt"],
      [() => parseChat({}), "messages"],
    ] as const) {
      expect(refusal(parse)).toMatchObject({
        code: "missing_required_parameter",
        message: `Missing required parameter: '${field}'.`,
      });
    }
  });

  it.each<[string, object, string]>([
    ["no prompt", {}, "prompt"],
    ["an empty list", { prompt: [] }, "prompt"],
    ["a mixed list", { prompt: ["a", 1] }, "prompt[1]"],
    ["a fraction", { prompt: [1.5] }, "prompt[0]"],
    ["best_of", { prompt: "a", best_of: 3 }, "best_of"],
    ["a score of a prompt with a hole", { prompt: "a", suffix: "b", echo: true, logprobs: 1 }, "suffix"],
    ["a suffix to ids", { prompt: [1], suffix: "b" }, "suffix"],
    ["too many choices in all", { prompt: new Array(9).fill("a"), n: 128 }, "n"],
    ["too many prompts", { prompt: new Array(1025).fill("a") }, "n"],
    ["fewer tokens than must come", { prompt: "a", min_tokens: 17 }, "min_tokens"],
    ["ids beside texts", { prompt: [[1], "a"] }, "prompt[1]"],
    ["an empty list of ids", { prompt: [[]] }, "prompt[0]"],
  ])("refuses %s by name", (_, body, param) => {
    expect(refusal(() => parseCompletion(body))).toMatchObject({ status: 400, param });
  });
});

it("reads JSON and says what is none, also where it is nested beyond any stack", () => {
  expect(parseBody('{"a":[1]}')).toEqual({ a: [1] });
  expect(refusal(() => parseBody("{")).code).toBe("invalid_json");
  expect(refusal(() => parseBody("[".repeat(50_000) + "]".repeat(50_000))).message).toContain("100 levels");
});

it("refuses a body of more values than a schema can look at, wherever they are", () => {
  const many = (count: number) => new Array(count).fill({ type: "image" });
  for (const body of [
    { messages: [{ role: "user", content: many(180_000) }] },
    { messages: many(180_000) },
    { messages, tools: many(180_000) },
    { messages, logit_bias: Object.fromEntries(many(70_000).map((_, i) => [`a${i}`, 1])) },
  ]) {
    expect(refusal(() => parseChat(parseBody(JSON.stringify(body))))).toMatchObject({
      status: 400,
      code: "request_too_large",
    });
  }
  // As many as may be, all of them wrong.
  const wrong = { messages: [{ role: "user", content: many(30_000) }] };
  expect(refusal(() => parseChat(parseBody(JSON.stringify(wrong)))).param).toBe(
    "messages[0].content[0].type",
  );
  // Token ids are looked at one by one.
  const { job } = parseCompletion(parseBody(JSON.stringify({ prompt: new Array(200_000).fill(1) })));
  expect(job.prompts[0]).toHaveLength(200_000);
});

it("never fails with anything but an error of the interface, whatever the body", () => {
  const fields = ["messages", "prompt", "stop", "n", "tools", "tool_choice", "logit_bias", "response_format"];
  const body = fc.oneof(
    fc.jsonValue(),
    fc.dictionary(fc.constantFrom(...fields), fc.jsonValue()),
    fc.dictionary(fc.constantFrom(...fields), fc.jsonValue()).map((rest) => ({ messages, ...rest })),
  );
  fc.assert(
    fc.property(body, (value) => {
      for (const parse of [parseChat, parseCompletion, parseTokenize, parseDetokenize]) {
        try {
          parse(value);
        } catch (error) {
          if (!(error instanceof ApiError)) throw error;
          expect(error.shape.status).toBe(400);
          expect(error.shape.message).not.toBe("");
        }
      }
    }),
    { numRuns: 500 },
  );
});
