/**
 * A conversation is a tree of turns: an edit or a retry adds a turn beside the one it replaces, and nothing is lost. What is
 * shown is one path through it.
 */

/** A phrase of an answer with its places: corners in pixels of the picture with this number in the conversation. */
export interface Phrase {
  readonly label: string;
  readonly image: number;
  readonly boxes: readonly {
    readonly x1: number;
    readonly y1: number;
    readonly x2: number;
    readonly y2: number;
  }[];
}

export interface ToolCall {
  readonly id: string;
  readonly name: string;
  /** JSON, as the model wrote it. */
  readonly arguments: string;
}

export interface Figures {
  readonly promptTokens: number;
  readonly tokens: number;
  /** Milliseconds from asking to the first token; null before. */
  readonly firstToken: number | null;
  /** Milliseconds from the first token to the last. */
  readonly writing: number;
  /** Milliseconds of reasoning; null without. */
  readonly thought: number | null;
}

/** `null`: it is still written. `interrupted`: the server ended before. */
export type Ending = "whole" | "length" | "stopped" | "failed" | "interrupted" | null;

export interface AnswerJob {
  readonly id: string;
  /** The last event that the turn has. */
  readonly after: number;
  /** Characters of reasoning and content that the job went on from; none if absent. */
  readonly begun?: readonly [reasoning: number, content: number];
}

export interface Turn {
  readonly id: string;
  readonly conversation: string;
  readonly parent: string | null;
  readonly role: "user" | "assistant" | "tool";
  /** Milliseconds since 1970. */
  readonly created: number;
  readonly content: string;
  readonly reasoning: string;
  /** Names of the pictures in the store, by their content. */
  readonly pictures: readonly string[];
  readonly phrases: readonly Phrase[];
  readonly calls: readonly ToolCall[];
  /** Of a tool's answer: the call. */
  readonly callId: string | null;
  readonly model: string | null;
  readonly figures: Figures | null;
  readonly ended: Ending;
  readonly error: string | null;
  /** Of an answer that a job writes. */
  readonly job: AnswerJob | null;
  /** When it was deleted, with what follows; gone for good a little later. */
  readonly deleted: number | null;
}

/** Settings that differ from the default; the fields are those of `/v1`. */
export interface Settings {
  readonly temperature?: number;
  readonly top_p?: number;
  readonly top_k?: number;
  readonly min_p?: number;
  readonly repetition_penalty?: number;
  readonly max_tokens?: number;
  readonly seed?: number;
  readonly thinking?: "enabled" | "disabled";
  readonly grounding?: boolean;
  /** Stop strings, one a line. */
  readonly stop?: string;
  /** A JSON schema, as text. */
  readonly schema?: string;
  /** A list of tools in the form of `/v1`, as text. */
  readonly tools?: string;
  /** Raw completion: what comes after the hole. */
  readonly suffix?: string;
}

export interface Conversation {
  readonly id: string;
  readonly title: string;
  readonly created: number;
  readonly changed: number;
  /** Rises with each change of this record. */
  readonly revision: number;
  readonly mode: "chat" | "raw";
  readonly system: string;
  readonly settings: Settings;
  readonly model: string | null;
  /** By turn, or `root`: the child that is shown. */
  readonly chosen: Readonly<Record<string, string>>;
  readonly deleted: number | null;
}

export type Turns = ReadonlyMap<string, Turn>;

export const ROOT = "root";

export const newConversation = (id: string, now: number): Conversation => ({
  id,
  title: "",
  created: now,
  changed: now,
  revision: 0,
  mode: "chat",
  system: "",
  settings: {},
  model: null,
  chosen: {},
  deleted: null,
});

export function newTurn(
  given: Pick<Turn, "id" | "conversation" | "parent" | "role"> & Partial<Turn>,
  now: number,
): Turn {
  return {
    created: now,
    content: "",
    reasoning: "",
    pictures: [],
    phrases: [],
    calls: [],
    callId: null,
    model: null,
    figures: null,
    ended: given.role === "assistant" ? null : "whole",
    error: null,
    job: null,
    deleted: null,
    ...given,
  };
}

/** Turns under a parent, oldest first, without those that were deleted. */
export function childrenOf(turns: Turns, parent: string | null): readonly Turn[] {
  return [...turns.values()]
    .filter((turn) => turn.parent === parent && turn.deleted === null)
    .sort((a, b) => a.created - b.created || (a.id < b.id ? -1 : 1));
}

/** The turns that are shown, from the first. */
export function pathOf(turns: Turns, chosen: Conversation["chosen"]): readonly Turn[] {
  const byParent = new Map<string | null, Turn[]>();
  for (const turn of turns.values()) {
    if (turn.deleted !== null) continue;
    const list = byParent.get(turn.parent);
    if (list) list.push(turn);
    else byParent.set(turn.parent, [turn]);
  }
  const path: Turn[] = [];
  // Each turn at most once: records from elsewhere may claim to be their own parents.
  const seen = new Set<string>();
  let parent: string | null = null;
  for (;;) {
    const list: readonly Turn[] = byParent.get(parent) ?? [];
    const picked: string | undefined = chosen[parent ?? ROOT];
    const next: Turn | undefined =
      list.find(({ id }) => id === picked) ??
      list.reduce<Turn | undefined>(
        (last, turn) => (last && last.created > turn.created ? last : turn),
        undefined,
      );
    if (!next || seen.has(next.id)) return path;
    seen.add(next.id);
    path.push(next);
    parent = next.id;
  }
}

/** `chosen` with the path through a turn shown. */
export function showing(turns: Turns, chosen: Conversation["chosen"], id: string): Conversation["chosen"] {
  const next: Record<string, string> = { ...chosen };
  const seen = new Set<string>();
  let turn = turns.get(id);
  while (turn && !seen.has(turn.id)) {
    seen.add(turn.id);
    next[turn.parent ?? ROOT] = turn.id;
    turn = turn.parent === null ? undefined : turns.get(turn.parent);
  }
  return next;
}

/** A turn and all that follows it. */
export function subtree(turns: Turns, id: string): readonly Turn[] {
  const found: Turn[] = [];
  const seen = new Set<string>();
  const visit = [id];
  while (visit.length > 0) {
    const turn = turns.get(visit.pop()!);
    if (!turn || seen.has(turn.id)) continue;
    seen.add(turn.id);
    found.push(turn);
    for (const other of turns.values()) if (other.parent === turn.id) visit.push(other.id);
  }
  return found;
}

/** A conversation's name: the first words that were said. */
export function titleOf(text: string): string {
  const line = text.trim().split("\n")[0].replaceAll(/\s+/g, " ");
  return line.length <= 60 ? line : `${line.slice(0, 57).trimEnd()}…`;
}

/** Pictures of the turns, in the order in which the model counts them. */
export const picturesOf = (path: readonly Turn[]): readonly string[] =>
  path.flatMap(({ pictures }) => pictures);
