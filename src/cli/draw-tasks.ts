/**
 * What a command is to draw: one prompt of the command line, or one of each line of a JSON Lines file; and the pictures that
 * come of it, each with its place and with the texts that its file will hold.
 */
import { join } from "node:path";
import { type DrawRequest, MOST_IMAGES } from "../engine/draw/events.ts";
import { type FlowSolver, flowSolvers } from "../engine/draw/flow-sampler.ts";
import { readTextFile } from "../files/text-file.ts";
import { withoutMark } from "../files/utf8.ts";
import { ConfigError } from "../tensor/errors.ts";

/** What the command line and each line of a file may say about a drawing. */
export interface DrawSettings {
  readonly guidance?: number;
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly steps?: number;
  readonly solver?: FlowSolver;
}

export interface DrawTask extends DrawSettings {
  readonly prompt: string;
  readonly seed: number;
  readonly count: number;
  /** Line of the file, from 1; null for the command line's prompt. */
  readonly line: number | null;
}

/** A task as the engine takes it. */
export function requestOf({ line: _, ...request }: DrawTask): DrawRequest {
  return request;
}

/** Most pictures of one run. */
const MOST_PICTURES = 100_000;

/** Characters of a prompt in a file's name. */
const NAME_LENGTH = 48;

type Check = readonly [expected: string, valid: (value: unknown) => boolean];

const number = (expected: string, valid: (n: number) => boolean): Check => [
  expected,
  (value) => typeof value === "number" && Number.isFinite(value) && valid(value),
];
const whole = (least: number, most = Number.MAX_SAFE_INTEGER): Check => {
  const range = most === Number.MAX_SAFE_INTEGER ? `${least} or more` : `${least} to ${most}`;
  return number(`a whole number, ${range}`, (n) => Number.isSafeInteger(n) && n >= least && n <= most);
};

/** Fields of a line, with what they must be. */
const FIELDS: Readonly<Record<Exclude<keyof DrawTask, "line">, Check>> = {
  prompt: ["a text that is not empty", (value) => typeof value === "string" && value.trim() !== ""],
  seed: whole(0),
  count: whole(1, MOST_IMAGES),
  guidance: number("a number", () => true),
  temperature: number("a number, 0 or more", (n) => n >= 0),
  topK: whole(0),
  topP: number("a number above 0, at most 1", (n) => n > 0 && n <= 1),
  steps: whole(1, 1000),
  solver: [
    Object.keys(flowSolvers).join(" or "),
    (value) => typeof value === "string" && Object.hasOwn(flowSolvers, value),
  ],
};

/** The task of one line; what it leaves out is as in `defaults`. @throws ConfigError naming line and field */
function taskOf(text: string, where: string, line: number, defaults: Omit<DrawTask, "prompt" | "line">) {
  const refuse = (message: string, detail: object = {}): never => {
    throw new ConfigError(message, { where: `${where}: line ${line}`, ...detail });
  };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    refuse("not valid JSON", { expected: '{"prompt": ".."}', found: text.slice(0, 60) });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    refuse("not a JSON object", { expected: '{"prompt": ".."}', found: text.slice(0, 60) });
  }
  const fields = value as Readonly<Record<string, unknown>>;
  for (const [name, given] of Object.entries(fields)) {
    if (!Object.hasOwn(FIELDS, name)) {
      refuse("unknown field", { name, expected: Object.keys(FIELDS).join(", ") });
    }
    const [expected, valid] = FIELDS[name as keyof typeof FIELDS];
    if (!valid(given)) refuse("a field has no valid value", { name, expected, found: JSON.stringify(given) });
  }
  if (!("prompt" in fields)) refuse("the field `prompt` is missing", { found: text.slice(0, 60) });
  return { ...defaults, ...(fields as Partial<DrawTask> & Pick<DrawTask, "prompt">), line };
}

/** The tasks of a JSON Lines file; empty lines are none. @throws ConfigError naming line and field, FormatError, FileError */
export async function readTasks(
  path: string,
  defaults: Omit<DrawTask, "prompt" | "line">,
): Promise<DrawTask[]> {
  const lines = withoutMark(await readTextFile(path)).split("\n");
  const tasks: DrawTask[] = [];
  let pictures = 0;
  for (const [index, text] of lines.entries()) {
    if (text.trim() === "") continue;
    const task = taskOf(text, path, index + 1, defaults);
    tasks.push(task);
    pictures += task.count;
    if (pictures > MOST_PICTURES) {
      throw new ConfigError("the file asks for too many pictures", {
        where: `${path}: line ${index + 1}`,
        expected: `at most ${MOST_PICTURES}`,
        hint: "Cut it into several files.",
      });
    }
  }
  if (tasks.length > 0) return tasks;
  throw new ConfigError("the file holds no prompts", {
    where: path,
    expected: 'lines like {"prompt": ".."}',
  });
}

/** Letters and digits of a prompt, joined by hyphens: the beginning of a file's name. */
export function promptName(prompt: string): string {
  const words =
    prompt
      .normalize("NFC")
      .toLowerCase()
      .match(/[\p{L}\p{M}\p{N}]+/gu) ?? [];
  let name = "";
  for (const word of words) {
    const longer = name === "" ? word : `${name}-${word}`;
    if ([...longer].length > NAME_LENGTH) break;
    name = longer;
  }
  // A word longer than a name.
  return name || [...(words[0] ?? "drawing")].slice(0, NAME_LENGTH).join("");
}

/** One picture of a run. */
export interface PlannedPicture {
  readonly task: DrawTask;
  /** Index among those of its seed, from 0. */
  readonly image: number;
  readonly path: string;
}

/** The pictures of tasks in order, with their places in a folder: the same tasks always have the same. */
export function plannedPictures(folder: string, tasks: readonly DrawTask[]): PlannedPicture[] {
  const last = tasks.at(-1)?.line ?? null;
  const digits = last === null ? 0 : Math.max(3, `${last}`.length);
  return tasks.flatMap((task) => {
    const line = task.line === null ? "" : `${`${task.line}`.padStart(digits, "0")}-`;
    const name = `${line}${promptName(task.prompt)}-seed${task.seed}`;
    return Array.from({ length: task.count }, (_, image) => ({
      task,
      image,
      path: join(folder, `${name}-${image + 1}.png`),
    }));
  });
}
