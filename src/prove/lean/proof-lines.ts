/**
 * Problems with their proofs as JSON objects, mostly lines of a file: ours (`statement`, `proof`) and those of the field
 * (`formal_statement`, `formal_proof`, `header`), as miniF2F, ProofNet and DeepSeek-Prover's files have them.
 */
import { FormatError } from "../../tensor/errors.ts";
import { readLeanFile } from "./lean-file.ts";
import type { LeanProblem } from "./session.ts";

export interface ProofLine {
  /** As the file calls it, else its line. */
  readonly name: string;
  readonly problem: LeanProblem;
  /** The whole declaration. */
  readonly code: string;
  /** Limits that the line sets itself. */
  readonly timeout?: number;
  readonly heartbeats?: number;
}

/** What one line may set of the way it is checked. */
const OPTIONS = new Set(["timeoutMs", "maxHeartbeats", "trustedPreamble"]);
/** Ends of a statement behind which its proof begins. */
const OPEN_END = /:=\s*(?:by\s*)?$/;
const SORRY_END = /:=\s*(?:by\s+)?sorry\s*$/;

type Fields = Readonly<Record<string, unknown>>;

function parsedLine(where: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new FormatError("a line is not valid JSON", { where, found: (cause as Error).message, cause });
  }
}

class FieldReader {
  readonly #where: string;
  readonly #fields: Fields;

  constructor(where: string, value: unknown) {
    this.#where = where;
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new FormatError("a proof must be an object", {
        ...{ where, found: JSON.stringify(value)?.slice(0, 80) },
      });
    }
    this.#fields = value as Fields;
  }

  /** The first of these fields that is there. @throws FormatError if it is not of this type */
  find<T>(type: "string" | "object", ...names: readonly string[]): T | undefined {
    const name = names.find((one) => this.#fields[one] !== undefined && this.#fields[one] !== null);
    if (name === undefined) return undefined;
    const value = this.#fields[name];
    if (typeof value !== type) {
      throw new FormatError("a field has the wrong type", {
        ...{ where: this.#where, name, expected: `a ${type}`, found: typeof value },
      });
    }
    return value as T;
  }

  need(...names: readonly string[]): string {
    const value = this.find<string>("string", ...names);
    if (value !== undefined) return value;
    throw new FormatError("a field is missing", { where: this.#where, expected: names.join(" or ") });
  }

  imports(): readonly string[] | undefined {
    const list = this.find<unknown[]>("object", "imports");
    if (list === undefined) return undefined;
    if (!Array.isArray(list) || !list.every((one) => typeof one === "string")) {
      throw new FormatError("a field has the wrong type", {
        ...{ where: this.#where, name: "imports", expected: "a list of module names" },
      });
    }
    return list;
  }

  options(): {
    readonly timeoutMs?: number;
    readonly maxHeartbeats?: number;
    readonly trustedPreamble?: boolean;
  } {
    const options = this.find<Fields>("object", "options") ?? {};
    for (const [name, value] of Object.entries(options)) {
      const wanted =
        name === "trustedPreamble"
          ? typeof value === "boolean"
          : Number.isSafeInteger(value) && (value as number) > 0;
      if (OPTIONS.has(name) && wanted) continue;
      throw new FormatError("an option of a proof cannot be obeyed", {
        ...{ where: this.#where, name: `options.${name}`, expected: [...OPTIONS].join(", ") },
        found: JSON.stringify(value),
      });
    }
    return options;
  }
}

function readProblem(line: FieldReader): LeanProblem & { readonly raw: string } {
  const header = line.find<string>("string", "header");
  const file = header === undefined ? undefined : readLeanFile(header);
  const preamble = line.find<string>("string", "preamble") ?? file?.code.trim() ?? "";
  const raw = line.need("statement", "formal_statement");
  const statement = OPEN_END.test(raw) ? `${raw.replace(OPEN_END, "")}:= sorry` : raw;
  const { trustedPreamble } = line.options();
  return { statement, preamble, trustedPreamble, imports: line.imports() ?? file?.imports, raw };
}

/** A proof may be the whole declaration, or what stands behind a statement that is left open. */
function wholeProof(raw: string, proof: string): string {
  const open = SORRY_END.test(raw) ? raw.replace(/sorry\s*$/, "") : raw;
  if (!OPEN_END.test(open)) return proof;
  if (/\b(?:theorem|lemma)\b/.test(proof)) return proof;
  return `${open}${proof}`;
}

const lineName = (line: FieldReader, number: number) => givenName(line) ?? `line ${number}`;

const givenName = (line: FieldReader) => line.find<string>("string", "name", "full_name", "id");

function proofOf(
  line: FieldReader,
  name: string,
  { raw, ...problem }: LeanProblem & { readonly raw: string },
): ProofLine {
  const { timeoutMs, maxHeartbeats } = line.options();
  const code = wholeProof(raw, line.need("proof", "formal_proof", "code"));
  return { name, problem, code, timeout: timeoutMs, heartbeats: maxHeartbeats };
}

/**
 * Reads one proof with its problem, as a line has it.
 * @param where names it in errors, and is its name if it has none
 * @throws FormatError naming the field
 */
export function readProofItem(where: string, value: unknown): ProofLine {
  const item = new FieldReader(where, value);
  return proofOf(item, givenName(item) ?? where, readProblem(item));
}

function* linesOf(where: string, text: string): Generator<readonly [line: FieldReader, number: number]> {
  let number = 0;
  for (const row of text.split("\n")) {
    number++;
    if (row.trim() === "") continue;
    const place = `${where}, line ${number}`;
    yield [new FieldReader(place, parsedLine(place, row)), number];
  }
}

/**
 * Reads proofs. With `statements`, the text of another such file, the problems come from there by name, and those of the
 * proofs' file count for nothing.
 * @throws FormatError naming the line and the field, also for a proof whose problem is missing or named twice, and for no proofs
 */
export function readProofLines(
  where: string,
  text: string,
  statements?: { readonly where: string; readonly text: string },
): ProofLine[] {
  const problems = new Map<string, LeanProblem & { readonly raw: string }>();
  if (statements !== undefined) {
    for (const [line, number] of linesOf(statements.where, statements.text)) {
      const name = lineName(line, number);
      if (problems.has(name)) {
        throw new FormatError("two statements have one name", {
          ...{ where: `${statements.where}, line ${number}`, name, hint: "Give each a name of its own." },
        });
      }
      problems.set(name, readProblem(line));
    }
  }
  const proofs = [...linesOf(where, text)].map(([line, number]) => {
    const name = lineName(line, number);
    const found = statements === undefined ? readProblem(line) : problems.get(name);
    if (found === undefined) {
      throw new FormatError("there is no statement of this name", {
        ...{ where: `${where}, line ${number}`, name, expected: `a line of it in ${statements?.where}` },
      });
    }
    return proofOf(line, name, found);
  });
  if (proofs.length > 0) return proofs;
  // What made the file may have failed: "all proved" would hide it.
  throw new FormatError("there are no proofs", {
    ...{ where, expected: "lines of JSON, one for each proof", found: "no line that is not blank" },
  });
}
