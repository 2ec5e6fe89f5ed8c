/**
 * Fills the `sorry`s of a Lean file, one after the other, in the order of the file. What stands above a declaration is the file as it
 * has become, so that later proofs rest on earlier ones. At the end the whole file is checked once more, and every theorem that was
 * filled against its statement; a proof that does not hold then is taken back.
 */
import { hash128 } from "../../data/hash.ts";
import { withoutMark } from "../../files/utf8.ts";
import { FormatError } from "../../tensor/errors.ts";
import { faultOf, type LeanProblem, type LeanSession, type VerifyAnswer } from "../lean/session.ts";
import { type GeneratedText, generateAll, noRoom, type TextGenerator } from "../search/generator.ts";
import { type ProofTask, type SearchCost, type SearchEvent, search } from "../search/search.ts";
import type { SearchOptions } from "../search/search-options.ts";
import { leanProblem } from "../text/problem.ts";
import {
  answerOf,
  type PromptOptions,
  proofPrompt,
  resumePrompt,
  STOP,
  withoutEnd,
} from "../text/prompts.ts";
import { declarationsOf, fillSorries, findSorries, indentProof } from "../text/sorries.ts";
import { stateComment, stateText } from "../text/states.ts";
import { codeTokens, nesting, withoutComments } from "../text/tokens.ts";

import {
  asTheorem,
  type FilePlan,
  type FillUnit,
  isTheorem,
  planFile,
  promptHeader,
  wholeProblem,
  withoutTheorems,
} from "./plan.ts";

export type { FilePlan, FillUnit } from "./plan.ts";

export interface FillTools {
  readonly generator: TextGenerator;
  readonly lean: LeanSession;
  /** Searches whole proofs: with a store, or in other processes. Default: `search` with these tools. */
  readonly prove?: (
    task: ProofTask,
    options: Omit<SearchOptions, "log"> & Pick<FillOptions, "fresh">,
  ) => AsyncGenerator<SearchEvent>;
}

export interface FillOptions extends Omit<SearchOptions, "log" | "signal"> {
  /** Names the file in errors. */
  readonly path?: string;
  /** Names of theorems to work on (default: all). */
  readonly only?: readonly string[];
  /** Tokens that a prompt and what follows may have together. */
  readonly contextTokens: number;
  /** Begins searches anew, whatever the store keeps of them. */
  readonly fresh?: boolean;
  readonly signal?: AbortSignal;
}

/** How one `sorry` ended. */
export type UnitEnd =
  | {
      readonly outcome: "proved";
      readonly proof: string;
      readonly axioms: readonly string[];
      readonly cost: SearchCost;
    }
  /** All generations are spent; the verified text that came furthest. */
  | { readonly outcome: "open"; readonly best: string; readonly state: string; readonly cost: SearchCost }
  /** Nothing could be tried, or a proof did not hold in the whole file. */
  | { readonly outcome: "failed"; readonly reason: string };

export type FillEvent =
  | { readonly type: "plan"; readonly plan: FilePlan }
  | { readonly type: "unit"; readonly unit: FillUnit }
  /** What the search of a unit does. */
  | { readonly type: "search"; readonly unit: FillUnit; readonly event: SearchEvent }
  /** Of a place inside a proof, which has no search: what stands there, in the beginning; then each text that was tried. */
  | { readonly type: "place"; readonly unit: FillUnit; readonly state: string }
  | ({ readonly type: "tried"; readonly unit: FillUnit } & TriedText)
  | ({ readonly type: "ended" } & FilledUnit)
  | { readonly type: "filled"; readonly result: FillResult };

/** A text for a place inside a proof. */
export interface TriedText {
  /** From 0. */
  readonly seq: number;
  readonly text: string;
  /** Why it does not fill the place: Lean's first complaint, or that it was tried before; empty if it does. */
  readonly fault: string;
}

/** A `sorry` with its end. */
export interface FilledUnit {
  readonly unit: FillUnit;
  readonly end: UnitEnd;
}

export interface FillResult {
  /** The file with its proofs. */
  readonly text: string;
  readonly ends: readonly FilledUnit[];
  /** Lean's first error in the filled file, if it has one that the file did not have before; empty otherwise. */
  readonly fault: string;
}

/**
 * Fills a file's text; nothing is written.
 * @throws FormatError if Lean does not accept the file as it is, the signal's reason, errors of the tools
 */
