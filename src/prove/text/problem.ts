/** A problem as prompts show it, made into what a verifier is asked. */
import type { LeanProblem } from "../lean/session.ts";
import { withoutEnd } from "./prompts.ts";
import { codeTokens } from "./tokens.ts";

/** Verifiers set it themselves, and do not let a preamble set it. */
const OWN_OPTION = /^set_option autoImplicit false[^\S\n]*(?:\n|$)/gm;

/**
 * The theorem without its proof, after what its header holds: leading imports, then commands.
 * @param statement up to `:= by` or `:=`, or with `sorry`
 */
export function leanProblem(
  header: string,
  statement: string,
  { trustedPreamble = false }: Pick<LeanProblem, "trustedPreamble"> = {},
): LeanProblem {
  const { imports, rest } = splitImports(header);
  const preamble = rest.replace(OWN_OPTION, "").trim();
  return {
    statement: withSorry(statement),
    ...(preamble === "" ? {} : { preamble, trustedPreamble }),
    ...(imports.length === 0 ? {} : { imports }),
  };
}

const MODIFIERS = new Set(["public", "meta", "all"]);

/** The modules that a header imports first, and the text behind them. */
function splitImports(header: string): { imports: string[]; rest: string } {
  const tokens = codeTokens(header);
  const imports: string[] = [];
  let end = 0;
  for (let at = tokens[0]?.text === "module" ? 1 : 0; at < tokens.length; at++) {
    while (MODIFIERS.has(tokens[at]?.text)) at++;
    if (tokens[at]?.text !== "import") break;
    do at++;
    while (MODIFIERS.has(tokens[at]?.text));
    if (tokens[at]?.kind !== "name") break;
    imports.push(tokens[at].text);
    end = tokens[at].end;
  }
  return { imports, rest: header.slice(end) };
}

/** The statement with `sorry` for its proof. */
export function withSorry(statement: string): string {
  const head = withoutEnd(statement);
  const last = codeTokens(head).at(-1);
  // A comment at the end would take in what follows it on its line.
  const space = last === undefined || last.end === head.length ? " " : "\n  ";
  if (last?.text === "sorry") return head;
  return last?.text === "by" || last?.text === ":=" ? `${head}${space}sorry` : `${head}${space}:= sorry`;
}
