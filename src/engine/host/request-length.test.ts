import { expect, it } from "vitest";
import { parseChat, parseCompletion } from "../../serve/schemas.ts";
import { RequestError } from "./errors.ts";
import type { GenerationRequest } from "./protocol.ts";
import { checkLength } from "./request-length.ts";

const limits = { context: 10, longestToken: 4 };
const code = (body: object) => {
  const { job } = "prompt" in body ? parseCompletion(body) : parseChat(body);
  try {
    checkLength(job as GenerationRequest, limits);
    return null;
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    return [error.fault.kind, error.fault.code, error.fault.param];
  }
};
const user = (content: string) => ({ messages: [{ role: "user", content }] });

it("refuses what certainly has more tokens than the context, and nothing else", () => {
  const refused = (param: string) => ["invalid", "context_length_exceeded", param];
  expect(code({ prompt: "a".repeat(40) })).toBeNull();
  expect(code({ prompt: "a".repeat(41) })).toEqual(refused("prompt"));
  expect(code({ prompt: "日".repeat(14) })).toEqual(refused("prompt"));
  expect(code({ prompt: "a".repeat(30), suffix: "b".repeat(11) })).toEqual(refused("prompt"));
  expect(code({ prompt: [[1], new Array(11).fill(1)] })).toEqual(refused("prompt"));
  expect(code({ prompt: new Array(10).fill(1) })).toBeNull();
  expect(code(user("a".repeat(41)))).toEqual(refused("messages"));
  // Templates trim contents, and cut earlier answers.
  expect(code(user(" ".repeat(1000)))).toBeNull();
  expect(
    code({ messages: [...user("a").messages, { role: "assistant", content: "b".repeat(1000) }] }),
  ).toBeNull();
});
