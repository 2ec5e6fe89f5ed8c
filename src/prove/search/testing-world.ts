/**
 * A toy world in place of Lean and a model, for tests of searches: a statement has a state, each line of a proof is a tactic, and
 * a table says which state it leads to. The verifier answers as real ones do, the generator draws tactics by its seed alone.
 */
import { Random } from "../../tensor/random.ts";
import type {
  CheckAnswer,
  CheckInput,
  CheckOptions,
  LeanMessage,
  LeanProblem,
  LeanSession,
  TacticStep,
  Verdict,
  VerifyAnswer,
} from "../lean/session.ts";
import { TextPositions } from "../text/positions.ts";
import { tokensOf } from "../text/tokens.ts";
import type { GeneratedText, TextGenerator, TextOptions } from "./generator.ts";
import type { ProofTask } from "./search.ts";

/** The goals behind a tactic; null if it fails. */
export type Rules = (goals: readonly string[], tactic: string) => readonly string[] | null;

export const STATEMENT = "theorem t (𝔸 : Nat) : goal := by\n";

export const toyTask = (statement = STATEMENT): ProofTask => ({
  header: "",
  statement,
  problem: { statement: `${statement.trimEnd()} sorry` },
});

/** Lines of code behind the statement, without comments. */
function linesOf(text: string, start: number): { text: string; at: number }[] {
  let code = "";
  let at = 0;
  for (const { kind, start: from, end } of tokensOf(text)) {
    if (kind !== "comment") continue;
    code += text.slice(at, from) + text.slice(from, end).replace(/[^\n]/g, " ");
    at = end;
  }
  code += text.slice(at);
  const lines: { text: string; at: number }[] = [];
  for (let line = start; line < code.length; ) {
    const newline = code.indexOf("\n", line);
    const end = newline < 0 ? code.length : newline;
    const content = code.slice(line, end);
    if (content.trim() !== "") {
      lines.push({ text: content.trim(), at: line + content.length - content.trimStart().length });
    }
    line = end + 1;
  }
  return lines;
}

export class ToyLean implements LeanSession {
  readonly kind = "wasm" as const;
  readonly version = "toy";
  readonly slots: number;
  readonly #rules: Rules;
  readonly #wait: () => Promise<void>;
  /** Texts that were verified, in order. */
  readonly verified: string[] = [];
  running = 0;
  mostRunning = 0;

  /** @param wait what an answer takes */
  constructor(
    rules: Rules,
    { slots = 2, wait = async () => {} }: { slots?: number; wait?: () => Promise<void> } = {},
  ) {
    this.#rules = rules;
    this.slots = slots;
    this.#wait = wait;
  }

  async ready(): Promise<void> {}

  async check({ code }: CheckInput, options: CheckOptions = {}): Promise<CheckAnswer> {
    const start = code.startsWith(STATEMENT) ? STATEMENT.length : code.indexOf(":= by") + ":= by".length;
    return await this.#answer(code, start, options);
  }

  async verify(_problem: LeanProblem, code: string, options: CheckOptions = {}): Promise<VerifyAnswer> {
    this.verified.push(code);
    const answer = await this.#answer(code, STATEMENT.length, options);
    const verdict: Verdict = answer.complete
      ? "proved"
      : (answer.failure ?? (answer.refused ? "refused" : answer.sorries.length > 0 ? "sorry" : "error"));
    const detail = answer.messages.find(({ severity }) => severity === "error")?.text ?? "";
    return { ...answer, verdict, detail, name: "t", axioms: verdict === "proved" ? ["propext"] : [] };
  }

