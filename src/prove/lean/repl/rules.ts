/**
 * Rules of text for answers that go to a Lean whose server judges nothing (the official REPL, Kimina): the words outside comments
 * and strings must run no code while Lean reads them, add no axiom and no syntax, and set no option that matters. Lean's own
 * answers to the questions of `judgement.ts` decide about the proof; these rules keep the answer from changing what those
 * questions mean. The embedded verifier holds the same rules against parsed syntax.
 */
import { codeTokens, endOfGroup, nesting, type Token } from "../../text/tokens.ts";
import { MOST_FILE_BYTES, textBreach } from "../text-limits.ts";
import { ambiguity, type Fault, falseLineEnd } from "./plain-text.ts";

const words = (text: string) => new Set(text.trim().split(/\s+/));

/** Commands and terms that run code, change syntax or leave the kernel's reach. */
const CODE = words(`
  macro macro_rules syntax declare_syntax_cat elab elab_rules simproc simproc_decl dsimproc dsimproc_decl builtin_simproc
  builtin_dsimproc initialize builtin_initialize run_cmd run_tac run_meta run_elab run_conv by_elab include_str
  native_decide bv_decide bv_check unsafe partial meta private sleep dbg_trace unif_hint binder_predicate import
  axiom opaque init_quot implemented_by extern csimp export alias add_decl_doc library_note grind_pattern
  compile_inductive compile_def irreducible_def proof_wanted polyrith slim_check plausible
  seal unseal suppress_compilation initialize_simps_projections private_decl with_decl_name`);
/** What the preamble of a problem may have besides: types and notation of its own. */
const DECLARES = words(`
  inductive coinductive structure class notation notation3 infix infixl infixr prefix postfix deriving`);
/** Commands made by programs: `declare_config_elab`, `register_simp_attr`. */
const MADE = /^(?:declare|register|builtin|run)_/;
/** A name that ends in one of these reaches the compiler or an axiom. */
const REACHES_AXIOM = words(`
  sorryAx ofReduceBool ofReduceNat reduceBool reduceNat trustCompiler lcProof lcUnreachable native`);
const ATTRIBUTES = words(`
  simp grind ext reducible irreducible inline instance local scoped elab_as_elim refl symm trans congr`);
const OPTIONS = words(`
  maxHeartbeats maxRecDepth linter.all linter.unusedVariables synthInstance.maxHeartbeats synthInstance.maxSize`);
const NAMED = words("theorem lemma def abbrev instance");
const THEOREMS = words("theorem lemma");
const COMMANDS = words(`
  theorem lemma def abbrev example instance axiom opaque inductive structure class namespace section end variable universe
  attribute`);

/** Why an answer is not shown to Lean; null if it may be. */
export function refuseAnswer(text: string): Fault | null {
  return textBreach(text) ?? ambiguity(text) ?? forbidden(codeTokens(text), true);
}

/** Why a preamble is not shown to Lean; a trusted one may hold whatever Lean takes. */
export function refusePreamble(text: string, trusted: boolean): Fault | null {
  // The text must pass unchanged even if its meaning is trusted.
  const long = textBreach(text, MOST_FILE_BYTES);
  if (trusted) return long ?? falseLineEnd(text);
  return long ?? ambiguity(text) ?? forbidden(codeTokens(text), false);
}

function forbidden(tokens: readonly Token[], answer: boolean): Fault | null {
  for (let i = 0; i < tokens.length; i++) {
    const reason = forbiddenAt(tokens, i, answer);
    if (reason !== null) return { reason, index: tokens[i].start };
  }
  return null;
}

