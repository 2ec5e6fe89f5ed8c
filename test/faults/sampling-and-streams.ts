/** Sampling settings, log-probabilities, stop strings and the chunks of streams. */
import type { Item, RequestCase } from "./request-cases.ts";

export const samplingAndStreams: readonly RequestCase[] = [
  {
    title: "presence and frequency penalties count only what was generated",
    requests: [
      {
        path: "/v1/completions",
        body: {
          prompt: [
            345, 379, 350, 350, 331, 385, 265, 275, 265, 354, 324, 376, 336, 341, 305, 353, 307, 340, 354,
            327, 336, 356, 286, 266, 293, 339, 388, 316, 328, 321, 343, 307, 371, 284, 286, 342, 345, 317,
            372, 303, 280, 346, 315, 375, 329, 317, 290, 268, 395, 308, 340, 306, 331, 347, 281, 348, 293,
            367, 334, 392,
          ],
          max_tokens: 1,
          temperature: 0,
          logprobs: 0,
          presence_penalty: 2,
          frequency_penalty: 2,
        },
        check: (a) => {
          const t = a.json.choices[0].logprobs.tokens[0];
          if (t !== "or") return `another first token: ${t}`;
        },
      },
      {
        path: "/v1/completions",
        body: {
          prompt: [
            315, 325, 321, 308, 326, 295, 307, 269, 325, 303, 271, 340, 306, 368, 283, 281, 290, 283, 327,
            334, 269, 351, 375, 346, 261, 267, 345, 344, 371, 357, 384, 279, 313, 385, 360, 292, 399, 341,
            290, 330, 279, 370, 288, 372, 395, 324, 284, 395, 355, 354, 375, 335, 327, 287, 346, 397, 394,
            289, 386, 390,
          ],
          max_tokens: 1,
          temperature: 0,
          logprobs: 0,
          presence_penalty: 2,
          frequency_penalty: 2,
        },
        check: (a) => {
          const t = a.json.choices[0].logprobs.tokens[0];
          if (t !== "üße") return `another first token: ${t}`;
        },
      },
      {
        path: "/v1/completions",
        body: {
          prompt: [
            314, 291, 332, 310, 281, 312, 359, 322, 316, 345, 318, 283, 345, 337, 315, 398, 313, 361, 260,
            389, 336, 321, 297, 331, 278, 324, 348, 312, 334, 299, 348, 315, 311, 289, 376, 369, 324, 274,
            396, 361, 327, 333, 394, 311, 375, 312, 339, 349, 282, 287, 367, 362, 348, 320, 324, 291, 291,
            266, 304, 341,
          ],
          max_tokens: 1,
          temperature: 0,
          logprobs: 0,
          presence_penalty: 2,
          frequency_penalty: 2,
        },
        check: (a) => {
          const t = a.json.choices[0].logprobs.tokens[0];
          if (t !== "ok") return `another first token: ${t}`;
        },
      },
      {
        path: "/v1/completions",
        body: {
          prompt: [
            399, 357, 299, 359, 325, 281, 314, 385, 390, 283, 359, 338, 278, 394, 340, 323, 309, 316, 392,
            360, 378, 334, 296, 299, 260, 321, 304, 389, 376, 355, 366, 361, 372, 391, 337, 363, 396, 357,
            337, 280, 340, 287, 280, 358, 368, 326, 378, 336, 284, 319, 376, 383, 301, 287, 357, 386, 314,
            372, 336, 265,
          ],
          max_tokens: 1,
          temperature: 0,
          logprobs: 0,
          presence_penalty: 2,
          frequency_penalty: 2,
        },
        check: (a) => {
          const t = a.json.choices[0].logprobs.tokens[0];
          if (t !== "28") return `another first token: ${t}`;
        },
      },
    ],
  },
  {
    title: "logprobs give the bytes of tokens that are part of a character",
    requests: [
      {
        path: "/v1/chat/completions",
        body: {
          messages: [{ role: "user", content: "hi" }],
          max_tokens: 4,
          temperature: 0,
          logprobs: true,
          top_logprobs: 20,
        },
        check: (a) => {
          const b = a.json.choices[0].logprobs.content
            .flatMap((e: Item) => e.top_logprobs)
            .filter((e: Item) => e.token === "\ufffd")
            .map((e: Item) => e.bytes);
          if (b.length === 0) return "no such token";
          if (b.some((x: Item) => JSON.stringify(x) === "[239,191,189]")) return "bytes of U+FFFD";
        },
      },
    ],
  },
  {
    title: "a stop string across tokens never shows, streamed or not",
    requests: [
      {
        path: "/v1/completions",
        body: { prompt: "the of and", max_tokens: 16, temperature: 0, stop: ["tR"] },
        check: (a) => {
          if (a.json.choices[0].text !== "56� bu" || a.json.choices[0].finish_reason !== "stop")
            return "text";
        },
      },
      {
        path: "/v1/completions",
        body: { prompt: "the of and", max_tokens: 16, temperature: 0, stop: ["tR"], stream: true },
        check: (a) => {
          const t = a.text
            .split("\n\n")
            .filter((x: Item) => x.startsWith("data: {"))
            .map((x: Item) => JSON.parse(x.slice(6)).choices[0]?.text ?? "")
            .join("");
          if (t !== "56� bu") return `streamed ${JSON.stringify(t)}`;
        },
      },
      {
        path: "/v1/completions",
        body: { prompt: "the of and", max_tokens: 16, temperature: 0, stop: ["nD"] },
        check: (a) => {
          if (a.json.choices[0].text !== "56� butR� o" || a.json.choices[0].finish_reason !== "stop")
            return "text";
        },
      },
      {
        path: "/v1/completions",
        body: { prompt: "the of and", max_tokens: 16, temperature: 0, stop: ["nD"], stream: true },
        check: (a) => {
          const t = a.text
            .split("\n\n")
            .filter((x: Item) => x.startsWith("data: {"))
            .map((x: Item) => JSON.parse(x.slice(6)).choices[0]?.text ?? "")
            .join("");
          if (t !== "56� butR� o") return `streamed ${JSON.stringify(t)}`;
        },
      },
      {
        path: "/v1/completions",
        body: { prompt: "the of and", max_tokens: 16, temperature: 0, stop: ["Dt"] },
        check: (a) => {
          if (a.json.choices[0].text !== "56� butR� on" || a.json.choices[0].finish_reason !== "stop")
            return "text";
        },
      },
      {
        path: "/v1/completions",
        body: { prompt: "the of and", max_tokens: 16, temperature: 0, stop: ["Dt"], stream: true },
        check: (a) => {
          const t = a.text
            .split("\n\n")
            .filter((x: Item) => x.startsWith("data: {"))
            .map((x: Item) => JSON.parse(x.slice(6)).choices[0]?.text ?? "")
            .join("");
          if (t !== "56� butR� on") return `streamed ${JSON.stringify(t)}`;
        },
      },
      {
        path: "/v1/completions",
        body: { prompt: "the of and", max_tokens: 16, temperature: 0, stop: ["nD"] },
        check: (a) => {
          if (a.json.choices[0].text !== "56� butR� o" || a.json.choices[0].finish_reason !== "stop")
            return "text";
        },
      },
      {
        path: "/v1/completions",
        body: { prompt: "the of and", max_tokens: 16, temperature: 0, stop: ["nD"], stream: true },
        check: (a) => {
          const t = a.text
            .split("\n\n")
            .filter((x: Item) => x.startsWith("data: {"))
            .map((x: Item) => JSON.parse(x.slice(6)).choices[0]?.text ?? "")
            .join("");
          if (t !== "56� butR� o") return `streamed ${JSON.stringify(t)}`;
        },
      },
      {
        path: "/v1/completions",
        body: { prompt: "the of and", max_tokens: 16, temperature: 0, stop: ["D!"] },
        check: (a) => {
          if (a.json.choices[0].text !== "56� butR� onDthe�con" || a.json.choices[0].finish_reason !== "stop")
            return "text";
        },
      },
      {
        path: "/v1/completions",
        body: { prompt: "the of and", max_tokens: 16, temperature: 0, stop: ["D!"], stream: true },
        check: (a) => {
          const t = a.text
            .split("\n\n")
            .filter((x: Item) => x.startsWith("data: {"))
            .map((x: Item) => JSON.parse(x.slice(6)).choices[0]?.text ?? "")
            .join("");
          if (t !== "56� butR� onDthe�con") return `streamed ${JSON.stringify(t)}`;
        },
      },
      {
        path: "/v1/completions",
        body: { prompt: "the of and", max_tokens: 16, temperature: 0, stop: ["b2"] },
        check: (a) => {
          if (
            a.json.choices[0].text !== "56� butR� onDthe�conD!� " ||
            a.json.choices[0].finish_reason !== "stop"
          )
            return "text";
        },
      },
      {
        path: "/v1/completions",
        body: { prompt: "the of and", max_tokens: 16, temperature: 0, stop: ["b2"], stream: true },
        check: (a) => {
          const t = a.text
            .split("\n\n")
            .filter((x: Item) => x.startsWith("data: {"))
            .map((x: Item) => JSON.parse(x.slice(6)).choices[0]?.text ?? "")
            .join("");
          if (t !== "56� butR� onDthe�conD!� ") return `streamed ${JSON.stringify(t)}`;
        },
      },
    ],
  },
  {
    title: "seed -1, top_k -1, top_p 0, tiny temperatures",
    requests: [
      {
        path: "/v1/chat/completions",
        body: { messages: [{ role: "user", content: "hi" }], max_tokens: 8, temperature: 0, seed: -1 },
        check: (a) => {
          if (a.status !== 200) return "not 200";
        },
      },
      {
        path: "/v1/chat/completions",
        body: { messages: [{ role: "user", content: "hi" }], max_tokens: 8, temperature: 0, top_k: -1 },
        check: (a) => {
          if (a.status !== 200) return "not 200";
        },
      },
      {
        path: "/v1/chat/completions",
        body: { messages: [{ role: "user", content: "hi" }], max_tokens: 8, temperature: 1, top_p: 0 },
        check: (a) => {
          if (a.status !== 200) return "not 200";
        },
      },
      {
        path: "/v1/chat/completions",
        body: { messages: [{ role: "user", content: "hi" }], max_tokens: 8, temperature: 5e-324 },
        check: (a) => {
          if (a.status !== 200) return "not 200";
        },
      },
      {
        path: "/v1/chat/completions",
        body: { messages: [{ role: "user", content: "hi" }], max_tokens: 8, temperature: 1, top_p: 1e-12 },
        check: (a) => {
          if (a.status !== 200) return "not 200";
        },
      },
    ],
  },
  {
    title: "usage comes as a last chunk without choices, null before",
    requests: [
      {
        path: "/v1/chat/completions",
        body: {
          messages: [{ role: "user", content: "hi" }],
          max_tokens: 3,
          temperature: 0,
          stream: true,
          stream_options: { include_usage: true },
        },
        check: (a) => {
          const c = a.text
            .split("\n\n")
            .filter((x: Item) => x.startsWith("data: {"))
            .map((x: Item) => JSON.parse(x.slice(6)));
          const last = c.at(-1);
          if (
            last.choices.length !== 0 ||
            !(last.usage.completion_tokens >= 1) ||
            c.slice(0, -1).some((x: Item) => x.usage !== null || x.choices.length !== 1)
          )
            return "chunks";
          if (!a.text.trimEnd().endsWith("data: [DONE]")) return "no [DONE]";
        },
      },
    ],
  },
];
