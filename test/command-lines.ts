/** Runs command lines one after the other in one process: `[[ARG, ..], ..]` on standard input, what came of each on standard output. */
import { text } from "node:stream/consumers";
import { runCommandLine } from "../src/cli/command-line.ts";
import { main } from "./command-process.ts";

const write = { stdout: process.stdout.write, stderr: process.stderr.write };
const results: { code: number; out: string; err: string }[] = [];
for (const args of JSON.parse(await text(process.stdin)) as string[][]) {
  const told = { stdout: "", stderr: "" };
  for (const stream of ["stdout", "stderr"] as const) {
    process[stream].write = (chunk: string | Uint8Array) => {
      told[stream] += typeof chunk === "string" ? chunk : new TextDecoder().decode(chunk);
      return true;
    };
  }
  process.exitCode = 0;
  await runCommandLine([process.execPath, main, ...args]);
  for (const stream of ["stdout", "stderr"] as const) process[stream].write = write[stream];
  results.push({ code: Number(process.exitCode), out: told.stdout, err: told.stderr });
}
process.exitCode = 0;
process.stdout.write(JSON.stringify(results));