export async function* fillFile(
  file: string,
  tools: FillTools,
  options: FillOptions,
): AsyncGenerator<FillEvent> {
  // As Lean reads files.
  const source = withoutMark(file).replaceAll("\r\n", "\n");
  const plan = planFile(source, options.only);
  yield { type: "plan", plan };
  const proofs: (string | null)[] = plan.sorries.map(() => null);
  const ends: FilledUnit[] = [];
  if (plan.units.length > 0) await checkFile(source, tools.lean, options);
  for (const unit of plan.units) {
    options.signal?.throwIfAborted();
    yield { type: "unit", unit };
    let end: UnitEnd;
    try {
      end = yield* unit.kind === "whole"
        ? wholeUnit(plan, proofs, unit, tools, options)
        : innerUnit(plan, proofs, unit, tools, options);
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      end = { outcome: "failed", reason: error.message };
    }
    if (end.outcome === "proved") proofs[unit.index] = end.proof;
    ends.push({ unit, end });
    const answer = end.outcome === "proved" ? await judge(plan, proofs, unit, tools.lean, options) : null;
    if (answer !== null) keepVerdict(answer, unit, proofs, ends);
    yield { type: "ended", ...ends[ends.length - 1] };
  }
  const fault = await settle(plan, proofs, ends, tools.lean, options);
  yield {
    type: "filled",
    result: { text: fillSorries(file, findSorries(file), proofs), ends, fault },
  };
}

/** Notes the verdict on a theorem with all its places; proofs of one that does not hold are taken back. */
function keepVerdict(
  { verdict, detail, axioms }: VerifyAnswer,
  { declaration }: FillUnit,
  proofs: (string | null)[],
  ends: FilledUnit[],
): void {
  for (const [k, { unit, end }] of ends.entries()) {
    if (unit.declaration.start !== declaration.start || end.outcome !== "proved") continue;
    if (verdict === "proved") {
      ends[k] = { unit, end: { ...end, axioms } };
      continue;
    }
    proofs[unit.index] = null;
    ends[k] = { unit, end: { outcome: "failed", reason: `the whole theorem: ${detail || verdict}` } };
  }
}

/** The file up to a declaration with what has been proved so far. */
const above = (
  { source, sorries }: FilePlan,
  proofs: readonly (string | null)[],
  { declaration }: FillUnit,
): string => {
  const earlier = sorries.filter(({ end }) => end.index <= declaration.start);
  return fillSorries(source.slice(0, declaration.start), earlier, proofs.slice(0, earlier.length));
};

const withoutImports = (text: string): string =>
  text.replace(/^(?:(?:public\s+)?import[^\n]*\n|\s+|--[^\n]*\n)*/, "");

function headerFor(
  before: string,
  statement: string,
  { generator }: FillTools,
  options: FillOptions,
): string {
  const { contextTokens, maxTokens = 2048 } = options;
  const spare =
    contextTokens - Math.min(maxTokens, contextTokens / 2) - generator.countTokens(statement) - 64;
  // Released provers were trained on the whole header, imports included; small ones on definitions.
  const shown =
    (options.style ?? "official") === "official"
      ? before
      : withoutComments(withoutTheorems(withoutImports(before))).trim();
  return promptHeader(shown, declarationsOf(shown), Math.max(0, spare), (part) =>
    generator.countTokens(part),
  );
}

async function* wholeUnit(
  plan: FilePlan,
  proofs: readonly (string | null)[],
  unit: FillUnit,
  tools: FillTools,
  options: FillOptions,
): AsyncGenerator<FillEvent, UnitEnd> {
  const before = above(plan, proofs, unit);
  const { statement, problem, term } = wholeProblem(before, plan.source, unit);
  const { only: _only, path: _path, contextTokens: _context, fresh, ...given } = options;
  const header = headerFor(before, statement, tools, options);
  const task = { header, statement, problem };
  const full = noRoom(tools.generator, proofPrompt(task, promptOptions(options)));
  if (full !== null) return { outcome: "failed", reason: full };
  const settings = { ...given, seed: seedOf(options, unit) };
  let end: UnitEnd = { outcome: "failed", reason: "the search came to no end" };
  const { prove = (given, { fresh: _, ...rest }) => search(given, tools, rest) } = tools;
  for await (const event of prove(task, { ...settings, fresh })) {
    yield { type: "search", unit, event };
    if (event.type === "proved" && end.outcome !== "proved") {
      const { proof, axioms, cost } = event;
      end = { outcome: "proved", proof: placed(proof, term), axioms, cost };
    } else if (event.type === "exhausted") {
      end = { outcome: "open", best: event.best, state: event.state, cost: event.cost };
    }
  }
  return end;
}

/** The proof as it stands in the file: a term's place needs `by` before it. */
const placed = (proof: string, term: boolean): string =>
  term ? `by\n${withoutEnd(proof)}` : withoutEnd(proof);

