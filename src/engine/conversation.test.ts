import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { contentOf, type Message } from "../chat/messages.ts";
import { ReplyReader } from "../chat/reply.ts";
import type { ReplyPiece } from "../chat/reply-pieces.ts";
import { builtinTemplate } from "../chat/template.ts";
import { testTokenizer } from "../chat/testing.ts";
import type { CausalLM } from "../models/causal-lm.ts";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import { ConfigError } from "../tensor/errors.ts";
import type { Device } from "../tensor/tensor.ts";
import { TOKEN } from "../tokenizer/families.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { Conversation, ModelSource, type Reply, type ReplyEvent, type ReplyStream } from "./conversation.ts";
import { generate } from "./generate.ts";
import { smallV3 } from "./testing.ts";
import { scriptedSource } from "./testing-source.ts";

let device: Device;
let tokenizer: Tokenizer;
let thinker: Tokenizer;
let model: CausalLM;
beforeAll(async () => {
  device = await createCpuDevice({ threads: 1 });
  tokenizer = await testTokenizer("v3");
  thinker = await testTokenizer("v3.1");
  model = smallV3(device, { vocabulary: 512, maxPositions: 200 });
});
afterAll(async () => {
  model[Symbol.dispose]();
  await device[Symbol.asyncDispose]();
});

async function collect(stream: ReplyStream): Promise<{ pieces: ReplyEvent[]; reply: Reply }> {
  const pieces: ReplyEvent[] = [];
  for (;;) {
    const next = await stream.next();
    if (next.done) return { pieces, reply: next.value };
    pieces.push(next.value);
  }
}

const answer = async (stream: ReplyStream) => (await collect(stream)).reply;
const said = (reply: Reply) => reply.content;
const roles = ({ messages }: Conversation) => messages.map(({ role }) => role).join(" ");

describe("a reply", () => {
  const read = (from: Tokenizer, text: string, options = {}) => {
    const reader = new ReplyReader(from, options);
    const pieces: ReplyPiece[] = [];
    for (const id of from.encode(text, { addSpecialTokens: false })) pieces.push(...reader.push(id));
    pieces.push(...reader.end());
    return {
      ...reader.result,
      stopString: reader.stopString,
      reasoningTokens: reader.reasoningTokens,
      pieces,
    };
  };
  const call = `${TOKEN.toolCallsBegin}${TOKEN.toolCallBegin}f${TOKEN.toolSep}{"x": 1}${TOKEN.toolCallEnd}${TOKEN.toolCallsEnd}`;

  it("is thought, text and calls; other control tokens are not printed", () => {
    const result = read(thinker, `I see.</think>Hello 😀!${TOKEN.user}${call}${TOKEN.eos}`, {
      opensReasoning: true,
      stopIds: [1, thinker.idOf(TOKEN.user)],
    });
    expect(result).toMatchObject({ reasoning: "I see.", content: "Hello 😀!", malformed: false });
    expect(result.calls).toEqual([
      { id: "call_0", type: "function", function: { name: "f", arguments: '{"x": 1}' } },
    ]);
    expect(result.reasoningTokens).toBe(thinker.encode("I see.</think>", { addSpecialTokens: false }).length);
  });

  it("shows no control token of the template's, and ends where the user's turn begins", () => {
    const template = builtinTemplate(tokenizer, "v3");
    const reader = template.reader({ opensReasoning: false });
    const { assistant, toolOutputBegin, eot, user } = TOKEN;
    for (const id of tokenizer.encode(`a${assistant}b${toolOutputBegin}c${eot}d`)) reader.push(id);
    reader.end();
    expect(reader.result.content).toBe("abcd");
    expect(template.stopIds).toContain(tokenizer.idOf(user));
  });

  it("ends at a stop string, loses one leading space, and leaves calls alone where there are no tools", () => {
    expect(read(tokenizer, " one two END three", { stripsSpace: true, stop: "END" })).toMatchObject({
      content: "one two ",
      stopString: "END",
    });
    expect(read(tokenizer, "  one", { stripsSpace: true }).content).toBe(" one");
    expect(read(tokenizer, `a${call}`, { tools: false }).content).toContain("a");
    expect(read(tokenizer, `a${call}`, { tools: false }).calls).toEqual([]);
  });

  it("has a broken character where a control token cuts one off", () => {
    const [first] = tokenizer.encode("😀", { addSpecialTokens: false });
    const reader = new ReplyReader(tokenizer);
    const pieces = [
      reader.push(first),
      reader.push(tokenizer.idOf(TOKEN.toolCallsBegin)!),
      reader.end(),
    ].flat();
    expect(pieces).toEqual([
      { kind: "content", text: "\uFFFD" },
      { kind: "content", text: TOKEN.toolCallsBegin, malformed: true },
    ]);
  });
});