function forbiddenAt(tokens: readonly Token[], i: number, answer: boolean): string | null {
  const { kind, text, end } = tokens[i];
  const next = tokens[i + 1];
  if (kind === "symbol") {
    if (text === "@[") return forbiddenAttribute(tokens, i);
    // `#s` and `#(..)` count elements in Mathlib.
    if (text === "#" && next?.kind === "name" && next.start === end && next.text.length > 1)
      return `command #${next.text}`;
    return null;
  }
  if (kind !== "name") return null;
  if (CODE.has(text) || MADE.test(text)) return `word ${text}`;
  if (answer && DECLARES.has(text)) return `word ${text}`;
  if (text === "deriving" && next?.text === "instance") return "command deriving instance";
  const last = lastPart(text);
  if (REACHES_AXIOM.has(last)) return `name ${text}`;
  if (text === "attribute" && next?.text === "[") return forbiddenAttribute(tokens, i + 1);
  if (text === "set_option" && !OPTIONS.has(next?.text ?? "")) return `option ${next?.text ?? ""}`;
  if (text === "config" && next?.text === ":=" && tokens[i - 1]?.text === "(")
    return computedConfig(tokens, i);
  // A configuration that is evaluated could mean them.
  if (NAMED.has(text) && next !== undefined && ["true", "false"].includes(lastPart(next.text)))
    return `declaration called ${next.text}`;
  return null;
}

const lastPart = (name: string) => name.slice(name.lastIndexOf(".") + 1).replace(/[«»]/g, "");

/** The attributes of a group in brackets, each by its first word: `local simp ↓` is `simp`. */
function forbiddenAttribute(tokens: readonly Token[], open: number): string | null {
  const end = endOfGroup(tokens, open);
  let depth = 0;
  let first = true;
  for (let i = open + 1; i < end - 1; i++) {
    const { text } = tokens[i];
    if (first && depth === 0 && text !== "local" && text !== "scoped") {
      first = false;
      if (text !== "-" && !ATTRIBUTES.has(text)) return `attribute ${text}`;
    }
    depth += nesting(tokens[i]);
    if (depth === 0 && text === ",") first = true;
  }
  return null;
}

/** Lean evaluates what stands in `(config := ..)`, so it may hold literals alone. */
function computedConfig(tokens: readonly Token[], at: number): string | null {
  let depth = 1;
  for (let i = at + 2; i < tokens.length; i++) {
    const { kind, text } = tokens[i];
    depth += nesting(tokens[i]);
    if (depth === 0) return null;
    const literal =
      kind === "number" ||
      ["true", "false"].includes(text) ||
      /^(?:[{},]|:=|\.\.)$/.test(text) ||
      (kind === "name" && tokens[i + 1]?.text === ":=");
    if (!literal) return `computed configuration: ${text}`;
  }
  return null;
}

/** A statement whose theorem can be declared under another name. */
export interface NamedStatement {
  /** As it is written, with its namespace. */
  readonly name: string;
  /** The last part of it. */
  readonly shortName: string;
  /** The theorem under a name of the same namespace, without attributes, which would offer it to `simp`. */
  readonly renamed: (shortName: string) => string;
}

/** The one theorem of a statement. @returns why it is none as a fault */
export function readStatement(text: string): NamedStatement | Fault {
  const tokens = codeTokens(text);
  const fault = (reason: string, at: number): Fault => ({ reason, index: tokens[at]?.start ?? text.length });
  const refused = textBreach(text) ?? ambiguity(text) ?? forbidden(tokens, true);
  if (refused !== null) return refused;
  let i = 0;
  while (tokens[i]?.text === "@[" || ["protected", "noncomputable", "nonrec"].includes(tokens[i]?.text)) {
    i = tokens[i].text === "@[" ? endOfGroup(tokens, i) : i + 1;
  }
  if (!THEOREMS.has(tokens[i]?.text ?? "")) return fault("a statement must be one theorem", i);
  const name = tokens[i + 1];
  if (name?.kind !== "name" || name.text.startsWith(".")) return fault("a theorem without a name", i + 1);
  const other = tokens.findIndex((token, k) => k > i && COMMANDS.has(token.text));
  if (other >= 0) return fault("a statement must be one theorem alone", other);
  const parts = name.text.match(/«[^»]*»|[^.«»]+/g) ?? [];
  const shortName = parts.at(-1) ?? "";
  const namespace = name.text.slice(0, name.text.length - shortName.length);
  return {
    name: name.text.replace(/^_root_\./, ""),
    shortName,
    renamed: (other) => `theorem ${namespace}${other}${text.slice(name.end)}`,
  };
}
