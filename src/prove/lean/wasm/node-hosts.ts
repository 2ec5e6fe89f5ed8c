/** Where Lean runs in Node: a child process, or a thread of this process. */
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { fileURLToPath } from "node:url";
import { BroadcastChannel, Worker } from "node:worker_threads";
import { siblingModule, threadExecArgv } from "../../../tensor/cpu/thread-options.ts";
import type { LeanLine, LeanThreadData } from "./lean-thread.ts";
import { createMailbox, MailboxSender } from "./mailbox.ts";
import type { PreparedLean } from "./prepare.ts";
import type { Connect } from "./server.ts";

/** Processes can be killed at any moment and take nothing else along, threads need less memory. */
export type LeanHost = "process" | "thread";

const STACK_MEGABYTES = 16;

/** What starts servers from these folders. @param environment variables of processes, besides those of this one */
export function leanHost(
  lean: PreparedLean,
  host: LeanHost,
  environment?: Readonly<Record<string, string>>,
): Connect {
  return host === "process" ? inProcess(lean, environment) : inThread(lean);
}

const inProcess =
  ({ base, server }: PreparedLean, environment?: Readonly<Record<string, string>>): Connect =>
  (events) => {
    const file = fileURLToPath(siblingModule(import.meta.url, "lean-process"));
    const child = spawn(process.execPath, [file, "serve", base, server], {
      ...{ stdio: ["pipe", "pipe", "pipe"], env: { ...process.env, ...environment } },
    });
    // What is written to a dead process.
    child.stdin.on("error", () => {});
    child.stderr.setEncoding("utf8").on("data", (text: string) => events.say(text));
    let rest = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) events.receive(line);
    });
    child.on("error", (error) => events.over("itself", error.message));
    child.on("close", (code, signal) => {
      events.over(signal === null ? "itself" : "signal", `ended with ${signal ?? `status ${code}`}`);
    });
    return { send: (line) => child.stdin.write(line), kill: () => child.kill("SIGKILL") };
  };

const inThread =
  ({ base, server }: PreparedLean): Connect =>
  (events) => {
    const mailbox = createMailbox();
    const ends = new BroadcastChannel(`lean-${randomUUID()}`);
    const args = ["-j1", "--run", "/srv/Main.lean"];
    const data: LeanThreadData = { base, server, mailbox, channel: ends.name, args };
    const worker = new Worker(siblingModule(import.meta.url, "lean-thread"), {
      workerData: data,
      execArgv: threadExecArgv(),
      resourceLimits: { stackSizeMb: STACK_MEGABYTES },
    });
    worker.on("message", ({ stream, line }: LeanLine) => {
      if (stream === 1 && line.startsWith("{")) events.receive(line);
      else events.say(`${line}\n`);
    });
    worker.on("error", (error: unknown) =>
      events.say(error instanceof Error ? error.message : JSON.stringify(error)),
    );
    worker.on("exit", (code) => {
      ends.close();
      events.over("itself", `ended with status ${code}`);
    });
    ends.onmessage = (event) => {
      events.say(`${(event as MessageEvent<string>).data}\n`);
      void worker.terminate();
    };
    ends.unref();
    const sender = new MailboxSender(mailbox);
    return {
      send: (line) => sender.send(new TextEncoder().encode(line)),
      kill: () => void worker.terminate(),
    };
  };
