/** Fields beyond OpenAI's, and what evaluation harnesses ask, as a running server answers them. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { rowsOfLogits } from "../engine/prompt-scores.ts";
import { logProbability } from "../engine/token-sampler.ts";
import { load } from "../pretrained/node-load.ts";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import { greedy, startTestServer, type TestServer, user } from "./test-server.ts";

let test: TestServer;
beforeAll(async () => {
  test = await startTestServer();
});
afterAll(() => test[Symbol.asyncDispose]());

const complete = async (body: object) => {
  const { status, body: answer } = await test.post("/v1/completions", { ...greedy, ...body });
  expect({ status, answer }).toMatchObject({ status: 200 });
  return answer;
};
const chat = async (body: object) => {
  const { status, body: answer } = await test.post("/v1/chat/completions", { ...greedy, ...body });
  expect({ status, answer }).toMatchObject({ status: 200 });
  return answer;
};
const idsOf = async (text: string): Promise<number[]> => (await test.post("/tokenize", { text })).body.tokens;

/** Float sums differ in their last bits with what else is in a pass. */
const rounded = (scores: (number | null)[]) => scores.map((score) => score && Math.round(score * 1e4) / 1e4);

describe("scores of prompts", () => {
  it("are the model's, for texts and ids, in batches, streamed or not", async () => {
    const texts = ["the of and to, Grüße", "export const is_1 = 你好;"];
    const ids = await Promise.all(texts.map(idsOf));
    await using device = await createCpuDevice({ threads: 1 });
    await using loaded = await load(test.folder, { device });
    const { model, tokenizer } = loaded;
    const whole = await complete({ prompt: ids, max_tokens: 1, logprobs: 2, echo: true });
    const cached = await complete({ prompt: ids, max_tokens: 1, logprobs: 2, echo: true });
    expect(cached.choices[0].text).toEqual(whole.choices[0].text);
    expect(whole.usage).toMatchObject({
      prompt_tokens: ids.flat().length,
      completion_tokens: 2,
      prompt_tokens_details: { cached_tokens: 0, image_tokens: 0 },
    });
    for (const [i, prompt] of ids.entries()) {
      const { text, logprobs } = whole.choices[i];
      expect(text.startsWith(texts[i])).toBe(true);
      expect(logprobs.tokens).toHaveLength(prompt.length + 1);
      expect([logprobs.token_logprobs[0], logprobs.top_logprobs[0]]).toEqual([null, null]);
      using output = device.inference(() => {
        const hidden = model.hidden(model.ids([prompt]));
        return model.logits(hidden.view([prompt.length, hidden.shape[2]]));
      });
      const rows = await rowsOfLogits(output);
      for (let at = 1; at < prompt.length; at++) {
        const expected = logProbability(rows[at - 1], prompt[at], tokenizer!.vocabSize);
        expect(logprobs.token_logprobs[at]).toBeCloseTo(expected, 3);
        const top: number[] = Object.values(logprobs.top_logprobs[at]);
        expect(top.length).toBeGreaterThanOrEqual(2);
        // What harnesses ask: whether the token was the likeliest.
        expect(logprobs.token_logprobs[at]).toBeLessThanOrEqual(Math.max(...top));
        expect(top).toContain(logprobs.token_logprobs[at]);
      }
      // Offsets are places in the text.
      logprobs.tokens.forEach((token: string, at: number) => {
        if (token.startsWith("bytes:")) return;
        expect(text.slice(logprobs.text_offset[at], logprobs.text_offset[at] + token.length)).toBe(token);
      });
      const alone = await complete({ prompt: texts[i], max_tokens: 0, logprobs: 2, echo: true });
      expect(alone.choices[0]).toMatchObject({ text: texts[i], finish_reason: "length" });
      expect(rounded(alone.choices[0].logprobs.token_logprobs)).toEqual(
        rounded(logprobs.token_logprobs.slice(0, -1)),
      );
      expect(alone.usage.completion_tokens).toBe(0);
    }
    const response = await fetch(`${test.server.url}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        ...greedy,
        prompt: ids[0],
        max_tokens: 1,
        logprobs: 2,
        echo: true,
        stream: true,
      }),
    });
    const chunks = (await response.text())
      .split("\n\n")
      .filter((line) => line.startsWith("data: {"))
      .map((line) => JSON.parse(line.slice(6)).choices[0]);
    expect(chunks.map(({ text }) => text).join("")).toBe(whole.choices[0].text);
    expect(rounded(chunks.flatMap(({ logprobs }) => logprobs?.token_logprobs ?? []))).toEqual(
      rounded(whole.choices[0].logprobs.token_logprobs),
    );
  });

  it("name tokens so that none is lost", async () => {
    const { choices } = await complete({ prompt: "the", max_tokens: 6, logprobs: 20 });
    const { tokens, top_logprobs: top } = choices[0].logprobs;
    for (const entry of top) expect(Object.keys(entry).length).toBeGreaterThanOrEqual(20);
    const names = [...tokens, ...top.flatMap(Object.keys)];
    expect(names.some((name: string) => /^bytes:(\\x[0-9a-f]{2})+$/.test(name))).toBe(true);
    expect(names.some((name: string) => name.includes("\ufffd"))).toBe(false);
    const byId = await complete({
      prompt: "the",
      max_tokens: 2,
      logprobs: 1,
      return_tokens_as_token_ids: true,
    });
    for (const name of byId.choices[0].logprobs.tokens) expect(name).toMatch(/^token_id:\d+$/);
  });
});

it("answers what a harness that tokenizes by the server asks", async () => {
  const info = await (await fetch(`${test.server.url}/tokenizer_info`)).json();
  expect(info).toMatchObject({ model_max_length: 4096, chat_template: expect.stringContaining("messages") });
  expect(info.eos_token).toContain("end");
  const { body } = await test.post("/tokenize", { prompt: info.eos_token, add_special_tokens: false });
  expect(body).toMatchObject({ count: 1, max_model_len: 4096 });
  const tokens = await idsOf("Grüße, 你好");
  expect((await test.post("/detokenize", { tokens })).body).toEqual({
    text: "Grüße, 你好",
    prompt: "Grüße, 你好",
    content: "Grüße, 你好",
  });
});

describe("limits", () => {
  it("of -1 are the context's, and 0 asks for nothing", async () => {
    const stop = ["e", "a", " "];
    expect((await complete({ prompt: "the of", max_tokens: -1, stop })).choices[0].finish_reason).toBe(
      "stop",
    );
    expect((await chat({ messages: user("hi"), max_tokens: -1, stop })).choices[0].finish_reason).toBe(
      "stop",
    );
    const none = await complete({ prompt: "the of", max_tokens: 0 });
    expect(none.choices[0]).toMatchObject({ text: "", finish_reason: "length" });
    const { status } = await test.post("/v1/chat/completions", { messages: user("a"), max_tokens: 0 });
    expect(status).toBe(400);
  });

  it("at the lower end hold stop tokens and stop strings back", async () => {
    const of = Number(await test.tokenId(" of"));
    const pushed = { prompt: "the", logit_bias: [[of, 100]], max_tokens: 6 };
    const free = await complete({ ...pushed, stop_token_ids: [of] });
    expect(free.choices[0]).toMatchObject({ text: "", finish_reason: "stop" });
    expect(free.usage.completion_tokens).toBe(1);
    const held = await complete({ ...pushed, stop_token_ids: [of], min_tokens: 4 });
    expect(held.usage.completion_tokens).toBe(5);
    const stopped = await complete({ ...pushed, stop: [" of"], min_tokens: 3 });
    expect(stopped.choices[0].text).toBe(" of of");
    const shown = await complete({ ...pushed, stop: ["f o"], include_stop_str_in_output: true });
    expect(shown.choices[0]).toMatchObject({ text: " of o", finish_reason: "stop" });
  });

  it("count a prompt once, however many choices it has", async () => {
    const prompts = ["the of", "and to is"];
    const [one, two] = await Promise.all(prompts.map((prompt) => complete({ prompt, max_tokens: 4 })));
    const all = await complete({ prompt: prompts, n: 3, max_tokens: 4, ignore_eos: true });
    expect(all.choices).toHaveLength(6);
    expect(all.usage).toMatchObject({
      prompt_tokens: one.usage.prompt_tokens + two.usage.prompt_tokens,
      completion_tokens: 24,
      total_tokens: one.usage.prompt_tokens + two.usage.prompt_tokens + 24,
    });
    const messages = user("the of and");
    const single = await chat({ messages, max_tokens: 4 });
    const triple = await chat({ messages, n: 3, max_tokens: 4 });
    expect(triple.usage.prompt_tokens).toBe(single.usage.prompt_tokens);
  });
});

describe("formats", () => {
  const digits = {
    type: "object",
    properties: { a: { enum: [1, 22] } },
    required: ["a"],
    additionalProperties: false,
  };
  const forms: [string, object, (text: string) => boolean][] = [
    ["json_object with a schema", { response_format: { type: "json_object", schema: digits } }, isDigits],
    ["json_schema beside its type", { response_format: { type: "json_schema", schema: digits } }, isDigits],
    ["guided_json", { guided_json: digits }, isDigits],
    ["guided_json as text", { guided_json: JSON.stringify(digits) }, isDigits],
    ["json_schema", { json_schema: digits }, isDigits],
    ["structured_outputs.json", { structured_outputs: { json: digits } }, isDigits],
    ["guided_choice", { guided_choice: ["yes", "nö, 不"] }, (text) => ["yes", "nö, 不"].includes(text)],
    ["structured_outputs.choice", { structured_outputs: { choice: ["a"] } }, (text) => text === "a"],
    ["guided_regex", { guided_regex: "(ab|é){2,3}[0-9]" }, (text) => /^(ab|é){2,3}[0-9]$/.test(text)],
    ["structured_outputs.regex", { structured_outputs: { regex: "x|y" } }, (text) => /^[xy]$/.test(text)],
  ];
  function isDigits(text: string): boolean {
    const value = JSON.parse(text);
    return Object.keys(value).join() === "a" && [1, 22].includes(value.a);
  }

  it.each(forms)("hold in completions and chat: %s", async (_, fields, holds) => {
    for (const seed of [1, 2]) {
      const sampled = { seed, temperature: 1.5, max_tokens: 200, ...fields };
      const completion = await complete({ prompt: "the", ...sampled });
      expect(completion.choices[0].finish_reason).toBe("stop");
      expect(holds(completion.choices[0].text)).toBe(true);
      const answer = await chat({ messages: user("be"), ...sampled });
      expect(holds(answer.choices[0].message.content)).toBe(true);
    }
  });

  it.each<[string, object, string]>([
    ["two at once", { guided_json: {}, guided_regex: "a" }, "guided_regex"],
    ["a pattern that is none", { guided_regex: "(a" }, "guided_regex"],
    ["text that is no JSON", { guided_json: "{" }, "guided_json"],
    ["JSON that is no schema", { json_schema: "[1]" }, "json_schema"],
    ["no choices", { guided_choice: [] }, "guided_choice"],
    ["a grammar", { structured_outputs: { grammar: "root ::= x" } }, "structured_outputs.grammar"],
    ["a schema that cannot be followed", { guided_json: { type: "nonsense" } }, "guided_json"],
    ["no schema at all", { response_format: { type: "json_schema" } }, "response_format.json_schema"],
  ])("are refused by name: %s", async (_, fields, param) => {
    for (const [path, base] of [
      ["/v1/completions", { prompt: "a" }],
      ["/v1/chat/completions", { messages: user("a") }],
    ] as const) {
      const { status, body } = await test.post(path, { ...base, ...fields });
      expect({ status, param: body.error.param }).toEqual({ status: 400, param });
    }
  });
});

describe("an answer that is continued", () => {
  const begun = (content: string, more: object = {}) => [
    ...user("be"),
    { role: "assistant", content, ...more },
  ];

  it("goes on behind its beginning, which the prompt ends with", async () => {
    const fresh = (await test.post("/tokenize", { messages: user("be") })).body.tokens;
    const { body } = await test.post("/tokenize", {
      messages: begun("the of, and"),
      continue_final_message: true,
    });
    expect(body.tokens).toEqual([...fresh, ...(await idsOf("the of, and"))]);
    const of = await test.tokenId(" of");
    const pushed = { logit_bias: { [of]: 100 }, max_tokens: 2 };
    for (const [messages, more] of [
      [begun("the", { prefix: true }), {}],
      [begun("the"), { continue_final_message: true, add_generation_prompt: false }],
    ] as const) {
      const answer = await chat({ messages, ...more, ...pushed });
      expect(answer.choices[0].message.content).toBe(" of of");
      const echoed = await chat({ messages, ...more, ...pushed, echo: true });
      expect(echoed.choices[0].message.content).toBe("the of of");
    }
    // What is not marked is history.
    expect((await test.post("/tokenize", { messages: begun("the") })).body.tokens.slice(-1)).toEqual(
      fresh.slice(-1),
    );
  });

  it("is of its format together with its beginning", async () => {
    const format = { guided_choice: ["yes, sir", "yes, madam", "no"], max_tokens: 20 };
    const answer = await chat({ messages: begun("yes, ", { prefix: true }), ...format });
    expect(["sir", "madam"]).toContain(answer.choices[0].message.content);
    const { status, body } = await test.post("/v1/chat/completions", {
      messages: begun("maybe", { prefix: true }),
      ...format,
    });
    expect({ status, param: body.error.param }).toEqual({ status: 400, param: "guided_choice" });
  });

  it.each<[string, object, string]>([
    ["in the middle", { messages: [...begun("a", { prefix: true }), ...user("b")] }, "messages[1].prefix"],
    ["of a user", { messages: user("a"), continue_final_message: true }, "continue_final_message"],
    [
      "and begun anew",
      { messages: begun("a"), continue_final_message: true, add_generation_prompt: true },
      "add_generation_prompt",
    ],
    [
      "by reasoning where the model has none",
      { messages: begun("", { prefix: true, reasoning_content: "hm" }) },
      "messages",
    ],
    ["with nothing to repeat", { messages: user("a"), echo: true }, "echo"],
  ])("is refused %s", async (_, fields, param) => {
    const { status, body } = await test.post("/v1/chat/completions", fields);
    expect({ status, param: body.error.param }).toEqual({ status: 400, param });
  });
});