describe("a conversation", () => {
  const open = (replies: readonly string[], system: string | null = null) => {
    const source = scriptedSource(tokenizer, replies);
    const conversation = new Conversation(source, tokenizer, builtinTemplate(tokenizer, "v3"), { system });
    return { source, conversation };
  };
  const { bos, eos, user, assistant } = TOKEN;

  it("remembers, takes back, answers anew, edits and forgets", async () => {
    const { source, conversation } = open(["a1", "a2", "b2", "c1", "d1"], "S");
    expect(said(await answer(conversation.send("u1")))).toBe("a1");
    expect(said(await answer(conversation.send("u2")))).toBe("a2");
    expect(source.prompts.at(-1)).toBe(`${bos}S${user}u1${assistant}a1${eos}${user}u2${assistant}`);
    expect(said(await answer(conversation.regenerate()))).toBe("b2");
    expect(source.prompts[2]).toBe(source.prompts[1]);
    expect(conversation.messages.map(({ content }) => content)).toEqual(["S", "u1", "a1", "u2", "b2"]);
    expect(conversation.undo()).toEqual({ role: "user", content: "u2" });
    expect(roles(conversation)).toBe("system user assistant");
    expect(said(await answer(conversation.edit(1, "v1")))).toBe("c1");
    expect(conversation.turns).toEqual([{ role: "user", content: "v1" }]);
    conversation.system = null;
    conversation.reset();
    expect(conversation.messages).toEqual([]);
    expect(conversation.undo()).toBe(null);
    expect(() => conversation.regenerate()).toThrow(/no message to regenerate/);
    expect(() => conversation.edit(1, "x")).toThrow(/none yet/);
    await answer(conversation.send("w"));
    expect(() => conversation.edit(3, "x")).toThrow(/expected: 1 to 1; found: 3/);
  });

  it("calls tools and goes on with their results", async () => {
    const call = `${TOKEN.toolCallsBegin}${TOKEN.toolCallBegin}function${TOKEN.toolSep}f\n\`\`\`json\n{}\n\`\`\`${TOKEN.toolCallEnd}${TOKEN.toolCallsEnd}`;
    const { source, conversation } = open([call, `and ${call}`, "done"]);
    conversation.tools = [{ type: "function", function: { name: "f" } }];
    const first = await answer(conversation.send("u"));
    expect(first.message).toMatchObject({ role: "assistant", content: null });
    expect(first.calls[0].id).toBe("call_0");
    const second = await answer(
      conversation.sendToolResults([{ role: "tool", content: "r", tool_call_id: "call_0" }]),
    );
    expect(second.calls[0].id).toBe("call_1");
    await answer(conversation.sendToolResults([{ role: "tool", content: "s", tool_call_id: "call_1" }]));
    expect(source.prompts[2]).toContain(`${call}${eos}${TOKEN.toolOutputsBegin}${TOKEN.toolOutputBegin}r`);
    expect(source.prompts[2].endsWith(TOKEN.toolOutputsEnd)).toBe(true);
    expect(roles(conversation)).toBe("user assistant tool assistant tool assistant");
    expect(() => conversation.sendToolResults([])).toThrow(ConfigError);
  });

  it("keeps what was written when the reader leaves, and no message that got no answer", async () => {
    const { conversation } = open(["one two three four", ""]);
    const stream = conversation.send("u");
    const first = await stream.next();
    expect(() => conversation.send("v")).toThrow(/still being generated/);
    await stream.return(undefined as never);
    const kept = contentOf(conversation.messages[1]);
    expect(kept).toBe((first.value as { text: string }).text);
    expect("one two three four".startsWith(kept)).toBe(true);
    const { message } = await answer(conversation.send("v"));
    expect(message).toBe(null);
    expect(roles(conversation)).toBe("user assistant");
  });

  it("refuses a stream that comes too late", async () => {
    const { conversation } = open(["a", "b"]);
    const [one, two] = [conversation.send("u"), conversation.send("v")];
    await answer(one);
    await expect(two.next()).rejects.toThrow(/has changed/);
    expect(roles(conversation)).toBe("user assistant");
  });

  it("loads messages", async () => {
    const { source, conversation } = open(["x"]);
    const messages: Message[] = [
      { role: "system", content: "S" },
      { role: "user", content: "u" },
      { role: "assistant", content: "a" },
    ];
    conversation.load(messages);
    expect(conversation.system).toBe("S");
    await answer(conversation.send("v"));
    expect(source.prompts[0]).toBe(`${bos}S${user}u${assistant}a${eos}${user}v${assistant}`);
    expect(() => conversation.load([{ role: "user" } as Message])).toThrow(ConfigError);
  });

  it("says how many tokens to free when the context is full", async () => {
    const { source, conversation } = open(["a"]);
    Object.assign(source, { context: 20 });
    const tokens = (text: string) => tokenizer.encode(text, { addSpecialTokens: false }).length;
    const long = "the ".repeat(40);
    const excess = tokens(`${bos}${user}${long}${assistant}`) - 19;
    expect(() => conversation.send(long)).toThrow(`Free at least ${excess} tokens`);
    expect(conversation.messages).toEqual([]);
    await answer(conversation.send("a", { maxTokens: 1000 }));
    expect(source.options[0].maxTokens).toBe(20 - tokens(`${bos}${user}a${assistant}`));
  });
});

