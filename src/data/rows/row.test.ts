/** The forms of rows, and what is refused by name. */
import { describe, expect, it } from "vitest";
import { parseRow, type RowKind, splitText } from "./row.ts";

const user = (content: unknown) => ({ role: "user", content });
const assistant = (content: unknown) => ({ role: "assistant", content });
const at = "a.jsonl line 7";
const read = <K extends RowKind>(kind: K, value: unknown) => parseRow(kind, value, at);
const refusal = (kind: RowKind, value: unknown): string => {
  try {
    parseRow(kind, value, at);
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error(`was taken: ${JSON.stringify(value)}`);
};

describe("rows to learn", () => {
  it("are conversations, whatever stands beside them", () => {
    const messages = [user("a"), assistant("b")];
    expect(read("supervised", { messages, id: 3, prompt: "a", score: null })).toEqual({
      form: "conversation",
      messages,
    });
    expect(
      read("supervised", {
        conversations: [
          { from: "human", value: "a" },
          { from: "gpt", value: "b" },
        ],
      }),
    ).toEqual({ form: "conversation", messages });
  });

  it("are prompts with completions, both texts or both messages", () => {
    expect(read("supervised", { prompt: "2+2=", completion: " 4" })).toEqual({
      form: "completion",
      prompt: "2+2=",
      completion: " 4",
    });
    expect(read("supervised", { prompt: [user("a")], completion: [assistant("b")] })).toEqual({
      form: "completion",
      prompt: [user("a")],
      completion: [assistant("b")],
    });
    expect(refusal("supervised", { prompt: "a", completion: [assistant("b")] })).toMatch(
      /a\.jsonl line 7: texts and messages in one row; name: completion; expected: a text, as prompt is/,
    );
  });

  it("have tools, calls and reasoning, as columns with nulls hold them", () => {
    const call = { id: null, type: "function", function: { name: "add", arguments: { a: 1 } } };
    const messages = [
      { ...user("1+1"), tool_calls: null, name: null },
      { role: "assistant", content: null, tool_calls: [call] },
      { role: "tool", content: "2", tool_call_id: "call_0" },
      { role: "assistant", content: "two", reasoning_content: "easy" },
    ];
    const tools = JSON.stringify([{ type: "function", function: { name: "add" } }]);
    expect(read("supervised", { messages, tools })).toEqual({
      form: "conversation",
      messages: [
        user("1+1"),
        {
          role: "assistant",
          content: null,
          tool_calls: [{ id: "call_0", type: "function", function: { name: "add", arguments: '{"a":1}' } }],
        },
        { role: "tool", content: "2", tool_call_id: "call_0" },
        { role: "assistant", content: "two", reasoning_content: "easy" },
      ],
      tools: [{ type: "function", function: { name: "add" } }],
    });
  });

  it.each([
    [{ messages: [user("a")] }, /must end with the assistant's turn; name: messages; found: user/],
    [{ messages: [] }, /too few or too many messages; name: messages; expected: 1 to 10000; found: 0/],
    [{ messages: [user("a"), user("b"), assistant("c")] }, /two turns of one speaker.*messages\[1\].*user/],
    [
      { messages: [user("a"), { role: "system", content: "b" }, assistant("c")] },
      /must be the first message/,
    ],
    [
      { messages: [user(" "), assistant("c")] },
      /a turn without text; name: messages\[0\]\.content; found: " "/,
    ],
    [
      { messages: [user("a"), { ...assistant("c"), weight: 0 }] },
      /unknown field; name: messages\[1\]\.weight/,
    ],
    [
      { messages: [{ role: "bot", content: "a" }] },
      /unknown; name: messages\[0\]\.role; expected.*found: "bot"/,
    ],
    [{ messages: [user([{ type: "image", image: "a.png" }]), assistant("b")] }, /only text.*train --data/],
    [{ messages: [user("a"), assistant("b")], weight: 2 }, /not supported.*name: weight; found: 2/],
    [{ text: "a" }, /expected: messages, or prompt and completion; found: \[text\].*deepseek-ts train/],
    [{ prompt: "a" }, /not a row of this kind/],
    [{ prompt: "a", completion: "" }, /an empty answer; name: completion/],
    [{ prompt: "", completion: "a" }, /an empty prompt; name: prompt/],
    [{ messages: [user("a"), assistant("b")], completion: "c" }, /not a row of this kind/],
    [{ messages: "hello" }, /must be a list; name: messages; found: "hello"/],
    [[1], /must be an object/],
    [{ messages: [user("a"), assistant("b")], tools: "[" }, /not valid JSON; name: tools/],
    [
      { messages: [{ ...user("a"), tool_calls: [{ function: { name: "f", arguments: "{}" } }] }] },
      /only an assistant calls/,
    ],
  ])("refuses %j", (value, message) => {
    expect(refusal("supervised", value)).toMatch(message);
    expect(refusal("supervised", value)).toMatch(/^a\.jsonl line 7: /);
  });
});

describe("pairs", () => {
  it("are texts or messages with a prompt", () => {
    expect(read("preference", { prompt: "a", chosen: "b", rejected: "c" })).toEqual({
      form: "preference",
      ...{ prompt: "a", chosen: "b", rejected: "c" },
    });
  });

  it("are whole conversations, whose common beginning is the prompt", () => {
    const begin = [user("a"), assistant("b"), user("c")];
    const row = {
      prompt: "a",
      chosen: [...begin, assistant("good")],
      rejected: [...begin, assistant("bad"), user("no"), assistant("sorry")],
    };
    expect(read("preference", row)).toEqual({
      form: "preference",
      prompt: begin,
      chosen: [assistant("good")],
      rejected: [assistant("bad"), user("no"), assistant("sorry")],
    });
    // The first answer is the same in both: it belongs to the prompt only if a turn of the user follows in both.
    const longer = [...begin, assistant("good")];
    expect(read("preference", { chosen: longer, rejected: [...longer, user("d"), assistant("e")] })).toEqual({
      form: "preference",
      prompt: begin,
      chosen: [assistant("good")],
      rejected: [assistant("good"), user("d"), assistant("e")],
    });
  });

  it.each([
    [{ prompt: "a", chosen: "b" }, /expected: prompt, chosen and rejected; found: \[prompt, chosen\]/],
    [{ chosen: "b", rejected: "c" }, /a pair without its prompt; name: prompt/],
    [{ prompt: "a", chosen: "b", rejected: "b" }, /both answers are the same; name: rejected/],
    [
      { prompt: "a", chosen: "b", rejected: [assistant("c")] },
      /texts and messages in one row; name: rejected/,
    ],
    [{ prompt: [user("a")], chosen: "b", rejected: "c" }, /texts and messages in one row; name: chosen/],
    [
      { chosen: [user("a"), assistant("b")], rejected: [user("x"), assistant("c")] },
      /conversations that begin differently/,
    ],
    [
      { prompt: [user("a")], chosen: [assistant("b"), user("c")], rejected: [assistant("c")] },
      /must begin and end with the assistant's turn; name: chosen; found: assistant to user/,
    ],
    [
      { prompt: [assistant("a")], chosen: [assistant("b")], rejected: [assistant("c")] },
      /a prompt must end where.*found: assistant/,
    ],
  ])("refuses %j", (value, message) => expect(refusal("preference", value)).toMatch(message));
});

describe("prompts", () => {
  it("keep all other fields as they are", () => {
    expect(read("prompt", { prompt: "1+1", answer: 2, images: [], nested: { a: [null] } })).toEqual({
      form: "prompt",
      prompt: "1+1",
      fields: { answer: 2, images: [], nested: { a: [null] } },
    });
    expect(refusal("prompt", { question: "1+1" })).toMatch(/expected: prompt; found: \[question\]/);
  });
});

describe("splitText", () => {
  it("is that of the prompt alone", () => {
    const system = { role: "system", content: "s" };
    const one = read("supervised", { messages: [system, user("a"), assistant("b")] });
    const two = read("supervised", {
      messages: [system, user("a"), assistant("c"), user("d"), assistant("e")],
    });
    const other = read("supervised", { messages: [user("a"), assistant("b")] });
    expect(splitText(two)).toBe(splitText(one));
    expect(splitText(other)).not.toBe(splitText(one));
    const pair = read("preference", {
      prompt: [system, user("a")],
      chosen: [assistant("x")],
      rejected: [assistant("y")],
    });
    expect(splitText(pair)).toBe(splitText(one));
  });
});
