/**
 * Test helper: the commands of the official REPL, done by the embedded Lean, so that real Lean answers. An environment is the text
 * that made it. `#print axioms`, which Lean refuses in the embedded Lean's kind of file, lists what its server finds below
 * the theorem.
 */
import type { LeanMessage, LeanSession, TacticStep } from "./session.ts";

interface Environment {
  readonly imports: readonly string[];
  readonly text: string;
}

interface Request {
  readonly cmd: string;
  readonly env?: number | null;
  readonly infotree?: string | null;
}

const SEVERITY = { error: "error", warning: "warning", information: "info" } as const;
const AXIOMS = /^(?:set_option pp\.fullNames true in )?#print axioms (\S+)$/;
const VERSION = "#eval Lean.versionString";
/** Definitions of proofs need no code, which the embedded Lean cannot make for most. */
const PRELUDE = "noncomputable section";
const LIMIT = 600_000;

export class ReplEngine {
  readonly #lean: LeanSession;
  readonly #environments: Environment[] = [];

  /** @param lean without rules of text: the REPL has none */
  constructor(lean: LeanSession) {
    this.#lean = lean;
  }

  async answer({ cmd, env, infotree }: Request): Promise<object> {
    const lines = cmd.split("\n");
    let before = env == null ? { imports: [] as string[], text: PRELUDE } : this.#environments[env];
    if (before === undefined) return { message: "Unknown environment." };
    if (env == null) {
      const imports = lines.filter((line) => line.startsWith("import "));
      before = { ...before, imports: imports.map((line) => line.slice("import ".length).trim()) };
    }
    const own = (line: string) =>
      AXIOMS.test(line) || line === VERSION || (env == null && line.startsWith("import "));
    const code = lines.map((line) => (own(line) ? "" : line)).join("\n");
    const { imports, text: preamble } = before;
    const steps = infotree === "original";
    const heartbeats = Number(
      [...preamble.matchAll(/^set_option maxHeartbeats (\d+)$/gm)].at(-1)?.[1] ?? 200_000,
    );
    const input = { imports, preamble, trustedPreamble: true, code };
    const answer = await this.#lean.check(input, { steps, heartbeats, timeout: LIMIT });
    if (answer.refused !== null) return { message: answer.refused.reason };
    if (answer.failure !== null) process.exit(1);
    const messages = answer.messages.map(messageOf);
    const after = { imports, text: `${preamble}\n${code}` };
    const broken = messages.some(({ severity }) => severity === "error");
    for (const [i, line] of lines.entries()) {
      const theorem = AXIOMS.exec(line)?.[1];
      const said = (severity: string, data: string) =>
        messages.push({
          severity,
          pos: { line: i + 1, column: 0 },
          endPos: { line: i + 1, column: 6 },
          data,
        });
      if (line === VERSION) said("info", JSON.stringify(/\d+\.\d+\.\d+\S*/.exec(this.#lean.version)?.[0]));
      if (theorem === undefined) continue;
      const axioms = broken ? null : await this.#axioms(after, theorem);
      if (axioms === null) said("error", `unknown constant '${theorem}'`);
      else if (axioms.length === 0) said("info", `'${theorem}' does not depend on any axioms`);
      else said("info", `'${theorem}' depends on axioms: [${axioms.join(",\n ")}]`);
    }
    this.#environments.push(after);
    return {
      ...(steps ? { infotree: treesOf(answer.steps) } : {}),
      ...(messages.length > 0 ? { messages } : {}),
      env: this.#environments.length - 1,
    };
  }

  /** The axioms below a theorem, by a proof of its type that is the theorem itself; null if there is none. */
  async #axioms({ imports, text }: Environment, theorem: string): Promise<readonly string[] | null> {
    const probe = `theorem probe_of_axioms : type_of% @${theorem} := `;
    const problem = { imports, preamble: text, trustedPreamble: true, statement: `${probe}sorry` };
    const { verdict, axioms, detail } = await this.#lean.verify(problem, `${probe}@${theorem}`, {
      timeout: LIMIT,
    });
    if (verdict === "proved") return axioms;
    if (verdict !== "sorry" && verdict !== "forbidden axiom") return null;
    return [...new Set([...axioms, ...detail.split(", ")])];
  }
}

function messageOf({ severity, start, end, text }: LeanMessage) {
  const pos = { line: start.line, column: start.column };
  const endPos = { line: end.line, column: end.column };
  return { severity: SEVERITY[severity] as string, pos, endPos, data: text.trim() };
}

/** The tree in which the REPL shows steps: each sequence is a node, and what did not run is absent. */
function treesOf(steps: readonly TacticStep[]): object[] {
  let next = 0;
  const sequences = (depth: number): object[] => {
    const items: object[] = [];
    while (next < steps.length && steps[next].depth >= depth) {
      const step = steps[next++];
      const children = sequences(depth + 1);
      if (step.goalsBefore !== null) items.push(info(step.kind, step, children));
    }
    return items.length === 0 ? [] : [info("Lean.Parser.Tactic.tacticSeq1Indented", null, items)];
  };
  return sequences(0);
}

function info(kind: string, step: TacticStep | null, children: readonly object[]): object {
  const at = (place: { line: number; column: number } | undefined) => ({
    line: place?.line ?? 1,
    column: place?.column ?? 0,
  });
  const range = { synthetic: false, start: at(step?.start), finish: at(step?.end) };
  return {
    node: {
      stx: { range, pp: "", kind, argKinds: [] },
      ...{ name: kind, goalsBefore: step?.goalsBefore ?? [], goalsAfter: step?.goalsAfter ?? [] },
    },
    ...{ kind: "TacticInfo", children },
  };
}
