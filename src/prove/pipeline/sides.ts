/**
 * Samples proofs of several theorems at once until each has one or its budget is spent: a statement and its negation, which stop
 * each other, or the contradiction of its hypotheses (DeepSeek-Prover V1, section 3.3). Every sample is one row of the store, so
 * a killed run goes on behind the last one.
 */
import { hash128 } from "../../data/hash.ts";
import type { CheckOptions, LeanSession, Verdict } from "../lean/session.ts";
import {
  type GeneratedText,
  generateAll,
  type TextGenerator,
  type TextOptions,
} from "../search/generator.ts";
import type { StatementRow } from "../store/pipeline-rows.ts";
import type { NewProof } from "../store/proof.ts";
import type { ProofStore } from "../store/store.ts";
import { sha256 } from "../text/canonical.ts";
import { type PromptOptions, proofPrompt, STOP } from "../text/prompts.ts";
import { withoutComments } from "../text/tokens.ts";
import { verifyProof } from "./stages.ts";

export interface Sampling {
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topP: number;
}

export interface SidesParts {
  readonly generator: TextGenerator;
  readonly lean: LeanSession;
  readonly store: ProofStore;
}

export interface SidesOptions {
  /** Part of the name of the searches: the same statement may be searched by several stages and rounds. */
  readonly stage: string;
  readonly seed: number;
  /** Samples of each side. */
  readonly samples: number;
  /** Prompts of one generation (default 64). */
  readonly batch?: number;
  readonly sampling: Sampling;
  readonly prompt: PromptOptions;
  readonly check: CheckOptions;
  readonly signal?: AbortSignal;
}

export interface Side {
  readonly side: NewProof["side"];
  /** `theorem … := by` and a line end. */
  readonly head: string;
}

export interface SidesTask {
  readonly statement: StatementRow;
  readonly sides: readonly Side[];
}

/** How a task ended: which side was proved, if any, after how many samples of all sides. */
export interface SidesEnd {
  readonly statement: StatementRow;
  readonly proved: NewProof["side"] | null;
  readonly spent: number;
}

/** One sample as the store keeps it. */
export interface SampleEvent {
  readonly side: NewProof["side"];
  readonly text: string;
  readonly tokens: number;
  /** `empty` for an answer without text, which Lean is not asked about. */
  readonly verdict: Verdict | "empty";
}

interface Active {
  readonly task: SidesTask;
  readonly search: number;
  /** Samples done of each side. */
  readonly done: number[];
}

/** Seed of one generation: it depends on nothing but what the generation is. 32 bits. */
export const seedOf = (...parts: readonly (string | number)[]) => hash128(JSON.stringify(parts))[0] >>> 0;

