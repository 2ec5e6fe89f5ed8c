/** Routes, served names, and fields that clients of other servers send. */
import type { Item, RequestCase } from "./request-cases.ts";

export const completionsAndRoutes: readonly RequestCase[] = [
  {
    title: "max_tokens -1 means as many as there is room for",
    requests: [
      {
        path: "/v1/chat/completions",
        body: {
          messages: [{ role: "user", content: "hi" }],
          max_tokens: -1,
          temperature: 0,
          stop: ["e", "a", " "],
        },
        check: (a) => {
          if (a.status !== 200) return "not 200";
        },
      },
      {
        path: "/v1/completions",
        body: { prompt: "the of", max_tokens: -1, temperature: 0, stop: ["e", "a", " "] },
        check: (a) => {
          if (a.status !== 200) return "not 200";
        },
      },
    ],
  },
  {
    title: "DeepSeek's own base address has no /v1",
    requests: [
      {
        path: "/chat/completions",
        body: { messages: [{ role: "user", content: "hi" }], max_tokens: 3 },
        check: (a) => {
          if (a.status !== 200) return "not 200";
        },
      },
      {
        path: "/models",
        method: "GET",
        check: (a) => {
          if (a.status !== 200) return "not 200";
          if (a.json.data[0].id !== "tiny") return "no model";
        },
      },
    ],
  },
  {
    title: "the prompt's log-probabilities: echo with logprobs",
    requests: [
      {
        path: "/v1/completions",
        body: {
          prompt: [[354, 298, 354]],
          temperature: 0,
          max_tokens: 1,
          logprobs: 1,
          seed: 1234,
          echo: true,
        },
        check: (a) => {
          if (a.status !== 200) return "not 200";
          const l = a.json.choices[0].logprobs;
          if (l.token_logprobs.length !== 4 || l.tokens.length !== 4 || l.top_logprobs.length !== 4)
            return "expected three prompt tokens and one more";
          if (l.token_logprobs[0] !== null) return "the first has nothing before it";
          if (!l.token_logprobs.slice(1).every((x: Item) => x < 0 && x > -40)) return "log-probabilities";
        },
      },
      {
        path: "/v1/completions",
        body: { prompt: [354, 298], max_tokens: 0, logprobs: 1, echo: true },
        check: (a) => {
          if (a.status !== 200) return "not 200";
          if (a.json.choices[0].logprobs.token_logprobs.length !== 2) return "expected the prompt only";
        },
      },
    ],
  },
  {
    title: "one model under several names",
    options: ["--served-name", "tiny", "--served-name", "deepseek-chat"],
    requests: [
      {
        path: "/v1/chat/completions",
        body: { messages: [{ role: "user", content: "hi" }], max_tokens: 3 },
        check: (a) => {
          if (a.status !== 200) return "not 200";
        },
      },
      {
        path: "/v1/chat/completions",
        body: { model: "deepseek-chat", messages: [{ role: "user", content: "hi" }], max_tokens: 3 },
        check: (a) => {
          if (a.status !== 200) return "not 200";
        },
      },
      {
        path: "/v1/models",
        method: "GET",
        check: (a) => {
          if (a.status !== 200) return "not 200";
          if (a.json.data.length !== 2) return "expected both names";
        },
      },
    ],
  },
  {
    title: "fields of newer clients that must not disturb",
    requests: [
      {
        path: "/v1/chat/completions",
        body: {
          messages: [{ role: "user", content: "hi" }],
          max_tokens: 3,
          store: true,
          metadata: { a: "b" },
          service_tier: "auto",
          user: "u",
          prompt_cache_key: "k",
          safety_identifier: "s",
          verbosity: "low",
          reasoning_effort: "minimal",
          prediction: { type: "content", content: "abc" },
          logit_bias: {},
          stop: [],
        },
        check: (a) => {
          if (a.status !== 200) return "not 200";
        },
      },
      {
        path: "/v1/completions",
        body: {
          prompt: "a",
          max_tokens: 3,
          temperature: 0,
          top_p: 1,
          presence_penalty: 0,
          frequency_penalty: 0,
          best_of: 1,
          n: 1,
          stop: ["<|im_end|>", "<|endoftext|>"],
        },
        check: (a) => {
          if (a.status !== 200) return "not 200";
        },
      },
      {
        path: "/v1/chat/completions",
        body: {
          messages: [{ role: "user", content: "hi", type: "text" }],
          max_tokens: 3,
          temperature: 0,
          stop: ["a", "b", "c", "d"],
          seed: 1234,
        },
        check: (a) => {
          if (a.status !== 200) return "not 200";
        },
      },
    ],
  },
];