describe("over a model", () => {
  const settings = { maxTokens: 12, temperature: 1, seed: 3 };

  it("reuses the prefix it shares with the turn before, and writes what a fresh model writes", async () => {
    const template = builtinTemplate(tokenizer, "v3");
    using conversation = new Conversation(model, tokenizer, template);
    const first = await answer(conversation.send("Hello!", settings));
    expect(first.stats.cachedTokens).toBe(0);
    const replies = [first];
    for (const text of ["How are you?", "The weather is nice."]) {
      const before = conversation.countTokens();
      const prompt = template.prompt([...conversation.messages, { role: "user", content: text }]);
      const reply = await answer(conversation.send(text, settings));
      // At least the whole prompt of the turn before, up to its reply, is still in the cache.
      expect(reply.stats.cachedTokens).toBeGreaterThan(before - 30);
      expect(reply.stats.cachedTokens).toBeLessThan(reply.stats.promptTokens);
      using fresh = new Conversation(model, tokenizer, template);
      fresh.load(conversation.messages.slice(0, -2));
      expect(said(await answer(fresh.send(text, settings)))).toBe(reply.content);
      expect(reply.stats.promptTokens).toBe(prompt.ids.length);
      replies.push(reply);
    }
    const again = await answer(conversation.regenerate(settings));
    expect(again.content).toBe(replies[2].content);
    expect(again.stats.cachedTokens).toBe(again.stats.promptTokens - 1);
  });

  it("is right after replies that were cut off at any point", async () => {
    using source = new ModelSource(model);
    const prompt = tokenizer.encode(`${TOKEN.bos}Hello! How are you today?`);
    const options = { maxTokens: 8, temperature: 1, seed: 5, stopIds: [] };
    const expected: number[] = [];
    for await (const { id } of generate(model, prompt, options)) expected.push(id);
    const take = async (count: number, signal?: AbortSignal) => {
      const ids: number[] = [];
      if (count === 0) return ids;
      for await (const { id } of source.generate(prompt, { ...options, signal, prefillChunk: 4 }).tokens) {
        ids.push(id);
        if (ids.length === count) break;
      }
      return ids;
    };
    const dropped = source.generate(prompt, options);
    for (const count of [1, 0, 3, 8, 2]) {
      await take(2, AbortSignal.abort());
      expect(await take(count)).toEqual(expected.slice(0, count));
    }
    expect(dropped.stats().generatedTokens).toBe(0);
    const last = [];
    for await (const { id } of dropped.tokens) last.push(id);
    expect(last).toEqual(expected);
    expect(dropped.stats()).toMatchObject({ cachedTokens: prompt.length - 1, generatedTokens: 8 });
  });

  it("drafts without the cache, and frees everything", async () => {
    const before = device.backend.memory().buffers;
    {
      using conversation = new Conversation(model, tokenizer, builtinTemplate(tokenizer, "v3"));
      const plain = await answer(conversation.send("Hello!", { maxTokens: 10 }));
      const drafted = await answer(conversation.regenerate({ maxTokens: 10, speculative: true }));
      expect(drafted.content).toBe(plain.content);
      expect(drafted.stats.speculative!.drafted).toBeGreaterThan(0);
      expect(drafted.stats.cachedTokens).toBe(0);
    }
    expect(device.backend.memory().buffers).toBe(before);
  });
});