/** Samples what belongs in the middle of a proof: the rest of the declaration, other `sorry`s included, stays around it. */
async function* innerUnit(
  plan: FilePlan,
  proofs: readonly (string | null)[],
  unit: FillUnit,
  { generator, lean }: FillTools,
  options: FillOptions,
): AsyncGenerator<FillEvent, UnitEnd> {
  const {
    signal,
    timeout,
    heartbeats,
    samples = 64,
    trees = 1,
    maxTokens = 2048,
    parallel = 2 * lean.slots,
  } = options;
  const before = above(plan, proofs, unit);
  const { declaration, sorry } = unit;
  const { source, sorries } = plan;
  const inside = sorries.filter(
    ({ start }) => start.index >= declaration.start && start.index < declaration.end,
  );
  const shifted = (place: { readonly index: number }) => ({ index: place.index - declaration.start });
  const local = inside.map(({ start, end }) => ({
    start: { ...start, ...shifted(start) },
    end: { ...end, ...shifted(end) },
  }));
  const text = source.slice(declaration.start, declaration.end);
  const at = inside.indexOf(sorry);
  const known = inside.map((each) => proofs[sorries.indexOf(each)]);
  const filled = (proof: string | null) => fillSorries(text, local, known.with(at, proof));
  const context = leanProblem(before, "theorem t : True", { trustedPreamble: true });
  const check = (code: string) =>
    lean.check({ ...contextOf(context), code }, { steps: true, timeout, heartbeats, signal });
  const first = await check(filled(null));
  const fault = faultOf(first);
  if (fault !== "") return { outcome: "failed", reason: `Lean does not accept the declaration: ${fault}` };
  const open = first.sorries.length;
  // The state at this `sorry`: of the tactic that it is, if it is one.
  const hole = known.slice(0, at).filter((proof) => proof === null).length;
  const place = first.sorries[hole];
  const step = first.steps.find(({ start }) => place !== undefined && start.index === place.start.index);
  const goals = step?.goalsBefore ?? null;
  const { column } = sorry.start;
  const prefix = text.slice(0, text.lastIndexOf("\n", local[at].start.index) + 1);
  const comment = goals === null ? "" : stateComment(stateText(goals), column);
  const header = headerFor(before, prefix, { generator, lean }, options);
  const prompt = resumePrompt({ header, statement: "" }, { code: prefix, comment }, promptOptions(options));
  const full = noRoom(generator, prompt);
  if (full !== null) return { outcome: "failed", reason: full };
  yield { type: "place", unit, state: goals === null ? "" : stateText(goals) };
  const cost = { samples: 0, tokens: 0, checks: 0 };
  const tried = new Set<string>();
  const budget = samples * trees;
  for (let seq = 0; seq < budget; ) {
    signal?.throwIfAborted();
    const count = Math.min(parallel, budget - seq);
    const texts: GeneratedText[] = [];
    const seeds = Array.from(
      { length: count },
      (_, i) => hash128(JSON.stringify([seedOf(options, unit), seq + i]))[0] >>> 0,
    );
    const settings = {
      seeds,
      maxTokens,
      temperature: options.temperature ?? 1,
      topP: options.topP ?? 0.95,
      stop: [STOP],
      signal,
    };
    for await (const each of generateAll(generator, new Array<string>(count).fill(prompt), settings))
      texts.push(each);
    seq += count;
    // In the order in which they were asked for: the same seed gives the same proof.
    texts.sort((a, b) => a.index - b.index);
    const proofsTried = texts.map(({ text: written }) => indentProof(withoutEnd(answerOf(written)), 0));
    const answers = await Promise.all(
      proofsTried.map((proof, i) => {
        if (proof.trim() === "" || tried.has(proof) || proofsTried.indexOf(proof) < i) return null;
        tried.add(proof);
        cost.checks++;
        return check(filled(goals === null ? `by\n${proof}` : proof));
      }),
    );
    for (const [i, answer] of answers.entries()) {
      cost.samples++;
      cost.tokens += texts[i].tokens;
      const fault =
        answer === null ? TRIED : faultOf(answer) || (answer.sorries.length === open - 1 ? "" : LEFT);
      yield { type: "tried", unit, seq: cost.samples - 1, text: proofsTried[i], fault };
      if (fault !== "") continue;
      const proof = goals === null ? `by\n${proofsTried[i]}` : proofsTried[i];
      return { outcome: "proved", proof, axioms: [], cost: { ...cost } };
    }
  }
  return { outcome: "open", best: prefix, state: goals === null ? "" : stateText(goals), cost };
}

