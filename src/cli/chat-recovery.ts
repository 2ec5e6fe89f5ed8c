/** Keeps a conversation that a signal ends before it was saved: in the present folder, else in that for temporary files. */
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeTextFile } from "../files/file-sink.ts";

/** A name that says what the file is and when it was written: `deepseek-ts-chat-20261127-094512.json`. */
function recoveryName(now: Date): string {
  const [day, time] = now.toISOString().slice(0, 19).split("T");
  return `deepseek-ts-chat-${day.replaceAll("-", "")}-${time.replaceAll(":", "")}.json`;
}

/**
 * Writes a conversation as `/save` does, and tells where; what fails is told too. Nothing is replaced.
 * @param text of the file
 */
export async function recoverConversation(
  text: string,
  tell: (line: string) => void,
  { folders = [process.cwd(), tmpdir()], now = new Date() }: { folders?: readonly string[]; now?: Date } = {},
): Promise<void> {
  const problems: string[] = [];
  for (const folder of folders) {
    const path = join(folder, recoveryName(now));
    try {
      await writeTextFile(path, text);
      tell(`conversation saved to ${path}; \`/load ${path}\` continues it\n`);
      return;
    } catch (error) {
      problems.push((error as Error).message);
    }
  }
  tell(`error: the conversation could not be saved: ${problems.join("; ")}\n`);
}
