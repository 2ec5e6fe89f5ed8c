/**
 * What the REPL (`leanprover-community/repl`, `REPL/JSON.lean`) and the Kimina Lean Server (`project-numina/kimina-lean-server`, `client`) are
 * asked and answer, written from our answers and read from their clients: so that a server of ours can stand in for theirs, and
 * their logs are read. The verifiers that ask such servers are in `src/prove/lean`.
 */
import { ConfigError } from "../../tensor/errors.ts";
import type { CheckAnswer, LeanPosition } from "../lean/session.ts";
import { stateText } from "../text/states.ts";
import { Fields, type LineColumn } from "./fields.ts";

/** Empty lists are left out, as the REPL does. */
export interface ReplResponse {
  readonly env?: number;
  readonly messages?: readonly {
    readonly severity: "error" | "warning" | "info";
    readonly pos: LineColumn;
    readonly endPos: LineColumn;
    readonly data: string;
  }[];
  readonly sorries?: readonly {
    readonly pos: LineColumn;
    readonly endPos: LineColumn;
    readonly goal: string;
  }[];
  /** `goals`: those before the tactic. */
  readonly tactics?: readonly {
    readonly pos: LineColumn;
    readonly endPos: LineColumn;
    readonly tactic: string;
    readonly goals: string;
  }[];
}

/** Our answer about `text` as the REPL gives it. @throws ConfigError for a check that came to no end, which has no answer there */
export function replResponse(text: string, answer: CheckAnswer, env?: number): ReplResponse {
  if (answer.failure !== null) {
    throw new ConfigError("a check without an answer", { where: "replResponse", found: answer.failure });
  }
  const span = ({ start, end }: { readonly start: LeanPosition; readonly end: LeanPosition }) => ({
    pos: place(start),
    endPos: place(end),
  });
  const messages = answer.messages.map((message) => ({
    severity: message.severity === "information" ? ("info" as const) : message.severity,
    ...span(message),
    data: message.text,
  }));
  if (answer.refused !== null) {
    const { reason, at } = answer.refused;
    messages.push({ severity: "error", pos: place(at), endPos: place(at), data: `refused: ${reason}` });
  }
  const sorries = answer.sorries.map((sorry) => {
    const step = answer.steps.find(({ start }) => start.index === sorry.start.index);
    return { ...span(sorry), goal: step?.goalsBefore?.[0] ?? "" };
  });
  const tactics = answer.steps.flatMap((step) =>
    step.goalsBefore === null
      ? []
      : [
          {
            ...span(step),
            tactic: text.slice(step.start.index, step.end.index),
            goals: stateText(step.goalsBefore),
          },
        ],
  );
  return {
    ...(env === undefined ? {} : { env }),
    ...(messages.length > 0 ? { messages } : {}),
    ...(sorries.length > 0 ? { sorries } : {}),
    ...(tactics.length > 0 ? { tactics } : {}),
  };
}

const place = ({ line, column }: LeanPosition): LineColumn => ({ line, column });

/** One text of a request. */
export interface KiminaSnippet {
  readonly id: string;
  readonly code: string;
}

export interface KiminaRequest {
  readonly snippets: readonly KiminaSnippet[];
  /** Seconds for each. */
  readonly timeout: number;
  /** Whether tactics are wanted. */
  readonly steps: boolean;
}

const MOST_SNIPPETS = 10_000;

/**
 * Reads the body of `POST /api/check` (`snippets`) or of `/verify` (`codes`).
 * @throws FormatError with the field for what is neither
 */
export function readKiminaRequest(body: unknown): KiminaRequest {
  const fields = new Fields(body, "request");
  const older = fields.raw("snippets") === undefined && fields.raw("codes") !== undefined;
  const name = older ? "codes" : "snippets";
  const list = fields.raw(name);
  if (!Array.isArray(list) || list.length === 0 || list.length > MOST_SNIPPETS) {
    fields.refuse(name, `a list of 1 to ${MOST_SNIPPETS} texts`, Array.isArray(list) ? list.length : list);
  }
  const snippets = fields.list(name, (snippet) => ({
    id: idOf(snippet, older ? "custom_id" : "id"),
    code: snippet.text(older ? ["proof", "code"] : "code"),
  }));
  const seen = new Set<string>();
  for (const { id } of snippets) {
    if (seen.size === seen.add(id).size) fields.refuse(older ? "custom_id" : "id", "each once", id);
  }
  const given = fields.raw("timeout");
  if (given !== undefined && given !== null && !(typeof given === "number" && given > 0 && given <= 86_400)) {
    fields.refuse("timeout", "seconds, above 0", given);
  }
  const tree = fields.optionalText(older ? "infotree_type" : "infotree");
  return {
    snippets,
    timeout: (given as number | undefined) ?? (older ? 300 : 30),
    steps: tree !== undefined,
  };
}

function idOf(snippet: Fields, name: string): string {
  const id = snippet.raw(name);
  return typeof id === "number" ? String(id) : snippet.text(name);
}

/** Of one snippet: exactly one of `error` and `response`. */
export interface KiminaResult {
  readonly id: string;
  /** Seconds. */
  readonly time: number;
  readonly error?: string;
  readonly response?: ReplResponse;
}

/** Our answer about a snippet as that server gives it. */
export function kiminaResult({ id, code }: KiminaSnippet, answer: CheckAnswer): KiminaResult {
  const time = answer.milliseconds / 1000;
  if (answer.failure === null) return { id, time, response: replResponse(code, answer, 0) };
  return {
    id,
    time,
    error: answer.failure === "timeout" ? `Lean REPL command timed out in ${time} seconds` : answer.failure,
  };
}

export type KiminaStatus = "valid" | "sorry" | "lean_error" | "repl_error" | "timeout_error" | "server_error";

/** A result as the server's own client judges it. `valid` is no verdict: axioms and the statement are not looked at. */
export function kiminaStatus(value: unknown): KiminaStatus {
  const result = new Fields(value, "result");
  const error = result.optionalText("error");
  if (error !== undefined) return error.includes("timed out") ? "timeout_error" : "server_error";
  const response = result.object("response");
  if (response.raw("message") !== undefined) return "repl_error";
  const messages = response.list("messages", (message) => message.text("severity"));
  if (messages.includes("error")) return "lean_error";
  return response.list("sorries", () => null).length > 0 ? "sorry" : "valid";
}

/** The header that the server keeps warm for a text, and the rest: leading imports, any of Mathlib's being Mathlib as a whole. */
export function splitKiminaHeader(code: string): {
  readonly header: string;
  readonly body: string;
  readonly lines: number;
} {
  const lines = code.split("\n");
  let count = 0;
  while (count < lines.length && (lines[count].trim() === "" || lines[count].startsWith("import "))) count++;
  const imports = lines
    .slice(0, count)
    .filter((line) => line.trim() !== "")
    .map((line) => (/^import Mathlib\b/.test(line) ? "import Mathlib" : line.trimEnd()));
  return { header: [...new Set(imports)].join("\n"), body: lines.slice(count).join("\n"), lines: count };
}