const contextOf = ({ preamble, trustedPreamble, imports }: LeanProblem) => ({
  preamble,
  trustedPreamble,
  imports,
});

const promptOptions = ({ style, mode }: FillOptions): PromptOptions =>
  mode === "mix" ? { style } : { style, mode };

const seedOf = ({ seed = 0 }: FillOptions, { index }: FillUnit) =>
  hash128(JSON.stringify([seed, index]))[0] >>> 0;

/** Faults of texts that Lean was not asked about, and of those with a `sorry` of their own. */
const TRIED = "empty, or tried before";
const LEFT = "it leaves a sorry";

/** Milliseconds that Lean has for a whole file at least, whatever the limit of one check. */
const WHOLE_FILE_MS = 600_000;

/** Lean's first complaint about a whole file, whatever commands it holds; empty if there is none. */
async function wholeFault(source: string, lean: LeanSession, options: FillOptions): Promise<string> {
  const { timeout = 0, heartbeats, signal } = options;
  const statement = "theorem deepseek_whole_file : True := sorry";
  const problem = leanProblem(`${source}\n`, statement, { trustedPreamble: true });
  const { verdict, detail } = await lean.verify(problem, statement.replace("sorry", "trivial"), {
    timeout: Math.max(timeout, WHOLE_FILE_MS),
    heartbeats,
    signal,
  });
  if (verdict === "timeout") return TOO_LONG;
  return verdict === "proved" ? "" : detail || verdict;
}

const TOO_LONG = "Lean did not come to the end of the file in its time";

/** What is to be done about faults that are not the file's. */
const HINTS = [
  [TOO_LONG, "Give each check more: --timeout."],
  [
    "cannot import",
    "Name a project with that library, with a Lean of its own: --project DIR (docs/proving.md says what to install).",
  ],
] as const;

async function checkFile(source: string, lean: LeanSession, options: FillOptions): Promise<void> {
  const fault = await wholeFault(source, lean, options);
  if (fault === "") return;
  throw new FormatError("Lean does not accept the file as it is", {
    ...{ where: options.path, found: fault },
    hint: HINTS.find(([of]) => fault.startsWith(of))?.[1] ?? "Correct this first; only `sorry`s are filled.",
  });
}

/**
 * The verdict on a theorem whose last place inside was filled, which comes before anything that rests on it is tried; null where
 * there is nothing to judge: a place is open, or the search of the whole proof has had the verdict.
 */
async function judge(
  plan: FilePlan,
  proofs: readonly (string | null)[],
  unit: FillUnit,
  lean: LeanSession,
  options: FillOptions,
): Promise<VerifyAnswer | null> {
  const { declaration, kind } = unit;
  const { source, sorries } = plan;
  const { timeout, heartbeats, signal } = options;
  if (kind === "whole" || !isTheorem(declaration)) return null;
  const upTo = sorries.filter(({ start }) => start.index < declaration.end);
  if (upTo.some(({ start }, i) => start.index >= declaration.start && proofs[i] === null)) return null;
  const before = above(plan, proofs, unit);
  const whole = fillSorries(source.slice(0, declaration.end), upTo, proofs);
  const code = asTheorem(whole.slice(before.length), declaration);
  const problem = leanProblem(before, statementOf(code), { trustedPreamble: true });
  return await lean.verify(problem, code, { timeout, heartbeats, signal });
}

/** Takes back, from the last one on, proofs with which Lean does not accept the file. @returns Lean's fault that is left */
async function settle(
  { source, sorries }: FilePlan,
  proofs: (string | null)[],
  ends: FilledUnit[],
  lean: LeanSession,
  options: FillOptions,
): Promise<string> {
  const faultNow = () => wholeFault(fillSorries(source, sorries, proofs), lean, options);
  let fault = ends.some(({ end }) => end.outcome === "proved") ? await faultNow() : "";
  for (let k = ends.length - 1; k >= 0 && fault !== ""; k--) {
    const { unit, end } = ends[k];
    if (end.outcome !== "proved") continue;
    proofs[unit.index] = null;
    ends[k] = { unit, end: { outcome: "failed", reason: `the file with this proof: ${fault}` } };
    fault = await faultNow();
  }
  return fault;
}

/** The statement of a theorem whose proof is known: up to the first `:=` outside brackets. */
function statementOf(code: string): string {
  let depth = 0;
  for (const token of codeTokens(code)) {
    if (depth === 0 && token.text === ":=") return code.slice(0, token.start).trimEnd();
    depth += nesting(token);
  }
  return code;
}
