/** Programs that stand in for a REPL in tests: what they say is said by a script. */
import type { ReplCommand } from "./process.ts";

/**
 * A program that calls `answer(request, say)` for each request; `say` writes as it is. The source of `answer` runs in the other
 * process, so it must name nothing of this one.
 */
export function scriptedRepl(answer: string): ReplCommand {
  const source = `
    const answer = ${answer};
    const say = (text) => process.stdout.write(text);
    let rest = "";
    process.stdin.setEncoding("utf8").on("data", (text) => {
      const requests = (rest + text).split("\\n\\n");
      rest = requests.pop();
      for (const request of requests) answer(JSON.parse(request), say);
    });`;
  return { command: process.execPath, args: ["--input-type=module", "-e", source], folder: "." };
}
