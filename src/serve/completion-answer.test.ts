import { expect, it } from "vitest";
import { logprobsBody } from "./completion-answer.ts";

const utf8 = new TextEncoder();
const of = (token: string, logprob: number, bytes: readonly number[] = [...utf8.encode(token)]) => ({
  id: 1,
  token,
  bytes,
  logprob,
});

it("loses no token where several print alike", () => {
  const top = [
    of("a", -1),
    of("\ufffd", -2, [0xe2]),
    of("\ufffd", -3, [0xe3, 0x81]),
    of("\ufffd", -4),
    of("a", -5),
    of("a", -6),
    of("__proto__", -7),
    of("", -8, []),
    of("", -9, []),
  ];
  const body = logprobsBody([{ ...of("\ufffd", -2, [0xe2]), top, offset: 0 }]);
  expect(body.tokens).toEqual(["bytes:\\xe2"]);
  expect(Object.entries(body.top_logprobs[0]!)).toEqual([
    ["a", -1],
    ["bytes:\\xe2", -2],
    ["bytes:\\xe3\\x81", -3],
    ["\ufffd", -4],
    ["bytes:\\x61", -5],
    ["bytes:\\x61 (2)", -6],
    ["__proto__", -7],
    ["", -8],
    ["bytes:", -9],
  ]);
});
