/** Lines of a JSON text: where a setting stands that was refused, and where a text is no JSON. */

const TOKEN = /"(?:[^"\\\n]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g;

interface Level {
  readonly list: boolean;
  /** Of an object the key, of a list the number of what is read now. */
  key: string | number;
}

const pathOf = (levels: readonly Level[]) =>
  levels.reduce(
    (path, { list, key }) => (list ? `${path}[${key}]` : path === "" ? String(key) : `${path}.${key}`),
    "",
  );

/** Length of a text's beginning that is `path` or leads to it; -1 for none. */
const reach = (path: string, target: string) =>
  path !== "" && (target === path || (target.startsWith(path) && /[.[]/.test(target[path.length])))
    ? path.length
    : -1;

/**
 * The line, from 1, of a setting such as `training.batch.size` or `stages[0].mixture[1].world`; where the text has not all of it, of as
 * much of it as it has. Null for nothing of it.
 */
export function lineOfSetting(text: string, setting: string): number | null {
  const levels: Level[] = [];
  let best = { length: 0, at: -1 };
  const look = (at: number) => {
    const length = reach(pathOf(levels), setting);
    if (length > best.length) best = { length, at };
  };
  let before = "";
  for (const { 0: token, index } of text.matchAll(TOKEN)) {
    const level = levels.at(-1);
    if (level?.list && token !== "]" && (before === "[" || before === ",")) look(index);
    if (token === "{" || token === "[") levels.push({ list: token === "[", key: token === "[" ? 0 : "" });
    else if (token === "}" || token === "]") levels.pop();
    else if (level && token === "," && level.list) level.key = Number(level.key) + 1;
    else if (level && !level.list && token.startsWith('"') && before !== ":") {
      level.key = token.slice(1, -1);
      look(index);
    }
    before = token;
  }
  return best.at < 0 ? null : text.slice(0, best.at).split("\n").length;
}

export interface JsonFault {
  readonly message: string;
  /** From 1; null where the browser does not say. */
  readonly line: number | null;
}

/** An object of JSON, or what is wrong with the text. */
export function parseSettings(
  text: string,
): { readonly config: Readonly<Record<string, unknown>> } | { readonly fault: JsonFault } {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const line = /line (\d+)/.exec(message)?.[1];
    const position = /position (\d+)/.exec(message)?.[1];
    const at = position === undefined ? null : text.slice(0, Number(position)).split("\n").length;
    const atEnd = /end of (JSON )?(input|data)/i.test(message) ? text.trimEnd().split("\n").length : null;
    return { fault: { message, line: line === undefined ? (at ?? atEnd) : Number(line) } };
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return { fault: { message: "The settings must be a JSON object: { .. }.", line: 1 } };
  }
  return { config: value as Readonly<Record<string, unknown>> };
}
