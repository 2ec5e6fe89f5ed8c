/** Fields of a line of conversations, and refusals that name file, line and field. */
import { isInnerPath } from "../../files/sink.ts";
import { type ErrorDetail, FormatError } from "../../tensor/errors.ts";
import type { ImageSource } from "./messages.ts";

export interface ConversationRules {
  /** Whether images may lie anywhere, by absolute paths; default false. */
  readonly allowAbsolute?: boolean;
  /** Most images of a conversation; default 64. */
  readonly maxImages?: number;
}

export type JsonFields = Readonly<Record<string, unknown>>;

const SHOWN = 60;
const LONGEST_PATH = 4096;

/** A value as errors show it: short, and JSON but for what is missing. */
export function shown(value: unknown): string {
  if (value === undefined) return "nothing";
  const text = JSON.stringify(value);
  return text.length <= SHOWN ? text : `${text.slice(0, SHOWN)}…`;
}

/** One line under inspection. */
export class LineFields {
  readonly rules: Required<ConversationRules>;
  readonly #where: string;

  /** `where` names file and line. */
  constructor(where: string, { allowAbsolute = false, maxImages = 64 }: ConversationRules) {
    this.#where = where;
    this.rules = { allowAbsolute, maxImages };
  }

  refuse(field: string, message: string, detail: Omit<ErrorDetail, "where" | "name"> = {}): never {
    throw new FormatError(message, { where: this.#where, ...(field !== "" && { name: field }), ...detail });
  }

  object(value: unknown, field: string): JsonFields {
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as JsonFields;
    return this.refuse(field, "must be an object", { found: shown(value) });
  }

  list(value: unknown, field: string): readonly unknown[] {
    if (Array.isArray(value)) return value;
    return this.refuse(field, "must be a list", { found: shown(value) });
  }

  text(value: unknown, field: string): string {
    if (typeof value === "string") return value;
    return this.refuse(field, "must be a string", { found: shown(value) });
  }

  oneOf<T extends string>(value: unknown, names: ReadonlyMap<string, T>, field: string): T {
    const known = typeof value === "string" ? names.get(value) : undefined;
    return known ?? this.refuse(field, "unknown", { expected: [...names.keys()], found: shown(value) });
  }

  /** Fields that would change what is learned, and that nothing here obeys. */
  only(json: JsonFields, known: readonly string[], field: string): void {
    const other = Object.keys(json).find((key) => !known.includes(key) && json[key] !== null);
    if (other === undefined) return;
    const name = field === "" ? other : `${field}.${other}`;
    this.refuse(name, "unknown field", { expected: known, found: shown(json[other]) });
  }

  /** A path or data URL. Nothing is opened. */
  image(value: unknown, field: string): ImageSource {
    const text = this.text(value, field);
    if (/^data:/i.test(text)) return { dataUrl: text };
    if (/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) {
      this.refuse(field, "an address is no file", {
        expected: "a path, or a data: URL",
        found: shown(text),
        hint: "Download the image and name its file.",
      });
    }
    if (text === "" || text.length > LONGEST_PATH || text.includes("\0")) {
      this.refuse(field, "not a path", { expected: `1 to ${LONGEST_PATH} characters`, found: shown(text) });
    }
    if (/^([/\\]|[a-z]:)/i.test(text)) {
      if (this.rules.allowAbsolute) return { path: text };
      this.refuse(field, "absolute path", {
        expected: "a path relative to the data folder",
        found: shown(text),
        hint: "Make it relative, or allow absolute paths (allowAbsolute).",
      });
    }
    const path = text.replace(/^(\.\/+)+/, "");
    if (isInnerPath(path)) return { path };
    return this.refuse(field, "path leaves the data folder", {
      expected: "a path inside the data folder, without '..', ':' and '\\'",
      found: shown(text),
    });
  }
}
