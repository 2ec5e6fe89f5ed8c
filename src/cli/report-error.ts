/** How the command line ends: one line for an error that was foreseen, quiet if the reader has gone. */
import { writeSync } from "node:fs";
import { type FileAction, fileError } from "../files/file-error.ts";
import { DeepseekError } from "../tensor/errors.ts";
import { tellReaderGone } from "./interrupt.ts";

const READING = ["open", "scandir", "lstat", "stat", "read", "access", "realpath", "readlink"];

/** An error of the file system in words; what opens files to write explains its errors itself. */
function inWords(error: unknown): unknown {
  const { path, syscall } = (error ?? {}) as { path?: unknown; syscall?: unknown };
  if (typeof path !== "string" || typeof syscall !== "string") return error;
  const action: FileAction = READING.includes(syscall) ? "read" : "write";
  return fileError(error, path, action);
}

/** The text for a failed command: one line, and the stack with `DEBUG=1`. */
export function errorText(error: unknown, debug: boolean): string {
  if (debug && error instanceof Error) return error.stack ?? error.message;
  const shown = inWords(error);
  const message = shown instanceof Error ? shown.message : String(shown);
  const line = message.replace(/\s*\n\s*/g, " ");
  const foreseen = shown instanceof DeepseekError || (shown instanceof Error && "code" in shown);
  return `error: ${line}${foreseen ? "" : " (not foreseen: DEBUG=1 shows where)"}`;
}

/**
 * Ends the process quietly once the reader of the stream has gone (`deepseek-ts .. | head`, a terminal that was closed), and with
 * one line if it cannot be written to. What must save first is asked to.
 */
export function endWithReader(stream: NodeJS.WriteStream): void {
  let told = false;
  stream.on("error", (error: NodeJS.ErrnoException) => {
    // What was told once ends by itself, with its own status.
    if (told) return;
    const gone = error.code === "EPIPE" || error.code === "EIO";
    if (!gone && stream !== process.stderr) {
      try {
        // At once: the process may be about to end.
        writeSync(2, `${errorText(fileError(error, "standard output", "write"), false)}\n`);
      } catch {
        // Then there is nowhere to say it.
      }
    }
    told = tellReaderGone();
    // What a hang-up has decided stays: its last words go to a terminal that is closed.
    if (!told) process.exit(process.exitCode || (error.code === "EPIPE" ? 0 : 1));
  });
}
