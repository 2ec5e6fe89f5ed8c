/**
 * Answers of the official REPL (leanprover-community/repl, `REPL/JSON.lean` and `REPL/Lean/InfoTree/ToJson.lean`), which Kimina
 * servers pass on: messages with places, and the tree of tactics with the goals around each.
 */
import { z } from "zod";
import { FormatError } from "../../../tensor/errors.ts";
import type { TextPositions } from "../../text/positions.ts";
import { codeTokens } from "../../text/tokens.ts";
import type { LeanMessage, LeanPosition, TacticStep } from "../session.ts";

const place = z.object({ line: z.number(), column: z.number() });
type Place = z.infer<typeof place>;

const answer = z.object({
  /** Absent where the server keeps no environments. */
  env: z.number().nullish(),
  messages: z
    .array(
      z.object({
        severity: z.enum(["trace", "info", "warning", "error"]),
        pos: place,
        endPos: place.nullish(),
        data: z.string(),
      }),
    )
    .nullish(),
  infotree: z.array(z.unknown()).nullish(),
});

export interface ReplMessage {
  readonly severity: LeanMessage["severity"];
  readonly start: Place;
  readonly end: Place;
  readonly text: string;
}

export interface ReplAnswer {
  /** Number of the environment after the command, for later ones. */
  readonly env: number | null;
  readonly messages: readonly ReplMessage[];
  readonly infotree: readonly unknown[];
}

const SEVERITIES = { trace: "information", info: "information", warning: "warning", error: "error" } as const;

/** @returns the text of a request that could not be answered, as `{"message": ..}` says it. @throws FormatError for other JSON */
export function readReplAnswer(value: unknown): ReplAnswer | string {
  if (
    typeof value === "object" &&
    value !== null &&
    "message" in value &&
    typeof value.message === "string"
  ) {
    return value.message;
  }
  const { success, data, error } = answer.safeParse(value);
  if (!success) {
    throw new FormatError("this is no answer of a Lean REPL", {
      found: error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`).join("; "),
      hint: "See that the program is leanprover-community/repl.",
    });
  }
  return {
    env: data.env ?? null,
    messages: (data.messages ?? []).map((m) => ({
      ...{ severity: SEVERITIES[m.severity], start: m.pos, end: m.endPos ?? m.pos, text: m.data },
    })),
    infotree: data.infotree ?? [],
  };
}

/** Where a text stands within what was sent: its lines begin after `linesBefore` others. */
export interface Excerpt {
  readonly text: string;
  readonly positions: TextPositions;
  readonly lines: number;
  readonly linesBefore: number;
}

function placeIn({ positions, linesBefore }: Excerpt, { line, column }: Place): LeanPosition {
  return positions.at(positions.of(Math.max(1, line - linesBefore), column));
}

/** The official REPL leaves out what kind of message it is, so the two that matter are told by their words. */
function kindOf({ severity, text }: ReplMessage): string {
  if (severity === "warning" && /^declaration uses ['`]sorry['`]/.test(text)) return "hasSorry";
  if (severity === "error" && text.startsWith("unsolved goals")) return "Tactic.unsolvedGoals";
  return "";
}

export function messagesIn(messages: readonly ReplMessage[], excerpt: Excerpt): LeanMessage[] {
  return messages.map((message) => ({
    ...{ severity: message.severity, kind: kindOf(message), text: message.text },
    ...{ start: placeIn(excerpt, message.start), end: placeIn(excerpt, message.end) },
  }));
}

const ADMITS = new Set(["sorry", "admit", "stop"]);

/** Where `sorry`, `admit` and `stop` stand: reserved words, so the text tells; the REPL's own list leaves some out. */
export function sorriesIn({ text, positions }: Excerpt) {
  return codeTokens(text)
    .filter(({ kind, text: word }) => kind === "name" && ADMITS.has(word))
    .map(({ start, end }) => ({ start: positions.at(start), end: positions.at(end) }));
}

const tacticInfo = z.object({
  kind: z.literal("TacticInfo"),
  node: z.object({
    name: z.string().nullish(),
    stx: z.object({
      kind: z.string(),
      range: z.object({ synthetic: z.boolean(), start: place, finish: place }),
    }),
    goalsBefore: z.array(z.string()),
    goalsAfter: z.array(z.string()),
  }),
});
const inner = z.object({ children: z.array(z.unknown()) });

const SEQUENCES = new Set([
  "Lean.Parser.Tactic.tacticSeq",
  "Lean.Parser.Tactic.tacticSeq1Indented",
  "Lean.Parser.Tactic.tacticSeqBracketed",
]);
/** Deeper trees than any proof has. */
const MOST_DEPTH = 2000;

/**
 * The items of sequences of tactics that stand in the text. One that ran several times shows its first run; those that did
 * not run are not in the tree.
 */
export function stepsIn(trees: readonly unknown[], excerpt: Excerpt): TacticStep[] {
  const steps = new Map<string, TacticStep>();
  const visit = (tree: unknown, inSequence: boolean, depth: number, level: number) => {
    if (level > MOST_DEPTH)
      throw new FormatError("tree of tactics too deep", { expected: `at most ${MOST_DEPTH}` });
    const children = inner.safeParse(tree).data?.children ?? [];
    const node = tacticInfo.safeParse(tree).data?.node;
    const within = (sequence: boolean, steps: number) => {
      for (const child of children) visit(child, sequence, steps, level + 1);
    };
    if (node === undefined) {
      within(inSequence, depth);
      return;
    }
    const { name, stx } = node;
    const { synthetic, start, finish } = stx.range;
    const line = start.line - excerpt.linesBefore;
    // Separators and keywords have no name.
    const own = line >= 1 && line <= excerpt.lines;
    const item =
      own && inSequence && !synthetic && name != null && name !== "null" && !SEQUENCES.has(stx.kind);
    if (!item) {
      within(SEQUENCES.has(stx.kind), depth);
      return;
    }
    const key = JSON.stringify([start, finish, stx.kind]);
    if (!steps.has(key)) {
      steps.set(key, {
        ...{ start: placeIn(excerpt, start), end: placeIn(excerpt, finish), kind: stx.kind, depth },
        goalsBefore: node.goalsBefore.map((goal) => goal.trim()),
        goalsAfter: node.goalsAfter.map((goal) => goal.trim()),
      });
    }
    within(false, depth + 1);
  };
  for (const tree of trees) visit(tree, false, 0, 0);
  return [...steps.values()].sort((a, b) => a.start.index - b.start.index || b.end.index - a.end.index);
}
