/** The terminal of `chat`: keys go in as a terminal sends them, what stands on the screen and what is read come out. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Writable } from "node:stream";
import { afterEach, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { contentOf } from "../chat/messages.ts";
import { builtinTemplate } from "../chat/template.ts";
import { testTokenizer } from "../chat/testing.ts";
import { Conversation } from "../engine/conversation.ts";
import { scriptedSource } from "../engine/testing-source.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { type ChatTerminal, chatLoop } from "./chat-loop.ts";
import { openTerminal } from "./chat-terminal.ts";
import { greedySettings } from "./testing.ts";

const ENTER = "\r";
const TAB = "\t";
const BACKSPACE = "\u007f";
const [UP, DOWN, RIGHT, LEFT] = [..."ABCD"].map((letter) => `\u001b[${letter}`);
/** Ctrl with a letter. */
const ctrl = (letter: string) => String.fromCharCode(letter.charCodeAt(0) - 64);
const CTRL_C = ctrl("C");
const CTRL_D = ctrl("D");

/** Text that comes at once. */
interface Pasted {
  readonly pasted: string;
}
const paste = (pasted: string): Pasted => ({ pasted });

/** Keys of a terminal, or a pipe. */
class Keyboard extends PassThrough {
  readonly isTTY: boolean;
  setRawMode: ((mode: boolean) => this) | undefined;
  raw = false;

  constructor(isTTY: boolean) {
    super();
    this.isTTY = isTTY;
    if (isTTY) {
      this.setRawMode = (mode) => {
        this.raw = mode;
        return this;
      };
    }
  }

  /** Sends keys one by one: a text is typed, unless it is pasted. */
  press(...keys: (string | Pasted)[]): void {
    for (const key of keys) {
      if (typeof key !== "string") this.write(key.pasted);
      else for (const one of key.startsWith("\u001b") ? [key] : key) this.write(one);
    }
  }
}

/** Shows what is written as a terminal does, as far as readline and a conversation go: no scrolling. */
class Screen extends Writable {
  readonly isTTY = true;
  readonly columns: number;
  /** All that was written, control sequences included. */
  raw = "";
  #cells: string[][] = [[]];
  #row = 0;
  #column = 0;

  constructor(columns: number) {
    super({ decodeStrings: false });
    this.columns = columns;
  }

