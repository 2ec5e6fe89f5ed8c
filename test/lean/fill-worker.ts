/**
 * Processes that fill a file together, for tests that kill them: `node fill-worker.ts URL STORE KIND [FILE]`. The kinds of workers have
 * a model that knows the file and real Lean; `fill` asks them, and puts the proofs into the file.
 */
import { setTimeout as wait } from "node:timers/promises";
import { BullmqQueue } from "../../src/jobs/bullmq-queue.ts";
import type { TextGenerator } from "../../src/prove/search/generator.ts";
import { ProofStore } from "../../src/prove/store/store.ts";
import { QueuedProver, queuedTools } from "../../src/prove/workers/queued-prover.ts";
import { serveGenerate, serveSearch, serveVerify } from "../../src/prove/workers/serve.ts";
import { Random } from "../../src/tensor/random.ts";
import { LIMIT, openLean } from "./embedded-lean.ts";

const length = (text: string) => text.length;

/** What a theorem is answered with, by lot: mostly wrong. */
const ANSWERS: Readonly<Record<string, readonly string[]>> = {
  swap: ["  rfl\n", "  omega_nonsense\n", "  exact b\n", "  simp only\n", "  omega\n"],
  both: ["  exact h\n", "  trivial\n", "  constructor\n", "  exact ⟨h.2, h.1⟩\n"],
  steps: ["decide\n", "exact h\n", "rw [n]\n", "simp\n", "omega\n"],
  uses: ["  exact swap a\n", "  rfl\n", "  exact swap a 0\n"],
};

export const SOURCE = `theorem swap (a b : Nat) : a + b = b + a := by
  sorry

theorem both (p q : Prop) (h : p ∧ q) : q ∧ p := by
  sorry

theorem steps (n : Nat) : 0 + n + 0 = n := by
  have h : 0 + n = n := by
    sorry
  sorry

theorem uses (a : Nat) : a + 0 = 0 + a := by
  sorry

theorem wrong (n : Nat) : n < 5 := by
  sorry
`;

export const OPTIONS = { samples: 24, search: "sample", parallel: 1, seed: 3, timeout: LIMIT } as const;
export const PARTS = {
  settings: { style: "short" },
  contextTokens: 4096,
  parallel: 1,
} as const;

/** Its texts depend on prompt and seed alone. @param pause what a text takes */
export const writer = (pause: () => Promise<unknown> = async () => {}): TextGenerator => ({
  ...{ model: "script", countTokens: length },
  async *generate(prompts, { seeds }) {
    for (const [index, prompt] of prompts.entries()) {
      await pause();
      const name = [...prompt.matchAll(/theorem (\w+)/g)].at(-1)?.[1] ?? "";
      const known = ANSWERS[name] ?? ["  omega\n", "  simp\n", "  decide\n"];
      const text = known[new Random(seeds[index]).int(known.length)];
      yield { index, text, tokens: length(text), end: "stop" };
    }
  },
});

async function work(url: string, place: string, kind: string, file: string): Promise<void> {
  const store = await ProofStore.open(place);
  const queue = await BullmqQueue.open(url, { prefix: "fill", lockSeconds: 5 });
  if (kind === "generate")
    serveGenerate(
      queue,
      store,
      writer(() => wait(20)),
    );
  else if (kind === "verify") serveVerify(queue, store, await openLean());
  else {
    const tools = await queuedTools(queue, store, length, { waitMs: 5 * LIMIT });
    if (kind === "search") serveSearch(queue, store, tools);
    else {
      const prover = new QueuedProver(queue, store, { ...PARTS, ...tools });
      const filled = await prover.fill(file, {
        ...OPTIONS,
        onEvent: ({ type }) => type === "ended" && console.log("ended"),
      });
      await filled.apply();
      console.log(JSON.stringify(filled.units.map(({ end }) => end)));
      process.exit();
    }
  }
  console.log("ready");
}

const [url, place, kind, file = ""] = process.argv.slice(2);
if (import.meta.main) await work(url, place, kind, file);
