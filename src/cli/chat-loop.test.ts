import { beforeAll, describe, expect, it } from "vitest";
import { contentOf } from "../chat/messages.ts";
import { builtinTemplate } from "../chat/template.ts";
import { testTokenizer } from "../chat/testing.ts";
import { Conversation } from "../engine/conversation.ts";
import { scriptedSource } from "../engine/testing-source.ts";
import { ConfigError } from "../tensor/errors.ts";
import { TOKEN } from "../tokenizer/families.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { encodePng } from "../vision/image/png-writer.ts";
import { type ChatTerminal, chatLoop, type Line } from "./chat-loop.ts";
import type { ChatSettings } from "./chat-settings.ts";
import { isSavedConversation } from "./saved-conversation.ts";
import { greedySettings } from "./testing.ts";

let tokenizer: Tokenizer;
beforeAll(async () => {
  tokenizer = await testTokenizer("v3.1");
});

/** A picture of one pixel. */
const dot = await encodePng({ width: 1, height: 1, rgb: new Uint8Array(3) });

const CTRL_C = Symbol("Ctrl-C");

interface Played {
  /** What stands on the screen, prompts and typed lines included; thought in «», notes in []. */
  readonly screen: string;
  readonly source: ReturnType<typeof scriptedSource>;
  readonly conversation: Conversation;
  readonly settings: ChatSettings;
  readonly files: Map<string, string>;
  /** What lines began as. */
  readonly initial: (string | undefined)[];
  /** What `/save` would write, if it was not saved. */
  readonly unsaved: string | null;
}

/** Plays a user who types `typed`, then Ctrl-D. `stopAfter`: tokens of each reply after which they press Ctrl-C. */
async function play(
  replies: readonly string[],
  typed: readonly (string | typeof CTRL_C)[],
  options: { stats?: boolean; stopAfter?: number; settings?: Partial<ChatSettings>; context?: number } = {},
): Promise<Played> {
  let tokens = 0;
  let controller = new AbortController();
  const source = scriptedSource(tokenizer, replies, async () => {
    if (tokens++ === options.stopAfter) controller.abort();
  });
  if (options.context) Object.assign(source, { context: options.context });
  const conversation = new Conversation(source, tokenizer, builtinTemplate(tokenizer, "v3.1"));
  const files = new Map<string, string>();
  const initial: (string | undefined)[] = [];
  const settings = { ...greedySettings, ...options.settings };
  const queue = [...typed];
  let screen = "";
  const terminal: ChatTerminal = {
    async readLine(prompt, begun): Promise<Line> {
      initial.push(begun);
      const next = queue.shift();
      if (next === undefined) return { kind: "end" };
      if (next === CTRL_C) return { kind: "interrupt" };
      screen += `${prompt}${next}\n`;
      return { kind: "line", text: next };
    },
    write(text, style) {
      screen += style === "note" ? `[${text.trimEnd()}]\n` : style === "thought" ? `«${text}»` : text;
    },
    async stoppable(body) {
      tokens = 0;
      controller = new AbortController();
      return body(controller.signal);
    },
    async readFile(path) {
      const text = files.get(path);
      if (text === undefined) throw Object.assign(new Error(`no such file: ${path}`), { code: "ENOENT" });
      return text;
    },
    async readImage(path) {
      if (!path.endsWith(".png")) throw new ConfigError("no picture", { where: path });
      return { type: "image", image: dot, name: path };
    },
    status() {},
    async writeFile(path, text, force) {
      if (files.has(path) && !(force && isSavedConversation(files.get(path)!))) {
        throw new ConfigError("already exists", { where: path });
      }
      files.set(path, text);
    },
  };
  const unsaved = await chatLoop(conversation, terminal, settings, {
    greeting: "hello",
    stats: options.stats,
  });
  expect(queue, screen).toEqual([]);
  return { screen: screen.replaceAll("»«", ""), source, conversation, settings, files, initial, unsaved };
}

const last = (played: Played) => played.source.prompts.at(-1)!;
const { bos, eos, user, assistant } = TOKEN;
const turn = (text: string) => `${user}${text}${assistant}</think>`;

