/** The terminal of `deepseek-ts chat`: line editing with a history of this session, completion, Ctrl-C. */
import { readdirSync } from "node:fs";
import { createInterface } from "node:readline";
import { writeTextFile } from "../files/file-sink.ts";
import { readTextFile } from "../files/text-file.ts";
import { type ChatTerminal, COMMAND_NAMES, type Line } from "./chat-loop.ts";
import { type ImageFlags, readImageFile } from "./image-files.ts";
import { listenForInterrupt } from "./interrupt.ts";
import { isSavedConversation } from "./saved-conversation.ts";

/** Lines that arrive faster than anyone types were pasted: they form one message. */
const PASTE_MS = 20;

/** A reply that takes longer than this to stop gets a notice. */
const LATE_MS = 500;

const DIM = "\u001b[2m";
const CYAN = "\u001b[36m";
const PLAIN = "\u001b[0m";

/** Where a terminal reads keys from and writes to. */
export interface TerminalStreams {
  readonly input: NodeJS.ReadableStream;
  readonly output: NodeJS.WritableStream;
}

/** A terminal that signals end: what is being replied is stopped, and the input ends. */
export interface SignalledTerminal extends ChatTerminal, Disposable {
  /** 143 after SIGTERM, 129 after SIGHUP, 130 after SIGINT from elsewhere, 141 if the reader of the output has gone; 0 before. */
  readonly exitCode: number;
}

/** Files and folders that a path may go on to. */
function pathsFrom(path: string): string[] {
  const at = path.lastIndexOf("/") + 1;
  const [folder, begun] = [path.slice(0, at), path.slice(at)];
  try {
    return readdirSync(folder === "" ? "." : folder, { withFileTypes: true })
      .filter(({ name }) => name.startsWith(begun) && (begun !== "" || !name.startsWith(".")))
      .map((entry) => `${folder}${entry.name}${entry.isDirectory() ? "/" : ""}`);
  } catch {
    return [];
  }
}

/** Takes over the terminal until disposed. Colors are left out if `NO_COLOR` is set. */
export function openTerminal(
  { input, output }: TerminalStreams = { input: process.stdin, output: process.stdout },
  images: Pick<ImageFlags, "rotate"> = {},
): SignalledTerminal {
  const editor = createInterface({
    input,
    output,
    terminal: true,
    historySize: 1000,
    completer: (line: string) => {
      const path = /^\/(?:image|load|save)\s+(.*)$/.exec(line)?.[1];
      if (path !== undefined) return [pathsFrom(path), path];
      const found = COMMAND_NAMES.map((name) => `/${name}`).filter((name) => name.startsWith(line));
      return [line.startsWith("/") ? found : [], line];
    },
  });
  const colors = !process.env.NO_COLOR;
  const waiting: Line[] = [];
  let ended = false;
  let reader: ((line: Line) => void) | null = null;
  let stop: (() => void) | null = null;
  let abort: (() => void) | null = null;
  let pasted: string[] = [];
  let status = false;
  let timer: NodeJS.Timeout | null = null;

  const give = (line: Line) => {
    const read = reader;
    reader = null;
    if (read) read(line);
    else waiting.push(line);
  };
  const flush = () => {
    if (timer) clearTimeout(timer);
    timer = null;
    if (pasted.length === 0) return;
    const text = pasted.join("\n");
    pasted = [];
    give({ kind: "line", text });
  };
  editor.on("line", (text) => {
    pasted.push(text);
    if (timer) clearTimeout(timer);
    timer = setTimeout(() => {
      // A paste that does not end with a line's end: the rest of the message stands in the editor, up to Enter.
      if (editor.line === "") flush();
    }, PASTE_MS);
  });
  editor.on("close", () => {
    flush();
    ended = true;
    if (reader === null) return;
    // What comes after, the shell's prompt above all, begins a line.
    output.write("\n");
    give({ kind: "end" });
  });
  editor.on("SIGINT", () => {
    if (stop) {
      stop();
      return;
    }
    const typed = editor.line !== "" || pasted.length > 0;
    if (timer) clearTimeout(timer);
    pasted = [];
    editor.write(null, { ctrl: true, name: "e" });
    editor.write(null, { ctrl: true, name: "u" });
    // As in a shell, the first Ctrl-C drops what is typed.
    if (!typed) {
      output.write("\n");
      give({ kind: "interrupt" });
    }
  });

  // A terminal that is closed may end the input before the system's signal arrives: its modes can no longer be set.
  let hungUp = false;
  editor.on("error", () => {
    hungUp = true;
  });

  const interrupt = listenForInterrupt(() => {
    // What was typed ahead is no longer sent.
    pasted = [];
    waiting.length = 0;
    abort?.();
    try {
      editor.close();
    } catch {
      // The terminal itself may be gone; then there is nothing to give back.
      ended = true;
    }
  });

  return {
    get exitCode() {
      return interrupt.exitCode || (hungUp ? 129 : 0);
    },
    readLine(prompt, initial) {
      const next = waiting.shift();
      if (next) return Promise.resolve(next);
      // What ends the input does so for every later reader.
      if (ended) return Promise.resolve({ kind: "end" });
      return new Promise((resolve) => {
        reader = resolve;
        editor.setPrompt(colors ? `${CYAN}${prompt}${PLAIN}` : prompt);
        // The cursor stays behind what was typed while a reply was written.
        editor.prompt(true);
        if (initial !== undefined) editor.write(initial);
      });
    },
    write(text, style) {
      output.write(style && colors ? `${DIM}${text}${PLAIN}` : text);
    },
    async stoppable(body) {
      const controller = new AbortController();
      abort = () => controller.abort();
      if (interrupt.exitCode !== 0) controller.abort();
      let late: NodeJS.Timeout | null = null;
      let told = false;
      stop = () => {
        if (told) {
          editor.close();
          process.exit(130);
        }
        // One that comes before the notice is the same request still.
        if (controller.signal.aborted) return;
        controller.abort();
        late = setTimeout(() => {
          const note = "\n(stopping; Ctrl-C again ends the program)\n";
          output.write(colors ? `${DIM}${note}${PLAIN}` : note);
          told = true;
        }, LATE_MS);
      };
      try {
        return await body(controller.signal);
      } finally {
        stop = null;
        abort = null;
        if (late) clearTimeout(late);
      }
    },
    readFile: readTextFile,
    readImage: (path) => readImageFile(path, images),
    status(text) {
      if (text === null && !status) return;
      // A terminal that does not say how wide it is says 0.
      const width = ((output as Partial<NodeJS.WriteStream>).columns || 80) - 1;
      const shown = [...(text ?? "")].slice(0, width).join("");
      output.write(`\r\u001b[K${colors && shown !== "" ? `${DIM}${shown}${PLAIN}` : shown}`);
      status = text !== null;
    },
    writeFile: (path, text, force) =>
      writeTextFile(path, text, {
        force,
        isOurs: async (there) => isSavedConversation(await readTextFile(there)),
      }),
    [Symbol.dispose]() {
      interrupt[Symbol.dispose]();
      if (timer) clearTimeout(timer);
      editor.close();
    },
  };
}
