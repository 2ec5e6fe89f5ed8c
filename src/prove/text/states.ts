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
/** A metavariable (`?m.123`, `?u.7`), or a hypothesis whose name cannot be written (`x✝`, `x✝²`). */
const NUMBERED = /(\?[A-Za-z_]\w*)\.(\d+)|([^\s✝]+✝)([⁰¹²³⁴⁵⁶⁷⁸⁹]*)/gu;

/**
 * A state with the numbers of metavariables and of inaccessible names counted from 1 in order of appearance, since they differ
 * between runs that reach the same state. Names of hypotheses stay: the text that follows uses them.
 */
export function normalizeState(state: string): string {
  if (!state.includes("?") && !state.includes("✝")) return state;
  const numbers = new Map<string, number>();
  const counts = new Map<string, number>();
  return state.replace(NUMBERED, (whole, meta?: string, _number?: string, inaccessible?: string) => {
    const base = meta ?? (inaccessible as string);
    let number = numbers.get(whole);
    if (number === undefined) {
      number = (counts.get(base) ?? 0) + 1;
      counts.set(base, number);
      numbers.set(whole, number);
    }
    return meta === undefined
      ? base + [...String(number)].map((digit) => SUPERSCRIPTS[Number(digit)]).join("")
      : `${base}.${number}`;
  });
}
