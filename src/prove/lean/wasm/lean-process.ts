/**
 * A process in which Lean runs: `lean-process serve BASE SERVER` answers JSON lines of standard input on standard output,
 * `lean-process run BASE SERVER ARGS..` is plain `lean`. It ends with its standard input, whatever Lean is doing then, so
 * that nothing is left of it when the program that started it is gone.
 */
import { randomUUID } from "node:crypto";
import { BroadcastChannel, Worker } from "node:worker_threads";
import { siblingModule } from "../../../tensor/cpu/thread-options.ts";
import type { LeanLine, LeanThreadData } from "./lean-thread.ts";
import { createMailbox, MailboxSender } from "./mailbox.ts";

/** Lean's own first thread needs little; its others have a limit of their own. */
const STACK_MEGABYTES = 16;
/** What this build of Lean says about itself, and what it tells while it compiles. */
const CHATTER = /^\[DEBUG|^ {2}(- |mainModule\?)/;

const [mode, base, server, ...args] = process.argv.slice(2);
const serves = mode === "serve";
const mailbox = createMailbox();
const channel = `lean-${randomUUID()}`;
const data: LeanThreadData = {
  ...{ base, server, mailbox, channel, writable: !serves },
  args: serves ? ["-j1", "--run", "/srv/Main.lean"] : args,
};
const lean = new Worker(siblingModule(import.meta.url, "lean-thread"), {
  workerData: data,
  resourceLimits: { stackSizeMb: STACK_MEGABYTES },
});

lean.on("message", ({ stream, line }: LeanLine) => {
  if (!serves) {
    if (!CHATTER.test(line)) process[stream === 1 ? "stdout" : "stderr"].write(`${line}\n`);
  } else if (stream === 1 && line.startsWith("{")) {
    // First, so that it is known when the answer is there.
    process.stdout.write(`{"memory":${process.memoryUsage.rss()}}\n${line}\n`);
  } else if (!CHATTER.test(line) || process.env.LEAN_VERBOSE) {
    process.stderr.write(`${line}\n`);
  }
});
const fail = (words: string) => process.stderr.write(`${words}\n`, () => process.exit(1));
lean.on("error", (error: unknown) => fail(error instanceof Error ? error.message : JSON.stringify(error)));
const ends = new BroadcastChannel(channel);
ends.onmessage = (event) => fail((event as MessageEvent<string>).data);
ends.unref();
lean.on("exit", (code) => process.exit(code));

// A thread deep in a computation may not end when it is asked to.
const end = () => process.kill(process.pid, "SIGKILL");
if (serves) {
  const sender = new MailboxSender(mailbox);
  process.stdin.on("data", (bytes: Uint8Array) => sender.send(bytes));
  process.stdin.on("end", end).on("close", end).on("error", end);
  process.stdout.on("error", end);
} else {
  process.stdin.on("end", end).on("error", end).resume();
}
