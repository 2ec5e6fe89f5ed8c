/** `deepseek-ts prover-worker KIND`: a process that does one kind of a prover's jobs until it is stopped; and `prove --queue`. */
import { BullmqQueue } from "../jobs/bullmq-queue.ts";
import type { LeanSession } from "../prove/lean/session.ts";
import { createProver, type Prover, promptSettings } from "../prove/prover/prover.ts";
import { defaultProver, treeProverSettings } from "../prove/prover/settings.ts";
import { ProofStore } from "../prove/store/store.ts";
import type { PromptStyle } from "../prove/text/prompts.ts";
import type { WorkerKind } from "../prove/workers/jobs.ts";
import { QueuedProver, queuedTools } from "../prove/workers/queued-prover.ts";
import { serveGenerate, serveSearch, serveVerify } from "../prove/workers/serve.ts";
import {
  type ModelFlags,
  openModel,
  openPlace,
  openTokenizer,
  WEIGHT_OPTIONS,
} from "./commands/open-model.ts";
import { openDevice } from "./commands/options.ts";
import { LEAN_OPTIONS } from "./lean-session.ts";

/** What decides about weights and Lean: options of the processes that have them. */
export const TOOL_OPTIONS = [...WEIGHT_OPTIONS, ...LEAN_OPTIONS, "threads"];

export interface WorkerFlags extends ModelFlags {
  readonly queue: string;
  readonly store: string;
  readonly model?: string;
  readonly concurrency?: number;
  readonly threads?: number;
}

/** Resolves when the signal is aborted: a worker has no end of its own. */
const untilStopped = (signal: AbortSignal) =>
  new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });

/** Does jobs until the signal says so; what is half done goes back to the queue. @param openLean for `verify` */
export async function runWorker(
  kind: WorkerKind,
  flags: WorkerFlags,
  openLean: () => Promise<LeanSession>,
  signal: AbortSignal,
  note: (line: string) => void,
): Promise<void> {
  using store = await ProofStore.open(flags.store);
  await using queue = await BullmqQueue.open(flags.queue);
  const { concurrency } = flags;
  if (kind === "verify") {
    await using lean = await openLean();
    await lean.ready();
    serveVerify(queue, store, lean);
    note(`checks with ${lean.version}, ${lean.slots} at a time`);
    // The queue first, so that no check is begun that Lean cannot end.
    await untilStopped(signal);
    return await queue.close();
  }
  if (kind === "generate") {
    await using device = await openDevice(flags);
    const opened = await openModel(flags.model ?? defaultProver(), device, flags, signal);
    const parallel = 16 * (concurrency ?? 2);
    await using prover = await createProver({ model: opened, lean: noLean, parallel });
    serveGenerate(queue, store, prover.generator, { concurrency, contextTokens: prover.contextTokens });
    note(`writes with ${prover.generator.model}`);
    await untilStopped(signal);
    return await queue.close();
  }
  const { countTokens } = await askedAs(flags);
  const tools = await queuedTools(queue, store, countTokens, { signal });
  serveSearch(queue, store, tools, { concurrency });
  note(`searches with ${tools.generator.model}, ${tools.lean.version}`);
  await untilStopped(signal);
}

/** A prover that only writes has none. */
const noLean: LeanSession = {
  ...{ kind: "wasm", version: "none", slots: 1 },
  ready: async () => {},
  check: () => Promise.reject(new Error("a worker that writes does not check")),
  verify: () => Promise.reject(new Error("a worker that writes does not check")),
  [Symbol.asyncDispose]: async () => {},
};

/** Flags of a process whose model is elsewhere. */
interface AskingFlags extends Omit<ModelFlags, "dtype" | "adapter"> {
  readonly model?: string;
  readonly style?: PromptStyle;
}

/** Tokenizer and prompts of a model whose weights other processes have; of one on the hub, nothing else is read. */
export async function askedAs({ model, style, ...flags }: AskingFlags) {
  const place = await openPlace(model ?? defaultProver(), flags);
  const tokenizer = await openTokenizer(place);
  const settings = promptSettings(await treeProverSettings(place.tree), place, style);
  const countTokens = (text: string) =>
    tokenizer.encode(text, { addSpecialTokens: false, parseSpecial: false }).length;
  return { settings, countTokens };
}

/** The prover of `prove --queue`: its model and its Lean are workers. */
export async function openQueuedProver(
  flags: AskingFlags & { readonly queue: string; readonly store: string; readonly batch?: number },
  signal: AbortSignal,
): Promise<{ readonly prover: Prover; readonly close: () => Promise<void> }> {
  const { settings, countTokens } = await askedAs(flags);
  const store = await ProofStore.open(flags.store);
  let queue: BullmqQueue | null = null;
  const close = async () => {
    await queue?.close();
    store[Symbol.dispose]();
  };
  try {
    queue = await BullmqQueue.open(flags.queue);
    const tools = await queuedTools(queue, store, countTokens, { signal });
    const parallel = flags.batch ?? 2 * tools.lean.slots;
    return { prover: new QueuedProver(queue, store, { ...tools, settings, parallel }), close };
  } catch (error) {
    await close();
    throw error;
  }
}
