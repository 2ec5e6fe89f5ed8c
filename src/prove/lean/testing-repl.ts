/**
 * Test helper, a program: the official REPL's protocol on standard input and output, with the embedded Lean behind it.
 * `node testing-repl.ts '{"base": .., "server": .., "version": ..}'` with the folders of a prepared Lean.
 */
import { fileURLToPath } from "node:url";
import type { ReplCommand } from "./repl/process.ts";
import { ReplEngine } from "./testing-repl-engine.ts";
import { openWasmLean } from "./wasm/open.ts";
import type { PreparedLean } from "./wasm/prepare.ts";

/** How it is started. */
export const embeddedRepl = (prepared: PreparedLean): ReplCommand => ({
  command: process.execPath,
  args: [fileURLToPath(import.meta.url), JSON.stringify(prepared)],
  folder: ".",
});

async function serve(prepared: PreparedLean): Promise<void> {
  // A thread ends with the process, however that ends.
  const lean = await openWasmLean({
    prepared,
    size: 1,
    rules: false,
    host: "thread",
    startLimit: 600_000,
    grace: 60_000,
  });
  const engine = new ReplEngine(lean);
  let rest = "";
  for await (const text of process.stdin.setEncoding("utf8")) {
    const requests = (rest + text).split("\n\n");
    rest = requests.pop() ?? "";
    for (const request of requests) {
      const answer = await engine.answer(JSON.parse(request));
      process.stdout.write(`${JSON.stringify(answer, null, 1)}\n\n`);
    }
  }
  process.exit(0);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await serve(JSON.parse(process.argv[2]));