/** Ends of the tasks as they come. @throws the signal's reason */
export async function* sampleSides(
  parts: SidesParts,
  tasks: readonly SidesTask[],
  options: SidesOptions,
): AsyncGenerator<SidesEnd> {
  const { store, generator, lean } = parts;
  const { samples, stage, seed, sampling, prompt, batch = 64, signal } = options;
  const identity = {
    ...{ stage, model: generator.model, lean: lean.version, samples, ...sampling },
    ...{ style: prompt.style ?? "official", mode: prompt.mode ?? "non-cot" },
  };
  const spent = ({ done }: Active) => done.reduce((a, b) => a + b, 0);
  let active: Active[] = [];
  for (const task of tasks) {
    const name = `${stage} ${task.statement.id}: ${task.sides.map(({ head }) => head).join("")}`;
    const search = store.beginSearch(await sha256(name), identity, seed);
    const events = store.attempts(search.id);
    const done = task.sides.map((_, side) => events.filter(({ tree }) => tree === side).length);
    const one: Active = { task, search: search.id, done };
    if (search.status === "open") active.push(one);
    else {
      const proved = store.proofsOfSearch(search.id)[0]?.side ?? null;
      yield { statement: task.statement, proved, spent: spent(one) };
    }
  }
  while (active.length > 0) {
    signal?.throwIfAborted();
    // One sample of each side that has some left: a proof found spares the others. A run that was killed in the middle of a wave has
    // more samples of one side than of the other, which then catches up first, so that the end is that of a run that was not.
    const wave: { readonly one: Active; readonly side: number }[] = [];
    for (const one of active) {
      const least = Math.min(...one.done);
      const sides = one.done.flatMap((count, side) => (count === least ? [{ one, side }] : []));
      if (wave.length > 0 && wave.length + sides.length > batch) break;
      wave.push(...sides);
    }
    const written = await writtenAll(
      generator,
      wave.map(({ one, side }) => {
        const { preamble } = one.task.statement.problem;
        const statement = one.task.sides[side].head;
        return proofPrompt({ header: preamble === "" ? undefined : `${preamble}\n`, statement }, prompt);
      }),
      {
        ...sampling,
        ...{ stop: [STOP], signal },
        seeds: wave.map(({ one, side }) => seedOf(seed, stage, one.task.statement.id, side, one.done[side])),
      },
    );
    const answers = await concurrently(lean.slots, written, async ({ text }, i) => {
      const { one, side } = wave[i];
      const { preamble } = one.task.statement.problem;
      return verifyProof(lean, preamble, one.task.sides[side].head, text, { ...options.check, signal });
    });
    const ended = new Set<Active>();
    const ends: SidesEnd[] = [];
    for (const [i, { one, side }] of wave.entries()) {
      // The other side, or an earlier sample of this wave, was proved: this one was not needed.
      if (ended.has(one)) continue;
      const { text, tokens } = written[i];
      const { proof, answer } = answers[i];
      const event: SampleEvent = {
        ...{ side: one.task.sides[side].side, text, tokens, verdict: answer?.verdict ?? "empty" },
      };
      const seq = one.done[side]++;
      const proved = answer?.verdict === "proved";
      const found: NewProof | undefined = proved
        ? {
            ...{ side: event.side, text: proof, textSha256: await sha256(withoutComments(proof)), tokens },
            ...{ axioms: answer.axioms, model: generator.model, lean: lean.version },
            ...{ search: stage, cost: spent(one) },
          }
        : undefined;
      const over = proved || one.done.every((count) => count >= samples);
      store.transaction(() => {
        store.completeAttempt(one.search, { tree: side, seq, event }, found, one.task.statement.id);
        if (over) store.endSearch(one.search, proved ? "proved" : "exhausted");
      });
      if (!over) continue;
      ended.add(one);
      ends.push({ statement: one.task.statement, proved: proved ? event.side : null, spent: spent(one) });
    }
    // Those that go on go behind those that had no place in this wave.
    const waved = new Set(wave.map(({ one }) => one));
    active = [
      ...active.filter((one) => !waved.has(one)),
      ...active.filter((one) => waved.has(one) && !ended.has(one)),
    ];
    yield* ends;
  }
}

/** The texts for all prompts, in the order of the prompts; empty where the model has no room for one. */
export async function writtenAll(
  generator: TextGenerator,
  prompts: readonly string[],
  options: TextOptions,
): Promise<readonly GeneratedText[]> {
  const texts = new Array<GeneratedText>(prompts.length);
  for await (const text of generateAll(generator, prompts, options)) texts[text.index] = text;
  return texts;
}

/** Runs `work` over items, `slots` at a time; results in the order of the items. */
export async function concurrently<T, R>(
  slots: number,
  items: readonly T[],
  work: (item: T, index: number) => Promise<R>,
): Promise<R[]> {
  const results = new Array<R>(items.length);
  let next = 0;
  const worker = async () => {
    while (next < items.length) {
      const at = next++;
      results[at] = await work(items[at], at);
    }
  };
  await Promise.all(Array.from({ length: Math.min(slots, items.length) }, worker));
  return results;
}
