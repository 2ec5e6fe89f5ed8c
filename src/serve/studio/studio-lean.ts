/** The Lean of the studio: the embedded one, started when it is first asked, then kept for all that verify and prove. */
import type { LeanSession } from "../../prove/lean/session.ts";
import type { Hello } from "./protocol.ts";

/** Leans at a time: each takes a gigabyte. */
const MOST_LEANS = 2;

/** Says how far it is with what takes long only once. */
type Tell = (text: string) => void;

const STAGES = {
  download: "downloads Lean",
  unpack: "unpacks Lean",
  patch: "unpacks Lean",
  compile: "compiles the proof server",
};

export class StudioLean {
  #session: Promise<LeanSession> | null = null;
  readonly #tellers = new Set<Tell>();

  /** Whether there is one, without starting it. */
  async known(): Promise<Hello["lean"]> {
    const { findPackage, LEAN_VERSION, missingPackage } = await import("../../prove/lean/wasm/package.ts");
    const { folder, looked } = findPackage();
    return folder === null
      ? { version: null, missing: missingPackage(looked).message }
      : { version: LEAN_VERSION, missing: null };
  }

  /** The session; `tell` is told what is done before it answers. @throws LeanError, the signal's reason */
  async get(tell: Tell, signal: AbortSignal): Promise<LeanSession> {
    this.#tellers.add(tell);
    const left = new Promise<never>((_, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    });
    left.catch(() => {});
    try {
      signal.throwIfAborted();
      this.#session ??= this.#open();
      return await Promise.race([this.#session, left]);
    } finally {
      this.#tellers.delete(tell);
    }
  }

  async #open(): Promise<LeanSession> {
    try {
      const { prepareLean } = await import("../../prove/lean/wasm/prepare.ts");
      const { defaultSize, openWasmLean } = await import("../../prove/lean/wasm/open.ts");
      const prepared = await prepareLean({
        onProgress: ({ stage }) => {
          for (const tell of this.#tellers) tell(STAGES[stage]);
        },
      });
      return await openWasmLean({ prepared, size: Math.min(MOST_LEANS, defaultSize()) });
    } catch (error) {
      // The next one tries again.
      this.#session = null;
      throw error;
    }
  }

  /** Ends it, if it was started. */
  async close(): Promise<void> {
    const session = await this.#session?.catch(() => null);
    await session?.[Symbol.asyncDispose]();
  }
}
