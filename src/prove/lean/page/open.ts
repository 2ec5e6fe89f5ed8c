/**
 * Lean in a page: the same WebAssembly as in Node, in a worker of the page, behind the interface of all verifiers. What it needs is
 * handed out by the page's server as files (`deepseek-ts prover page DIR`), kept by the browser after the first visit.
 */
import { LeanError } from "../lean-error.ts";
import type { LeanAuditor, LeanSession } from "../session.ts";
import { createMailbox, MailboxSender } from "../wasm/mailbox.ts";
import { LeanPool } from "../wasm/pool.ts";
import type { Connect } from "../wasm/server.ts";
import { WasmLean } from "../wasm/wasm-lean.ts";
import { type FetchOptions, fetchPageFiles, type PageFiles } from "./files.ts";

export interface PageLeanOptions extends FetchOptions {
  /** Address of the folder with Lean's files, relative to the page. */
  readonly url: string | URL;
  /** Most Leans at a time (1); each takes 1 GB. */
  readonly size?: number;
}

/** Starts Lean in a worker. Its threads are workers of that one, and end with it. */
const inWorker =
  ({ worker: script, module, files }: PageFiles): Connect =>
  (events) => {
    const mailbox = createMailbox();
    const channel = new BroadcastChannel(`lean-${crypto.randomUUID()}`);
    const worker = new Worker(script, { name: "lean" });
    const over = (how: string) => {
      worker.terminate();
      channel.close();
      events.over("itself", how);
    };
    worker.onmessage = ({ data }: MessageEvent<{ stream?: number; line?: string; ended?: string }>) => {
      const { stream, line = "", ended } = data;
      if (ended !== undefined) over(ended);
      else if (stream === 1 && line.startsWith("{")) events.receive(line);
      else events.say(`${line}\n`);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      over(event.message || `${script} could not be loaded`);
    };
    channel.onmessage = ({ data }: MessageEvent<string>) => over(data);
    worker.postMessage({ lean: { files, channel: channel.name, module, mailbox } });
    const sender = new MailboxSender(mailbox);
    const encoder = new TextEncoder();
    return { send: (line) => sender.send(encoder.encode(line)), kill: () => over("ended") };
  };

/**
 * Opens Lean in this page; it starts at once. V8's stack in a page is smaller than in Node: a proof nested deeper than about
 * a hundred tactics is a `crash` here.
 * @throws LeanError if the page is not isolated or the files cannot be had, the signal's reason
 */
export async function openPageLean(options: PageLeanOptions): Promise<LeanSession & LeanAuditor> {
  const { url, size = 1, onProgress, signal } = options;
  if (globalThis.crossOriginIsolated !== true) {
    throw new LeanError("Lean needs memory that threads share, which this page may not have", {
      expected: "a cross-origin isolated page",
      hint: "Serve it with Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp.",
    });
  }
  const folder = new URL(url, globalThis.location?.href);
  // Names in a folder need the slash at its end.
  if (!folder.pathname.endsWith("/")) folder.pathname += "/";
  const files = await fetchPageFiles(folder, { onProgress, signal });
  onProgress?.({ stage: "start", fraction: 0 });
  const pool = new LeanPool(inWorker(files), {
    ...{ size, where: folder.href, hint: "Is there 1 GB of free memory?" },
  });
  return new WasmLean(files.version, pool);
}
