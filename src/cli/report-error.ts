/** How the command line ends: one line for an error that was foreseen, quiet where the reader has gone. */
import { DeepseekError } from "../tensor/errors.ts";

/** The text for a failed command: one line, and the stack with `DEBUG=1`. */
export function errorText(error: unknown, debug: boolean): string {
  if (debug && error instanceof Error) return error.stack ?? error.message;
  const message = error instanceof Error ? error.message : String(error);
  const line = message.replace(/\s*\n\s*/g, " ");
  const foreseen = error instanceof DeepseekError || (error instanceof Error && "code" in error);
  return `error: ${line}${foreseen ? "" : " (not foreseen: DEBUG=1 shows where)"}`;
}

/** Ends the process quietly once nobody reads the stream: `deepseek-ts .. | head`. */
export function endWithReader(stream: NodeJS.WriteStream): void {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0);
    throw error;
  });
}