  /** The rows with text, the cursor as `|`. */
  get text(): string {
    return this.#cells
      .map((cells, row) => {
        const shown = Array.from({ length: Math.max(cells.length, row === this.#row ? this.#column : 0) });
        const text = shown.map((_, column) => cells[column] ?? " ");
        if (row === this.#row) text.splice(this.#column, 0, "|");
        return text.join("").trimEnd();
      })
      .join("\n");
  }

  override _write(chunk: string | Buffer, _encoding: string, done: () => void): void {
    const text = String(chunk);
    this.raw += text;
    // biome-ignore lint/suspicious/noControlCharactersInRegex: sequences of a terminal begin with one
    for (const [, count, command, plain] of text.matchAll(/\u001b\[(\d*)([A-Za-z])|([\s\S])/gu)) {
      if (command !== undefined) this.#control(command, count);
      else this.#put(plain);
    }
    done();
  }

  #put(character: string): void {
    if (character === "\r") this.#column = 0;
    else if (character === "\n") this.#down();
    else {
      if (this.#column === this.columns) this.#down();
      this.#cells[this.#row][this.#column++] = character;
    }
  }

  #down(): void {
    this.#column = 0;
    this.#row++;
    this.#cells[this.#row] ??= [];
  }

  #control(command: string, count: string): void {
    const n = count === "" ? 1 : Number(count);
    if (command === "A") this.#row = Math.max(0, this.#row - n);
    else if (command === "B") this.#row = Math.min(this.#cells.length - 1, this.#row + n);
    else if (command === "C") this.#column = Math.min(this.columns - 1, this.#column + n);
    else if (command === "D") this.#column = Math.max(0, this.#column - n);
    else if (command === "G") this.#column = n - 1;
    else if (command === "J" || command === "K") {
      this.#cells[this.#row].length = Math.min(this.#column, this.#cells[this.#row].length);
      if (command === "J") this.#cells.length = this.#row + 1;
    } else if (command !== "m") throw new Error(`the screen does not know the sequence ${command}`);
  }
}

let tokenizer: Tokenizer;
beforeAll(async () => {
  tokenizer = await testTokenizer("v3.1");
});
beforeEach(() => {
  vi.stubEnv("TERM", "xterm-256color");
  vi.stubEnv("NO_COLOR", "1");
});
afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

/** Waits for something that comes by itself, however busy the machine is. */
const until = (what: () => void) => vi.waitFor(what, { timeout: 30_000, interval: 2 });

function open({ isTTY = true, columns = 80 } = {}) {
  const keyboard = new Keyboard(isTTY);
  const screen = new Screen(columns);
  const terminal = openTerminal({ input: keyboard, output: screen });
  onTestFinished(() => terminal[Symbol.dispose]());
  const { press } = keyboard;
  return { keyboard, screen, terminal, press: press.bind(keyboard) };
}

/** Asks for a line, types, and gives what was read. */
async function typed(...keys: (string | Pasted)[]) {
  const { terminal, press } = open();
  const line = terminal.readLine("> ");
  press(...keys);
  return line;
}

const line = (text: string) => ({ kind: "line", text });

describe("editing a line", () => {
  it("shows the prompt and what is typed, and reads it at Enter", async () => {
    const { terminal, screen, press, keyboard } = open();
    expect(keyboard.raw).toBe(true);
    const reading = terminal.readLine("> ");
    expect(screen.text).toBe("> |");
    press("Grüße, ", "你好");
    await until(() => expect(screen.text).toContain("> Grüße, 你好|"));
    press(ENTER);
    expect(await reading).toEqual(line("Grüße, 你好"));
    terminal.write("an answer\n");
    expect(screen.text).toBe("> Grüße, 你好\nan answer\n|");
  });

  it("moves and deletes as terminals do", async () => {
    expect(await typed("wrld", LEFT, LEFT, LEFT, "o", ctrl("A"), "hello ", ctrl("E"), "!", ENTER)).toEqual(
      line("hello world!"),
    );
    expect(await typed("abd", LEFT, "c", RIGHT, "e", BACKSPACE, BACKSPACE, "!", ENTER)).toEqual(line("abc!"));
    expect(await typed("one two", ctrl("W"), "three", ENTER)).toEqual(line("one three"));
    expect(await typed("old text", ctrl("U"), "new", ENTER)).toEqual(line("new"));
    expect(await typed("keep drop", LEFT, LEFT, LEFT, LEFT, ctrl("K"), ENTER)).toEqual(line("keep "));
    // Ctrl-D if something is typed deletes a character.
    expect(await typed("abc", ctrl("A"), CTRL_D, ENTER)).toEqual(line("bc"));
  });

  it("shows a line that is longer than the screen is wide", async () => {
    const { terminal, screen, press } = open({ columns: 20 });
    terminal.write("hello\n");
    const reading = terminal.readLine("> ");
    press("one two three four five", ctrl("A"), "now ");
    await until(() => expect(screen.text).toBe("hello\n> now |one two three\nfour five"));
    press(ENTER);
    expect(await reading).toEqual(line("now one two three four five"));
    terminal.write("an answer\n");
    expect(screen.text).toBe("hello\n> now one two three\nfour five\nan answer\n|");
  });

  it("gives earlier lines back with the arrows", async () => {
    const { terminal, screen, press } = open();
    for (const text of ["first", "second"]) {
      const reading = terminal.readLine("> ");
      press(text, ENTER);
      expect(await reading).toEqual(line(text));
    }
    const third = terminal.readLine("> ");
    press("draft", ctrl("U"), UP, UP);
    await until(() => expect(screen.text).toMatch(/\n> first\|$/));
    press(DOWN);
    await until(() => expect(screen.text).toMatch(/\n> second\|$/));
    press(" again", ENTER);
    expect(await third).toEqual(line("second again"));
    const fourth = terminal.readLine("> ");
    press(UP, UP, UP, ENTER);
    expect(await fourth).toEqual(line("first"));
  });

  it("begins as it is told to", async () => {
    const { terminal, screen, press } = open();
    const reading = terminal.readLine("2> ", "The wether");
    expect(screen.text).toBe("2> The wether|");
    press(...Array(4).fill(LEFT), "a", ctrl("E"), "?", ENTER);
    expect(await reading).toEqual(line("The weather?"));
  });

  it("completes commands and nothing else", async () => {
    const { terminal, screen, press } = open();
    const reading = terminal.readLine("> ");
    press("/hel", TAB);
    await until(() => expect(screen.text).toBe("> /help|"));
    press(ctrl("U"), "/s", TAB, TAB);
    await until(() => expect(screen.text).toMatch(/\/system +\/save +\/stats +\/set\n[\s\S]*> \/s\|$/));
    press(ctrl("U"), "hel", TAB, "p", ENTER);
    expect(await reading).toEqual(line("help"));
  });
});

describe("pasting", () => {
  it("several lines are one message", async () => {
    expect(await typed(paste("one\rtwo\r\r\tthree\r"))).toEqual(line("one\ntwo\n\n\tthree"));
    expect(await typed(paste("one\r\ntwo\r\n"))).toEqual(line("one\ntwo"));
    expect(await typed(paste("one\ntwo\n"))).toEqual(line("one\ntwo"));
  });

  it("a last line without an end belongs to the message, which Enter sends", async () => {
    const { terminal, screen, press } = open();
    const reading = terminal.readLine("> ");
    press(paste("one\rtwo\rthr"));
    // Longer than lines of a paste are apart: only timers that were set earlier fire before.
    await new Promise((resolve) => setTimeout(resolve, 100));
    press("ee", ENTER);
    expect(await reading).toEqual(line("one\ntwo\nthree"));
    expect(screen.text).toBe("> one\ntwo\nthree\n|");
  });

  it("Ctrl-C drops all of it", async () => {
    expect(await typed(paste("one\rtwo"), CTRL_C, "three", ENTER)).toEqual(line("three"));
  });
});

describe("Ctrl-C and Ctrl-D at the prompt", () => {
  it("Ctrl-C drops what is typed, wherever the cursor is, and interrupts where nothing is", async () => {
    const { terminal, screen, press } = open();
    const reading = terminal.readLine("> ");
    press("never mind", LEFT, LEFT, CTRL_C);
    await until(() => expect(screen.text).toBe("> |"));
    press("hello", ENTER);
    expect(await reading).toEqual(line("hello"));
    const next = terminal.readLine("> ");
    press(CTRL_C);
    expect(await next).toEqual({ kind: "interrupt" });
    expect(screen.text).toBe("> hello\n>\n|");
    // And the terminal goes on.
    const after = terminal.readLine("> ");
    press("on", ENTER);
    expect(await after).toEqual(line("on"));
  });

  it("Ctrl-D ends the input, for every later reader too", async () => {
    const { terminal, screen, press, keyboard } = open();
    const reading = terminal.readLine("> ");
    press(CTRL_D);
    expect(await reading).toEqual({ kind: "end" });
    expect(await terminal.readLine("> ")).toEqual({ kind: "end" });
    expect(await terminal.readLine("1> ", "text")).toEqual({ kind: "end" });
    expect(keyboard.raw).toBe(false);
    expect(screen.text).toBe(">\n|");
  });
});

it("gives the terminal back", async () => {
  const { terminal, keyboard } = open();
  void terminal.readLine("> ");
  terminal[Symbol.dispose]();
  expect(keyboard.raw).toBe(false);
  expect(keyboard.isPaused()).toBe(true);
  expect(keyboard.listenerCount("keypress")).toBe(0);
});

it("reads a pipe to its end, a last line without an end included", async () => {
  const { terminal, keyboard, press } = open({ isTTY: false });
  const first = terminal.readLine("> ");
  press(paste("one\n"));
  expect(await first).toEqual(line("one"));
  const second = terminal.readLine("> ");
  keyboard.end("two");
  expect(await second).toEqual(line("two"));
  expect(await terminal.readLine("> ")).toEqual({ kind: "end" });
  expect(await terminal.readLine("> ")).toEqual({ kind: "end" });
});

it("sets notes, thought and prompts apart by color, and has none with NO_COLOR", () => {
  const show = () => {
    const { terminal, screen } = open();
    terminal.write("note", "note");
    terminal.write("thought", "thought");
    terminal.write("answer");
    void terminal.readLine("> ");
    return screen.raw;
  };
  expect(show()).not.toContain("m");
  vi.stubEnv("NO_COLOR", "");
  const colored = show();
  expect(colored.startsWith("\u001b[2mnote\u001b[0m\u001b[2mthought\u001b[0manswer")).toBe(true);
  expect(colored).toContain("\u001b[36m> \u001b[0m");
});

it("reads and writes files", async () => {
  const folder = mkdtempSync(join(tmpdir(), "deepseek-ts-terminal-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const { terminal } = open();
  const path = join(folder, "a.txt");
  await terminal.writeFile(path, "Grüße\n", false);
  expect(await terminal.readFile(path)).toBe("Grüße\n");
  await expect(terminal.writeFile(path, "x", false)).rejects.toThrow(/already exists.*--force/);
  await expect(terminal.writeFile(path, "x", true)).rejects.toThrow(/not written by this program/);
  expect(await terminal.readFile(path)).toBe("Grüße\n");
  const talk = join(folder, "talk.json");
  await terminal.writeFile(talk, '{"format": "deepseek-ts conversation", "messages": []}', false);
  await terminal.writeFile(talk, "{}", true);
  expect(await terminal.readFile(talk)).toBe("{}");
  writeFileSync(path, Buffer.from("caf\xe9\n", "latin1"));
  await expect(terminal.readFile(path)).rejects.toThrow(/not UTF-8.*0xE9 at byte 3 \(line 1, column 4\)/);
  await expect(terminal.readFile(join(folder, "b.txt"))).rejects.toMatchObject({ code: "ENOENT" });
});

describe("a conversation that a signal ends", () => {
  it.each([
    ["SIGTERM", 143],
    ["SIGHUP", 129],
    ["SIGINT", 130],
  ] as const)("keeps what was said, within a reply too: %s", async (signal, code) => {
    const { terminal, press } = open();
    const source = scriptedSource(tokenizer, ["one two three four five"], async () => {
      if (++tokens === 4) process.emit(signal);
    });
    let tokens = 0;
    const conversation = new Conversation(source, tokenizer, builtinTemplate(tokenizer, "v3.1"));
    const over = chatLoop(conversation, terminal, { ...greedySettings }, { greeting: "hello" });
    press("count", ENTER);
    const unsaved = await over;
    expect(terminal.exitCode).toBe(code);
    const { format, messages } = JSON.parse(unsaved!);
    expect(format).toBe("deepseek-ts conversation");
    expect(messages.map(({ role }: { role: string }) => role)).toEqual(["user", "assistant"]);
    expect("one two three four five".startsWith(messages[1].content)).toBe(true);
    expect(messages[1].content).not.toBe("");
  });

  it("keeps what was said where the terminal is closed and its end comes before the signal", async () => {
    const { terminal, press, keyboard, screen } = open();
    const source = scriptedSource(tokenizer, ["one two"]);
    const conversation = new Conversation(source, tokenizer, builtinTemplate(tokenizer, "v3.1"));
    const over = chatLoop(conversation, terminal, { ...greedySettings }, { greeting: "hello" });
    press("count", ENTER);
    await until(() => expect(screen.text.endsWith("one two\n> |")).toBe(true));
    // As Node's terminals do once the other side is gone.
    keyboard.setRawMode = () => {
      keyboard.emit("error", new Error("setRawMode EIO"));
      return keyboard;
    };
    keyboard.end();
    const { messages } = JSON.parse((await over)!);
    expect(messages.map(({ content }: { content: string }) => content)).toEqual(["count", "one two"]);
    expect(terminal.exitCode).toBe(129);
  });

  it("sends nothing of what was typed ahead, and ends where nothing was said", async () => {
    const { terminal, press } = open();
    const source = scriptedSource(tokenizer, ["a"]);
    const conversation = new Conversation(source, tokenizer, builtinTemplate(tokenizer, "v3.1"));
    const over = chatLoop(conversation, terminal, { ...greedySettings }, { greeting: "hello" });
    press("half a message");
    await new Promise((resolve) => setTimeout(resolve, 5));
    process.emit("SIGTERM");
    expect(await over).toBeNull();
    expect(source.prompts).toEqual([]);
    expect(await terminal.readLine("> ")).toEqual({ kind: "end" });
  });
});

describe("a conversation", () => {
  /** Talks with a source that writes `replies`; `during` is called before each token, with the number of tokens before. */
  function talk(replies: readonly string[], during: (tokens: number) => Promise<void> = async () => {}) {
    const opened = open();
    let tokens = 0;
    const source = scriptedSource(tokenizer, replies, () => during(tokens++));
    const conversation = new Conversation(source, tokenizer, builtinTemplate(tokenizer, "v3.1"));
    const terminal: ChatTerminal = opened.terminal;
    const over = chatLoop(conversation, terminal, { ...greedySettings }, { greeting: "hello" });
    const sent = () => conversation.turns.map(({ content }) => content);
    /** Waits until the screen ends so. */
    const shows = (end: string) => until(() => expect(opened.screen.text.slice(-end.length)).toBe(end));
    return { ...opened, source, conversation, over, sent, shows };
  }

  it("goes from prompt to prompt, and Ctrl-D leaves", async () => {
    const { screen, press, over, sent, shows } = talk(["I am fine.", "Nice."]);
    await shows("hello\n> |");
    press("How are you?", ENTER);
    await shows("> How are you?\nI am fine.\n> |");
    press(UP, ctrl("A"), "So. ", ENTER);
    await shows("> So. How are you?\nNice.\n> |");
    press(CTRL_D);
    await over;
    expect(sent()).toEqual(["How are you?", "So. How are you?"]);
    expect(screen.text).toBe("hello\n> How are you?\nI am fine.\n> So. How are you?\nNice.\n>\n|");
  });

  it("takes messages of several lines, and Ctrl-C between them drops the message", async () => {
    const { press, over, sent, shows } = talk(["a", "b"]);
    await shows("> |");
    press("one\\", ENTER);
    await shows("\n. |");
    press("two", ENTER);
    await shows("\na\n> |");
    press('"""dropped', ENTER);
    await shows("\n. |");
    press("half", CTRL_C);
    await shows("\n. |");
    press(CTRL_C);
    await shows(" to exit.\n> |");
    press(paste('"""\rthree\r\r\tfour\r"""\r'));
    await shows("\nb\n> |");
    press(CTRL_C);
    await shows(" to exit.\n> |");
    press(CTRL_C);
    await over;
    expect(sent()).toEqual(["one\ntwo", "three\n\n\tfour"]);
  });

  it("shows a reply while it is written", async () => {
    const seen: string[] = [];
    const { screen, press, over, shows } = talk(["one two three four five six"], async () => {
      seen.push(screen.text.split("> u\n")[1]);
    });
    await shows("> |");
    press("u", ENTER);
    await shows("six\n> |");
    press("/quit", ENTER);
    await over;
    expect(new Set(seen).size).toBeGreaterThan(5);
    for (const text of seen) expect("one two three four five six").toContain(text.replace("|", ""));
  });

  it("Ctrl-C stops a reply and keeps what was written; the next goes on", async () => {
    const replies = ["one two three four five six", "seven"];
    const { screen, press, over, conversation, source, shows } = talk(replies, async (tokens) => {
      if (tokens !== 6) return;
      press(CTRL_C);
      await until(() => expect(source.options[0].signal?.aborted).toBe(true));
    });
    await shows("> |");
    press("u", ENTER);
    await shows("(stopped)\n> |");
    const kept = contentOf(conversation.messages[1]);
    expect(kept).not.toBe("");
    expect(replies[0].startsWith(kept)).toBe(true);
    expect(screen.text).toBe(`hello\n> u\n${kept}\n(stopped)\n> |`);
    press("v", ENTER);
    await shows("> v\nseven\n> |");
    expect(source.options[1].signal?.aborted).toBe(false);
    press(CTRL_D);
    await over;
  });

  it("Ctrl-C in a reply that does not stop ends the process after the notice, not before", async () => {
    const exit = vi.spyOn(process, "exit").mockImplementation(() => undefined as never);
    let raw = true;
    const { screen, press, over, keyboard, shows } = talk(["one two three"], async (tokens) => {
      if (tokens !== 2) return;
      press(CTRL_C, CTRL_C);
      await until(() => expect(screen.text).toContain("(stopping; Ctrl-C again ends the program)"));
      expect(exit).not.toHaveBeenCalled();
      press(CTRL_C);
      await until(() => expect(exit).toHaveBeenCalled());
      raw = keyboard.raw;
    });
    await shows("> |");
    press("u", ENTER);
    await over;
    expect(exit.mock.calls).toEqual([[130]]);
    expect(raw).toBe(false);
  });

  it("takes what is typed while a reply is written: a line is the next message", async () => {
    const { screen, press, over, sent, shows } = talk(["one two three", "four"], async (tokens) => {
      if (tokens !== 2) return;
      press("next", ENTER);
      await until(() => expect(screen.text).toContain("next\n"));
    });
    await shows("> |");
    press("u", ENTER);
    await shows("four\n> |");
    press(CTRL_D);
    await over;
    expect(sent()).toEqual(["u", "next"]);
  });

  it("takes what is typed while a reply is written: a beginning stands at the next prompt", async () => {
    const { screen, press, over, sent, shows } = talk(["one two three", "four"], async (tokens) => {
      if (tokens !== 2) return;
      press("begun");
      await until(() => expect(screen.text).toContain("begun|"));
    });
    await shows("> |");
    press("u", ENTER);
    await shows("\n> begun|");
    press(" and ended", ENTER);
    await shows("four\n> |");
    press(CTRL_D);
    await over;
    expect(sent()).toEqual(["u", "begun and ended"]);
  });

  it("Ctrl-D in a reply lets it end", async () => {
    const { press, over, conversation, keyboard, shows } = talk(["one two three"], async (tokens) => {
      if (tokens !== 2) return;
      press(CTRL_D);
      await until(() => expect(keyboard.raw).toBe(false));
    });
    await shows("> |");
    press("u", ENTER);
    await over;
    expect(conversation.messages[1].content).toBe("one two three");
  });

  it("/edit begins with the message; Ctrl-C leaves it, Ctrl-D leaves", async () => {
    const { press, over, sent, shows } = talk(["a", "b"]);
    await shows("> |");
    press("The wether", ENTER);
    await shows("a\n> |");
    press("/edit", ENTER);
    await shows("1> The wether|");
    press(CTRL_C);
    await shows("1> |");
    press(CTRL_C);
    await shows("unchanged\n> |");
    press("/edit", ENTER);
    await shows("1> The wether|");
    press(...Array(4).fill(LEFT), "a", ENTER);
    await shows("b\n> |");
    expect(sent()).toEqual(["The weather"]);
    press("/edit", ENTER);
    await shows("1> The weather|");
    press(ctrl("U"), CTRL_D);
    await over;
    expect(sent()).toEqual(["The weather"]);
  });
});