  async #answer(text: string, start: number, { signal, steps: wanted }: CheckOptions): Promise<CheckAnswer> {
    signal?.throwIfAborted();
    this.running++;
    this.mostRunning = Math.max(this.mostRunning, this.running);
    try {
      await this.#wait();
      signal?.throwIfAborted();
    } finally {
      this.running--;
    }
    const positions = new TextPositions(text);
    const span = (at: number, length: number) => ({
      start: positions.at(at),
      end: positions.at(at + length),
    });
    const messages: LeanMessage[] = [];
    const fail = (at: number, text: string) =>
      messages.push({ severity: "error", kind: "", ...span(at, 1), text });
    const steps: TacticStep[] = [];
    const sorries: { start: TacticStep["start"]; end: TacticStep["end"] }[] = [];
    const lines = linesOf(text, start);
    const empty = {
      complete: false,
      messages: [],
      sorries: [],
      refused: null,
      failure: null,
      steps: [],
      milliseconds: 1,
    };
    const banned = lines.find((line) => line.text === "banned");
    if (banned) return { ...empty, refused: { reason: "banned", at: positions.at(banned.at) } };
    if (lines.some((line) => line.text === "slow")) return { ...empty, failure: "timeout" };
    let goals: readonly string[] = ["𝔸 : Nat\n⊢ s0"];
    for (const line of lines) {
      const before = goals;
      let after = line.text === "sorry" ? [] : this.#rules(goals, line.text);
      if (line.text === "sorry") sorries.push(span(line.at, 5));
      if (after === null) {
        fail(line.at, goals.length === 0 ? "No goals to be solved" : `${line.text} failed`);
        after = goals.slice(1);
      }
      steps.push({
        ...span(line.at, line.text.length),
        kind: "",
        depth: 0,
        goalsBefore: before,
        goalsAfter: after,
      });
      goals = after;
    }
    if (goals.length > 0) fail(0, `unsolved goals\n${goals.join("\n\n")}`);
    return {
      complete: messages.length === 0 && sorries.length === 0,
      messages,
      sorries,
      refused: null,
      failure: null,
      steps: wanted ? steps : [],
      milliseconds: 1,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

export interface ToyPrompt {
  readonly prompt: string;
  readonly seed: number;
}

export class ToyGenerator implements TextGenerator {
  readonly model = "toy";
  readonly #write: (prompt: string, random: Random) => string;
  readonly #wait: () => Promise<void>;
  /** What was asked, batch by batch. */
  readonly batches: ToyPrompt[][] = [];

  constructor(write: (prompt: string, random: Random) => string, wait: () => Promise<void> = async () => {}) {
    this.#write = write;
    this.#wait = wait;
  }

  countTokens(text: string): number {
    return text.length;
  }

  async *generate(prompts: readonly string[], { seeds, signal }: TextOptions): AsyncGenerator<GeneratedText> {
    this.batches.push(prompts.map((prompt, i) => ({ prompt, seed: seeds[i] })));
    for (const [index, prompt] of prompts.entries()) {
      await this.#wait();
      signal?.throwIfAborted();
      const text = this.#write(prompt, new Random(seeds[index]));
      yield { index, text, tokens: text.length, end: "stop" };
    }
  }
}

/** A generator that writes some lines, each one of the tactics, whatever the prompt says. */
export const drawing =
  (tactics: readonly string[], most = 4) =>
  (_prompt: string, random: Random): string =>
    `${Array.from({ length: random.int(most + 1) }, () => `  ${tactics[random.int(tactics.length)]}\n`).join("")}\`\`\`rest`;

/** Waits some turns of the event loop, by a seed: what is asked first need not be answered first. */
export function shuffling(seed: number, most = 4): () => Promise<void> {
  const random = new Random(seed);
  return async () => {
    for (let turns = random.int(most + 1); turns > 0; turns--)
      await new Promise((resolve) => setImmediate(resolve));
  };
}

/** A line of `length` states: `right k` goes from the k-th on, `aside` leads to a state from which only `back` leads. */
export const corridor =
  (length: number): Rules =>
  (goals, tactic) => {
    const [, at, aside] = /⊢ s(\d+)( aside)?/.exec(goals[0] ?? "") ?? [];
    if (at === undefined) return null;
    const here = (rest: string) => [`𝔸 : Nat\n⊢ s${rest}`, ...goals.slice(1)];
    if (tactic === "skip") return goals;
    if (aside) return tactic === "back" ? here(at) : null;
    if (tactic === "aside") return here(`${at} aside`);
    if (tactic !== `right ${at}`) return null;
    return Number(at) + 1 === length ? goals.slice(1) : here(String(Number(at) + 1));
  };

/** All tactics of a corridor, and some that always fail. */
export const corridorTactics = (length: number): string[] => [
  ...Array.from({ length }, (_, i) => `right ${i}`),
  ...["aside", "back", "skip", "wrong"],
];

/** A corridor that searches get through in some dozens of generations, and what writes there without looking. */
export const corridorTools = (wait?: () => Promise<void>) => ({
  lean: new ToyLean(corridor(3), { wait }),
  generator: new ToyGenerator(drawing(corridorTactics(3)), wait),
});
