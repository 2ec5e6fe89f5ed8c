/**
 * Tactic states as text: what stands in prompts (a comment in the layout of DeepSeek-Prover-V1.5, `prover/lean/proof.py`),
 * and the key by which a search takes two states for one.
 */

/** What Lean prints where no goal is left. */
export const NO_GOALS = "no goals";

/** A state as Lean prints it: its goals with an empty line between them. */
export const stateText = (goals: readonly string[]): string =>
  goals.length === 0 ? NO_GOALS : goals.join("\n\n");

/** The comment that shows a state below the tactic that led to it. `indent`: blanks before the line of that tactic. */
export function stateComment(state: string, indent: number): string {
  const margin = `\n${" ".repeat(indent)}`;
  return `${margin.slice(1)}/- tactic state:${margin}  ${state.replaceAll("\n", `${margin}  `)}${margin}-/\n`;
}

const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";
/** A metavariable: `?m.123`, `?u.7`. */
const METAVARIABLE = /(\?[A-Za-z_]\w*)\.(\d+)/g;
/** A name, and what follows it if nobody can write it: `x✝`, `x✝²`. A name without is matched as a whole, so none is read twice. */
const NAME = /([\p{L}\p{Nd}₀-₉_'!?.«»]+✝?)([⁰¹²³⁴⁵⁶⁷⁸⁹]*)/gu;

/**
 * A state with the numbers of metavariables and of inaccessible names counted from 1 in order of appearance, since they differ
 * between runs that reach the same state. Names of hypotheses stay: the text that follows uses them.
 */
export function normalizeState(state: string): string {
  let text = state;
  if (text.includes("?")) {
    const number = numbering();
    text = text.replace(METAVARIABLE, (_, base: string, given: string) => `${base}.${number(base, given)}`);
  }
  if (text.includes("✝")) {
    const number = numbering();
    text = text.replace(NAME, (whole, base: string, given: string) =>
      base.endsWith("✝") ? base + superscript(number(base, given)) : whole,
    );
  }
  return text;
}

/** Numbers of what was numbered otherwise, for each base from 1 in order of appearance. */
function numbering(): (base: string, given: string) => number {
  const bases = new Map<string, Map<string, number>>();
  return (base, given) => {
    let numbers = bases.get(base);
    if (numbers === undefined) bases.set(base, (numbers = new Map()));
    let number = numbers.get(given);
    if (number === undefined) numbers.set(given, (number = numbers.size + 1));
    return number;
  };
}

const superscript = (number: number): string =>
  [...String(number)].map((digit) => SUPERSCRIPTS[Number(digit)]).join("");
