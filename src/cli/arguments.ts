/**
 * Arguments whose bytes are no UTF-8. Node hands them out with U+FFFD in place of what it could not read: a text would
 * come back changed, and a file of such a name is not found.
 */
import { readFileSync } from "node:fs";
import { firstInvalid } from "../files/utf8.ts";
import { ConfigError } from "../tensor/errors.ts";

/** The arguments as the system has them, each ended by a zero byte; null if it does not tell. */
function rawArguments(): Uint8Array | null {
  if (process.platform !== "linux") return null;
  try {
    return readFileSync("/proc/self/cmdline");
  } catch {
    return null;
  }
}

/** Refuses arguments that are no UTF-8. @throws ConfigError naming the first */
export function checkArguments(
  argv: readonly string[] = process.argv,
  read: () => Uint8Array | null = rawArguments,
): void {
  const at = argv.findIndex((argument) => argument.includes("\ufffd"));
  if (at < 0) return;
  const raw = read();
  // The character itself may have been meant.
  if (raw === null || firstInvalid(raw) === null) return;
  throw new ConfigError("an argument is not UTF-8", {
    where: "command line",
    found: argv[at],
    hint: "Set a UTF-8 locale, put the text into a file (@FILE, or - for standard input), or rename the file.",
  });
}
