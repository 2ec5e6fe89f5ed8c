/** Lean for the coloring of code. */
export const KEYWORDS =
  "theorem|lemma|example|def|abbrev|instance|structure|class|inductive|where|import|open|namespace|section|end|variable|by|have|show|from|fun|let|in|match|with|if|then|else|do|calc|at|intro|exact|apply|rw|simp|omega|decide|induction|cases|rfl|constructor|obtain|rcases|refine|sorry";
export const NAMES_OF_TYPES = "Prop|Type|Nat|Int|Bool|String|List|Set|Fin|[ℕℤℚℝ]";
/** Characters, as in a class of a regular expression. */
export const OPERATORS = "∀∃λ→↔∧∨¬≤≥≠⟨⟩←:=|";

export default [
  { type: "cmnt", match: /--.*|\/-[\s\S]*?-\//g },
  { type: "str", match: /"(?:\\.|[^"\\])*"/g },
  { type: "kwd", match: new RegExp(`\\b(?:${KEYWORDS})\\b`, "g") },
  { type: "num", match: /\b\d+(?:\.\d+)?\b/g },
  { type: "oper", match: new RegExp(`[${OPERATORS}]+`, "g") },
  { type: "type", match: /\b(?:Prop|Type|Nat|Int|Bool|String|List|Set|Fin)\b|[ℕℤℚℝ]/g },
];
