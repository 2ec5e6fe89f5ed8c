/**
 * Reads the JSON of `tokenizer.json` and `tokenizer_config.json`, from text with all digits and the order of keys: the
 * vocabulary is a map of tokens to ids in the order of the file, where "10" does not come before "a", and an id that a
 * double rounds is refused as it is written.
 */
import { JsonNumber, JsonSyntaxError, type JsonValue, parseJson, toPlain } from "../json/index.ts";
import { FormatError } from "../tensor/errors.ts";

export type Json = Record<string, unknown>;

const FILE = "tokenizer.json";
const VOCAB = `${FILE} model.vocab`;

function refuseObject(where: string, value: unknown): never {
  throw new FormatError("not an object", { where, found: Array.isArray(value) ? "a list" : typeof value });
}

function objectOf(value: unknown, where: string): Json {
  if (typeof value !== "object" || value === null || Array.isArray(value)) refuseObject(where, value);
  return value as Json;
}

function parsed(text: string, where: string): JsonValue {
  try {
    return parseJson(text);
  } catch (cause) {
    if (!(cause instanceof JsonSyntaxError)) throw cause;
    throw new FormatError(`not valid JSON: ${cause.message}`, { where, cause });
  }
}

/** An object of a file given parsed or as text. @throws FormatError */
export function readObject(json: unknown, where: string): Json {
  return objectOf(typeof json === "string" ? toPlain(parsed(json, where)) : json, where);
}

/** @throws FormatError for a part of `tokenizer.json` that asks for what is not supported */
export function refuseUnless(ok: boolean, where: string, expected: string, found: unknown): void {
  if (ok) return;
  const shown = typeof found === "object" && found !== null ? ((found as Json).type ?? "no type") : found;
  throw new FormatError("not supported", { where: `${FILE} ${where}`, expected, found: shown });
}

function idOf(token: string, value: unknown): number {
  const id = value instanceof JsonNumber && value.isInteger ? value.toNumber() : value;
  if (Number.isSafeInteger(id) && (id as number) >= 0) return id as number;
  const found = value instanceof JsonNumber ? value.text : value;
  throw new FormatError("an id must be a non-negative integer", { where: VOCAB, name: token, found });
}

function vocabOf(entries: Iterable<[string, unknown]>): Map<string, number> {
  const vocab = new Map<string, number>();
  for (const [token, value] of entries) vocab.set(token, idOf(token, value));
  return vocab;
}

export interface TokenizerFile {
  /** All but the model. */
  readonly file: Json;
  /** The model without its vocabulary; merges as they stand there. */
  readonly model: Json;
  readonly vocab: Map<string, number>;
}

/** `tokenizer.json` parsed or as text. @throws FormatError */
export function readTokenizerFile(json: unknown): TokenizerFile {
  if (typeof json !== "string") {
    const file = objectOf(json, FILE);
    const model = objectOf(file.model, `${FILE} model`);
    return { file, model, vocab: vocabOf(Object.entries(objectOf(model.vocab, VOCAB))) };
  }
  const root = parsed(json, FILE);
  if (!(root instanceof Map)) refuseObject(FILE, root);
  const inner = root.get("model");
  if (!(inner instanceof Map)) refuseObject(`${FILE} model`, inner);
  const entries = inner.get("vocab");
  if (!(entries instanceof Map)) refuseObject(VOCAB, entries);
  const merges = inner.get("merges");
  const without = (map: ReadonlyMap<string, JsonValue>, ...names: string[]) =>
    toPlain(new Map([...map].filter(([name]) => !names.includes(name)))) as Json;
  const model = { ...without(inner, "vocab", "merges"), merges };
  return { file: without(root, "model"), model, vocab: vocabOf(entries) };
}