describe("talking", () => {
  it("streams replies and goes on from them", async () => {
    const played = await play(["I am fine.", "Nice."], ["How are you?", "", "  ", "The weather?"]);
    expect(played.screen).toBe("[hello]\n> How are you?\nI am fine.\n> \n>   \n> The weather?\nNice.\n");
    expect(last(played)).toBe(`${bos}${turn("How are you?")}I am fine.${eos}${turn("The weather?")}`);
    expect(played.source.options.map(({ seed }) => seed)).toEqual([7, 8]);
  });

  it("shows thought apart", async () => {
    const played = await play(["I think.</think>\n\nYes."], ["/set thinking on", "u"]);
    expect(played.screen).toContain("> u\n«I think.»\nYes.\n");
    expect(played.source.prompts[0].endsWith("<think>")).toBe(true);
    expect(played.conversation.messages[1]).toMatchObject({ reasoning_content: "I think.", content: "Yes." });
  });

  it("takes several lines as one message", async () => {
    const played = await play(
      ["a", "b", "c"],
      ["one\\", "two\\", "", '"""', "three", "", ' four """', '"""five"""'],
    );
    expect(played.conversation.turns.map(({ content }) => content)).toEqual([
      "one\ntwo\n",
      "three\n\n four ",
      "five",
    ]);
  });

  it("sends what begins with two slashes", async () => {
    const played = await play(["a"], ["//etc is a folder"]);
    expect(played.conversation.turns[0].content).toBe("/etc is a folder");
  });

  it("Ctrl-C ends a reply and keeps what was written; twice at the prompt leaves", async () => {
    const stopped = await play(["one two three four five six"], ["u", CTRL_C, "/history", CTRL_C, CTRL_C], {
      stopAfter: 6,
    });
    expect(stopped.screen).toMatch(/> u\none.*\n\[\(stopped\)\]\n\[Press Ctrl-C again/);
    const kept = contentOf(stopped.conversation.messages[1]);
    expect(kept.length).toBeGreaterThan(0);
    expect("one two three four five six".startsWith(kept)).toBe(true);
    const none = await play(["one"], ["u"], { stopAfter: 0 });
    expect(none.screen).toContain("the message was removed");
    expect(none.conversation.messages).toEqual([]);
  });

  it("says that the context is full, or the limit reached, and goes on", async () => {
    const full = await play(["one two three four five six"], ["u", "/undo"], { context: 10 });
    expect(full.screen).toContain("(context full;");
    const refused = await play(["a"], ["the ".repeat(50), "/tokens", "u"], { context: 30 });
    expect(refused.screen).toMatch(/\[error: .*Free at least \d+ tokens/);
    expect(refused.screen).toContain("[0 of 30 tokens (0.0%)]");
    expect(refused.screen).toContain("> u\na\n");
    const limited = await play(["one two three"], ["/set max-tokens 2", "u"]);
    expect(limited.screen).toContain("(token limit reached;");
  });

  it("does not hide errors that nobody foresaw", async () => {
    const broken = scriptedSource(tokenizer, []);
    broken.generate = () => {
      throw new TypeError("bug");
    };
    const conversation = new Conversation(broken, tokenizer, builtinTemplate(tokenizer, "v3.1"));
    const terminal = {
      readLine: async () => ({ kind: "line", text: "u" }),
      write() {},
      status() {},
      stoppable: (body: (signal: AbortSignal) => unknown) => body(new AbortController().signal),
    } as unknown as ChatTerminal;
    await expect(chatLoop(conversation, terminal, { ...greedySettings }, { greeting: "" })).rejects.toThrow(
      "bug",
    );
  });
});

describe("commands", () => {
  it("/help names every command, and a word like one gets a hint", async () => {
    const { screen } = await play([], ["/help", "/histroy", "/frobnicate", "/toString"]);
    for (const name of ["system", "undo", "retry", "edit", "save", "load", "set", "tokens", "quit"]) {
      expect(screen).toContain(`  /${name}`);
    }
    expect(screen).toContain("no such command: /histroy. Did you mean /history?");
    expect(screen).toContain("no such command: /frobnicate. /help lists");
    expect(screen).toContain("no such command: /toString.");
  });

  it("/system sets, shows and removes", async () => {
    const played = await play(["a", "b"], ["/system", "/system Be brief.", "/system", "u", "/system -", "v"]);
    expect(played.screen).toContain("[(no system message)]");
    expect(played.screen).toContain("> /system\n[Be brief.]");
    expect(played.source.prompts[0]).toBe(`${bos}Be brief.${turn("u")}`);
    expect(last(played).startsWith(`${bos}${user}u`)).toBe(true);
  });

  it("/undo, /retry and /reset", async () => {
    const played = await play(
      ["a1", "a2", "b2", "c"],
      ["u1", "u2", "/retry", "/undo", "/undo", "/undo", "/retry", "/reset", "v"],
    );
    expect(played.screen).toContain("at temperature 0 the reply will be the same");
    expect(played.source.prompts[2]).toBe(played.source.prompts[1]);
    expect(played.source.options.map(({ seed }) => seed)).toEqual([7, 8, 9, 10]);
    expect(played.screen).toContain("[removed: u2]\n> /undo\n[removed: u1]\n> /undo\n[nothing to undo]");
    expect(played.screen).toContain("[error: Conversation: no message to regenerate a reply for]");
    expect(last(played)).toBe(`${bos}${turn("v")}`);
  });

  it("/edit goes on from a changed message", async () => {
    const played = await play(
      ["a1", "a2", "b1", "b2"],
      ["/edit", "u1", "u2", "/edit 1", "v1", "/edit 5", "/edit", "", "/edit", "w1"],
    );
    expect(played.initial).toContain("u1");
    expect(played.screen).toContain("[no messages yet]");
    expect(played.screen).toContain("[messages are numbered 1 to 1]");
    expect(played.screen).toContain("[unchanged]");
    expect(played.source.prompts[2]).toBe(`${bos}${turn("v1")}`);
    expect(last(played)).toBe(`${bos}${turn("w1")}`);
  });

  it("knows whether the conversation is saved as it stands", async () => {
    const unsaved = async (...typed: string[]) => (await play(["v", "w"], typed)).unsaved;
    expect(await unsaved()).toBeNull();
    expect(isSavedConversation((await unsaved("u"))!)).toBe(true);
    expect(await unsaved("u", "/save a.json")).toBeNull();
    expect(await unsaved("u", "/save a.json", "more")).toContain("more");
    expect(await unsaved("u", "/save a.json", "more", "/undo")).toBeNull();
    expect(await unsaved("u", "/save a.json", "/reset")).toBeNull();
    expect(await unsaved("u", "/save a.json", "/reset", "/load a.json")).toBeNull();
  });

  it("/save and /load give the conversation back", async () => {
    const first = await play(
      ["a", "b"],
      ["/system S", "u", "/save talk.json", "/reset", "/load talk.json", "v"],
    );
    expect(last(first)).toBe(`${bos}S${turn("u")}a${eos}${turn("v")}`);
    expect(JSON.parse(first.files.get("talk.json")!).messages).toHaveLength(3);
    expect(first.screen).toContain("[saved 3 messages to talk.json]");
    const again = await play(["a"], ["u", "/save t.json", "/undo", "/save t.json", "/save --force t.json"]);
    expect(again.screen).toContain("[error: t.json: already exists]");
    expect(JSON.parse(again.files.get("t.json")!).messages).toHaveLength(0);
    const { screen } = await play([], ["/load nowhere", "/load", "/save", "/save --force", "/history"]);
    expect(screen).toContain("[error: no such file: nowhere]");
    expect(screen).toContain("[usage: /save [--force] FILE]");
    expect(screen).toContain("[no messages yet]");
  });

  it("/history shows all of it", async () => {
    const { screen } = await play(["a1", "a2"], ["/system S", "u1", "u2", "/history"]);
    expect(screen.slice(screen.indexOf("/history"))).toBe(
      "/history\n[(system) S]\n[1> u1]\n[a1]\n[2> u2]\n[a2]\n",
    );
  });

  it("/set changes what replies are drawn with", async () => {
    const played = await play(
      ["a", "b"],
      ["/set temperature 0.7", "/set top-k 5", "/set max-tokens 9", "u", "/set max-tokens auto", "v", "/set"],
    );
    expect(played.source.options[0]).toMatchObject({ temperature: 0.7, topK: 5, maxTokens: 9 });
    expect(played.source.options[1].maxTokens).toBeGreaterThan(1000);
    expect(played.screen).toContain("temperature 0.7\n  top-p 1");
    expect(played.screen).toContain("thinking auto");
    const wrong = [
      "/set temperature -1",
      "/set temperature",
      "/set seed 1 2",
      "/set max-tokens 0",
      "/set color red",
      "/set toString 1",
    ];
    const { screen, settings } = await play([], wrong);
    expect(screen.match(/expected/g)).toHaveLength(4);
    expect(screen).toContain("no such setting: color");
    expect(settings).toEqual(greedySettings);
  });

  it("/stats and --stats", async () => {
    const { screen } = await play(["a b", "c"], ["/stats", "u", "/stats", "/tokens"], { stats: true });
    expect(screen).toContain("[no reply yet]");
    expect(screen.match(/prompt: \d+ tokens \(0 cached\) at/g)).toHaveLength(2);
    expect(screen).toMatch(/total: 1 reply, \d+ tokens/);
    expect(screen).toMatch(/\[\d+ of 4,096 tokens \(0\.\d%\)\]/);
  });

  it("/quit leaves", async () => {
    const { conversation } = await play([], ["/quit"]);
    expect(conversation.messages).toEqual([]);
  });
});
