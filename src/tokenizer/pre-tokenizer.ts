/**
 * Compiles the `pre_tokenizer` of a `tokenizer.json` into a function that cuts text into the pieces BPE works on.
 * Semantics follow the Rust `tokenizers` library (Sequence, Split, Digits, ByteLevel); each stage sees only one
 * piece of the stage before. ByteLevel must come last, since every DeepSeek vocabulary is byte-level.
 * Left out and refused by name: every other pre-tokenizer.
 */
import { FormatError } from "../tensor/errors.ts";
import { compileOniguruma } from "./oniguruma.ts";
import type { SplitBehavior } from "./schema.ts";

type Emit = (piece: string) => void;

/** Cuts `text` and hands each non-empty piece to `emit`, in order. */
export type PreTokenizer = (text: string, emit: Emit) => void;

type Stage = (next: Emit) => Emit;
interface Span {
  from: number;
  to: number;
  match: boolean;
}

/** The pre-tokenizer of GPT-2, which ByteLevel applies when `use_regex` is true. */
const GPT2_PATTERN = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;
const BEHAVIORS: readonly string[] = [
  "Isolated",
  "Removed",
  "MergedWithPrevious",
  "MergedWithNext",
  "Contiguous",
] satisfies SplitBehavior[];
const WHERE = "tokenizer.json pre_tokenizer";

function asObject(value: unknown, name: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new FormatError("an object is missing", { where: WHERE, name, found: value });
  }
  return value as Record<string, unknown>;
}

function flag(json: Record<string, unknown>, name: string, fallback: boolean): boolean {
  const value = json[name] ?? fallback;
  if (typeof value !== "boolean") {
    throw new FormatError("a boolean is missing", { where: WHERE, name, found: value });
  }
  return value;
}

/** Matches and gaps of `regex` over `text`, together covering it. */
function spans(text: string, regex: RegExp, invert: boolean): Span[] {
  const out: Span[] = [];
  let end = 0;
  regex.lastIndex = 0;
  for (let found = regex.exec(text); found !== null; found = regex.exec(text)) {
    const length = found[0].length;
    if (length === 0) {
      // An empty match cuts nothing off; step over one whole character.
      regex.lastIndex += text.codePointAt(regex.lastIndex)! > 0xffff ? 2 : 1;
      continue;
    }
    if (found.index > end) out.push({ from: end, to: found.index, match: invert });
    end = found.index + length;
    out.push({ from: found.index, to: end, match: !invert });
  }
  if (end < text.length) out.push({ from: end, to: text.length, match: invert });
  return out;
}

/** Joins matches with their neighbours as the behaviour asks. */
function arrange(list: Span[], behavior: SplitBehavior): Span[] {
  if (behavior === "Isolated") return list;
  if (behavior === "Removed") return list.filter((span) => !span.match);
  const backwards = behavior === "MergedWithNext";
  const out: Span[] = [];
  let previous = false;
  for (const span of backwards ? list.toReversed() : list) {
    const joins = behavior === "Contiguous" ? span.match === previous : span.match && !previous;
    const last = out.at(-1);
    if (joins && last) {
      if (backwards) last.from = span.from;
      else last.to = span.to;
    } else {
      out.push({ ...span });
    }
    previous = span.match;
  }
  return backwards ? out.reverse() : out;
}

function split(regex: RegExp, behavior: SplitBehavior, invert: boolean): Stage {
  return (next) => (text) => {
    regex.lastIndex = 0;
    if (!regex.test(text)) {
      // No match: one gap (which `invert` turns into a match that Removed drops).
      if (!(invert && behavior === "Removed")) next(text);
      return;
    }
    if (behavior === "Isolated") {
      // Several times faster than exec; positions are not needed when the matches leave no gap.
      const matches = text.match(regex)!;
      let covered = 0;
      for (let i = 0; i < matches.length; i++) covered += matches[i].length;
      if (covered === text.length) {
        for (let i = 0; i < matches.length; i++) if (matches[i] !== "") next(matches[i]);
        return;
      }
    }
    for (const span of arrange(spans(text, regex, invert), behavior)) next(text.slice(span.from, span.to));
  };
}

function splitStage(json: Record<string, unknown>): Stage {
  const pattern = asObject(json.pattern, "pattern");
  const behavior = json.behavior;
  if (typeof behavior !== "string" || !BEHAVIORS.includes(behavior)) {
    throw new FormatError("unknown Split behavior", {
      where: WHERE,
      name: "behavior",
      expected: BEHAVIORS,
      found: behavior,
    });
  }
  const invert = flag(json, "invert", false);
  if (typeof pattern.Regex === "string") {
    return split(compileOniguruma(pattern.Regex), behavior as SplitBehavior, invert);
  }
  if (typeof pattern.String === "string") {
    if (pattern.String === "") {
      throw new FormatError("Split on the empty string", { where: WHERE, name: "pattern.String" });
    }
    const escaped = pattern.String.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
    return split(new RegExp(escaped, "gu"), behavior as SplitBehavior, invert);
  }
  throw new FormatError("unknown Split pattern", {
    where: WHERE,
    name: "pattern",
    expected: ["Regex", "String"],
    found: Object.keys(pattern),
  });
}

function byteLevelStages(json: Record<string, unknown>): Stage[] {
  const stages: Stage[] = [];
  if (flag(json, "add_prefix_space", true)) {
    stages.push((next) => (text) => next(text.startsWith(" ") ? text : ` ${text}`));
  }
  if (flag(json, "use_regex", true)) stages.push(split(compileOniguruma(GPT2_PATTERN), "Isolated", false));
  return stages;
}

function collect(value: unknown, stages: Stage[], last: boolean): void {
  const json = asObject(value, "pre_tokenizer");
  switch (json.type) {
    case "Sequence": {
      const list = json.pretokenizers;
      if (!Array.isArray(list) || list.length === 0) {
        throw new FormatError("Sequence without stages", {
          where: WHERE,
          name: "pretokenizers",
          found: list,
        });
      }
      list.forEach((item, i) => {
        collect(item, stages, last && i === list.length - 1);
      });
      return;
    }
    case "ByteLevel":
      if (!last) throw new FormatError("ByteLevel must be the last stage", { where: WHERE });
      stages.push(...byteLevelStages(json));
      return;
    case "Split":
    case "Digits":
      if (last) {
        throw new FormatError("only byte-level vocabularies are supported", {
          where: WHERE,
          expected: "ByteLevel as the last stage",
          found: json.type,
        });
      }
      stages.push(
        json.type === "Split"
          ? splitStage(json)
          : split(/\p{N}/gu, flag(json, "individual_digits", false) ? "Isolated" : "Contiguous", false),
      );
      return;
    default:
      throw new FormatError("unknown pre-tokenizer", {
        where: WHERE,
        name: String(json.type),
        expected: ["Sequence", "Split", "Digits", "ByteLevel"],
      });
  }
}

/** Compiles a `pre_tokenizer` object; throws FormatError naming whatever is unknown or malformed in it. */
export function compilePreTokenizer(json: unknown): PreTokenizer {
  const stages: Stage[] = [];
  collect(json, stages, true);
  return (text, emit) => {
    if (text === "") return;
    stages.reduceRight<Emit>((next, stage) => stage(next), emit)(text);
  };
}
