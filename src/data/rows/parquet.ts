/**
 * Rows of a Parquet file as JSON texts, through `hyparquet` in a thread: a file says itself how often its values repeat, and
 * only a thread's heap can be limited. Node only.
 */
import { Worker } from "node:worker_threads";
import { siblingModule, threadExecArgv } from "../../tensor/cpu/thread-options.ts";
import { FormatError } from "../../tensor/errors.ts";
import type { FromParquet, ParquetLimits, ParquetTask } from "./parquet-protocol.ts";

/** Heap of the thread: a row group of the largest size as objects. */
const HEAP_MIB = 2048;

/**
 * The rows, in their order. @throws FormatError for a file that is no Parquet file, is damaged, compressed otherwise than with
 * snappy, gzip, brotli or zstd, or exceeds `limits`; the signal's reason
 */
export async function* parquetRows(
  path: string,
  limits: ParquetLimits,
  signal?: AbortSignal,
): AsyncGenerator<string> {
  signal?.throwIfAborted();
  const worker = new Worker(siblingModule(import.meta.url, "parquet-thread"), {
    name: "deepseek-ts parquet",
    workerData: { path, limits } satisfies ParquetTask,
    execArgv: threadExecArgv(),
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MIB },
  });
  const waiting: FromParquet[] = [];
  let failure: { readonly error: unknown } | null = null;
  let wake = () => {};
  const fail = (error: unknown) => {
    failure ??= { error };
    wake();
  };
  worker.on("message", (message: FromParquet) => {
    waiting.push(message);
    wake();
  });
  worker.on("error", (cause: NodeJS.ErrnoException) => {
    const outOfMemory = cause.code === "ERR_WORKER_OUT_OF_MEMORY";
    fail(
      outOfMemory
        ? new FormatError("a row group takes too much memory", {
            ...{ where: path, expected: `at most ${HEAP_MIB} MiB of values`, cause },
            hint: "Write the file again with smaller row groups; if it is not large, it is damaged.",
          })
        : cause,
    );
  });
  worker.on("exit", (code) => fail(new Error(`the thread that reads ${path} ended with code ${code}`)));
  const abort = () => fail(signal!.reason);
  signal?.addEventListener("abort", abort, { once: true });
  try {
    for (;;) {
      if (signal?.aborted) throw signal.reason;
      const message = waiting.shift();
      if (message === undefined) {
        if (failure !== null) throw (failure as { error: unknown }).error;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        continue;
      }
      if (message.type === "ended") return;
      if (message.type === "failed") {
        const { message: text, expected, found } = message;
        throw new FormatError(`the Parquet file cannot be read: ${text}`, {
          ...{ where: path, ...(expected !== undefined && { expected, found }) },
        });
      }
      if (message.type !== "rows") continue;
      yield* message.texts;
      worker.postMessage("next");
    }
  } finally {
    signal?.removeEventListener("abort", abort);
    await worker.terminate();
  }
}
