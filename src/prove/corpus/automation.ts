/**
 * Fixed scripts that prove what needs no model, to be reported beside every score: one tactic (B1), a ladder of tactics (B2),
 * the ladder after splitting the goal (B3), one induction (B4). Their union is "automation". And the two tracks: `open` allows
 * what users have, `restricted` denies the tactics that decide whole theories.
 */
import { parseStatement } from "../text/statements.ts";
import { codeTokens, type Token } from "../text/tokens.ts";

export type BaselineName = "B1" | "B2" | "B3" | "B4";

const RUNGS = ["(omega; done)", "(simp; done)", "(simp_all; done)", "decide"];
const GRIND = "grind -verbose";
const TRIED = 4;
const ladder = (withGrind: boolean): string =>
  `first | ${[...RUNGS, ...(withGrind ? [`(${GRIND}; done)`] : [])].join(" | ")}`;

export interface BaselineProblem {
  readonly preamble?: string;
  readonly statement: string;
}

export interface BaselineProofs {
  readonly proofs: Readonly<Record<BaselineName, readonly string[]>>;
  /** Whether B2 holds wherever B1 does: its last rung is B1, and there is nothing to introduce before it. */
  readonly secondIncludesFirst: boolean;
}

/**
 * Proofs to try: a baseline has proved a statement if Lean accepts one of its proofs. B3 is tried where the goal has something
 * to split, B4 where a function is recursive in some variable. Where \`intros\` has nothing to introduce, the last rung of B2
 * would do again what B1 does, so it is left out and B1's result counts.
 */
export function baselineProofs(problem: BaselineProblem): BaselineProofs {
  const { binders, conclusion } = parseStatement(problem.statement);
  const introduces = /^(?:∀|¬)|→/.test(conclusion);
  const splits = /[∧∃↔]/.test(conclusion);
  const definitions = definedNames(problem.preamble ?? "");
  const first = inductionSteps(definitions);
  const recursive = definitions.length > 0 || /: Nat → /.test(binders);
  const induction = inductionVariables(binders).map((v) => `  induction ${v} <;> ${first}\n`);
  return {
    proofs: {
      B1: [`  ${GRIND}\n`],
      B2: [`  intros; ${ladder(introduces)}\n`],
      B3: splits ? [`  repeat' constructor\n  all_goals (intros; ${ladder(true)})\n`] : [],
      B4: recursive ? induction.slice(0, TRIED) : [],
    },
    secondIncludesFirst: !introduces,
  };
}

function inductionSteps(definitions: readonly string[]): string {
  const list = definitions.join(", ");
  const all = definitions.length === 0 ? "simp_all" : `simp_all [${list}]`;
  const rules = ["*", ...definitions].join(", ");
  return `first | (${all}; done) | (simp [${rules}]; omega) | (${GRIND}${definitions.length === 0 ? "" : ` [${list}]`})`;
}

/** Functions that a preamble defines. */
export const definedNames = (preamble: string): string[] =>
  [...preamble.matchAll(/^def\s+([^\s:(]+)/gm)].map((match) => match[1]);

const NUMBERED = /\(([^():]+):\s*(?:Nat|List [A-Za-z]+|Bool|Tree)\)/g;

/** Variables over whose type induction goes. */
function inductionVariables(binders: string): string[] {
  return [...binders.matchAll(NUMBERED)].flatMap((match) => match[1].trim().split(/\s+/));
}

export type Track = "open" | "restricted";

/** They rest on axioms beyond the three that a proof may use. */
const UNSOUND = ["bv_decide", "native_decide"];
/** They decide whole theories, or search on their own. */
const STRONG = [
  ...[
    "grind",
    "lia",
    "cutsat",
    "grobner",
    "omega",
    "bv_omega",
    "simp_all",
    "simp_arith",
    "decide",
    "exact?",
    "apply?",
  ],
];

/** The first tactic in a proof that a track does not allow; null if there is none. */
export function deniedTactic(proof: string, track: Track): string | null {
  const tokens = codeTokens(proof);
  for (const [i, token] of tokens.entries()) {
    if (token.kind !== "name") continue;
    if (UNSOUND.includes(token.text)) return token.text;
    if (track === "open") continue;
    const asked = tokens[i + 1]?.text === "?" ? `${token.text}?` : token.text;
    if (STRONG.includes(token.text) || STRONG.includes(asked)) return asked;
    if (/^(?:simp|simpa|dsimp)$/.test(token.text) && !isOnly(tokens, i)) return token.text;
  }
  return null;
}

/** Whether `simp` is followed by `only`, after flags such as `+arith`. */
function isOnly(tokens: readonly Token[], at: number): boolean {
  let i = at + 1;
  while (tokens[i]?.text === "+" || tokens[i]?.text === "-") i += 2;
  return tokens[i]?.text === "only";
}
