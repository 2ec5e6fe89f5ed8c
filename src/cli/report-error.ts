/** How the command line ends: one line for an error that was foreseen, quiet where the reader has gone. */
import { DeepseekError } from "../tensor/errors.ts";
import { tellReaderGone } from "./interrupt.ts";

/** The text for a failed command: one line, and the stack with `DEBUG=1`. */
export function errorText(error: unknown, debug: boolean): string {
  if (debug && error instanceof Error) return error.stack ?? error.message;
  const message = error instanceof Error ? error.message : String(error);
  const line = message.replace(/\s*\n\s*/g, " ");
  const foreseen = error instanceof DeepseekError || (error instanceof Error && "code" in error);
  return `error: ${line}${foreseen ? "" : " (not foreseen: DEBUG=1 shows where)"}`;
}

/**
 * Ends the process quietly once nobody reads the stream (`deepseek-ts .. | head`, a terminal that was closed), and with
 * one line where it cannot be written to. What must save first is asked to.
 */
export function endWithReader(stream: NodeJS.WriteStream): void {
  let told = false;
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE" || error.code === "EIO") {
      // What was told once ends by itself, with its own status.
      told ||= tellReaderGone();
      if (!told) process.exit(error.code === "EPIPE" ? 0 : 1);
      return;
    }
    const name = stream === process.stderr ? "standard error" : "standard output";
    if (stream !== process.stderr) {
      process.stderr.write(`error: cannot write to ${name}: ${error.message}\n`);
    }
    process.exit(1);
  });
}
