/**
 * Compiles the `pre_tokenizer` of a `tokenizer.json` into a function that cuts text into the pieces that a model works on.
 * Semantics follow the Rust `tokenizers` library (Sequence, Split, Digits, ByteLevel); each stage sees only one
 * piece of the stage before. ByteLevel must come last for BPE, since every DeepSeek vocabulary is byte-level, and
 * is refused for vocabularies of words.
 * Left out and refused by name: every other pre-tokenizer.
 */
import { FormatError } from "../tensor/errors.ts";
import { compileOniguruma } from "./oniguruma.ts";
import type { SplitBehavior } from "./schema.ts";
import { LONG_TEXT, Pace, type Slices } from "./slices.ts";

type Emit = (piece: string) => void;

/** Cuts `text` and hands each non-empty piece to `emit`, in order. */
export interface PreTokenizer {
  (text: string, emit: Emit): void;
  /** The same with pauses; pieces over `LONG_TEXT` go to `emitLong`. */
  slices(text: string, emit: Emit, emitLong: (piece: string) => Slices<void>): Slices<void>;
}

interface Stage {
  run(text: string, next: Emit): void;
  /** The same with pauses; parts over `LONG_TEXT` go to `nextLong`. */
  slices(text: string, next: Emit, nextLong: (piece: string) => Slices<void>): Slices<void>;
}

/** Takes what lies from `from` to `to`: a match (a gap if the split is inverted) or what lies between. */
type OnSpan = (from: number, to: number, match: boolean) => void;
type OnPart = (from: number, to: number) => void;

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
    throw new FormatError("must be an object", { where: WHERE, name, found: value });
  }
  return value as Record<string, unknown>;
}

function flag(json: Record<string, unknown>, name: string, fallback: boolean): boolean {
  const value = json[name] ?? fallback;
  if (typeof value !== "boolean") {
    throw new FormatError("must be a boolean", { where: WHERE, name, found: value });
  }
  return value;
}

/** Matches and gaps of `regex` over `text`, together covering it. */
function spans(text: string, regex: RegExp, invert: boolean, onSpan: OnSpan): void {
  let end = 0;
  regex.lastIndex = 0;
  for (let found = regex.exec(text); found !== null; found = regex.exec(text)) {
    const length = found[0].length;
    if (length === 0) {
      // An empty match cuts nothing off; step over one whole character.
      regex.lastIndex += text.codePointAt(regex.lastIndex)! > 0xffff ? 2 : 1;
      continue;
    }
    if (found.index > end) onSpan(end, found.index, invert);
    end = found.index + length;
    onSpan(found.index, end, !invert);
  }
  if (end < text.length) onSpan(end, text.length, invert);
}

/** The same, looking at one place after the other, so that no search over a long text is without a pause. */
function* spansSlowly(text: string, sticky: RegExp, invert: boolean, onSpan: OnSpan): Slices<void> {
  const pace = new Pace();
  let end = 0;
  for (let at = 0; at < text.length; ) {
    const from = at;
    sticky.lastIndex = at;
    if (sticky.test(text) && sticky.lastIndex > at) {
      if (at > end) onSpan(end, at, invert);
      end = sticky.lastIndex;
      onSpan(at, end, !invert);
      at = end;
    } else at += text.codePointAt(at)! > 0xffff ? 2 : 1;
    if (pace.due(at - from)) yield;
  }
  if (end < text.length) onSpan(end, text.length, invert);
}

/** Joins matches with their neighbors as the behavior asks; to be ended after the last span. */
function joining(behavior: SplitBehavior, onPart: OnPart): { onSpan: OnSpan; end: () => void } {
  if (behavior === "Isolated") return { onSpan: onPart, end: () => {} };
  if (behavior === "Removed") {
    const onSpan: OnSpan = (from, to, match) => {
      if (!match) onPart(from, to);
    };
    return { onSpan, end: () => {} };
  }
  // What waits to be joined to what comes, and whether it ends in a match.
  let [first, last, matched] = [-1, -1, false];
  const end = () => {
    if (first >= 0) onPart(first, last);
    first = -1;
  };
  const joins = (match: boolean) => {
    if (behavior === "Contiguous") return match === matched;
    return behavior === "MergedWithNext" ? matched && !match : match && !matched;
  };
  const onSpan: OnSpan = (from, to, match) => {
    if (first < 0 || !joins(match)) {
      end();
      first = from;
    }
    [last, matched] = [to, match];
  };
  return { onSpan, end };
}

function split(regex: RegExp, behavior: SplitBehavior, invert: boolean): Stage {
  const sticky = new RegExp(regex.source, `${regex.flags.replace("g", "")}y`);
  return {
    run(text, next) {
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
      const joined = joining(behavior, (from, to) => next(text.slice(from, to)));
      spans(text, regex, invert, joined.onSpan);
      joined.end();
    },
    *slices(text, next, nextLong) {
      // At most a few parts come between two pauses, of which any may be long.
      const parts: string[] = [];
      const joined = joining(behavior, (from, to) => parts.push(text.slice(from, to)));
      const search = spansSlowly(text, sticky, invert, joined.onSpan);
      for (let over = false; !over; ) {
        over = search.next().done === true;
        if (over) joined.end();
        for (const part of parts) {
          if (part.length > LONG_TEXT) yield* nextLong(part);
          else next(part);
        }
        parts.length = 0;
        yield;
      }
    },
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
    const prefixed = (text: string) => (text.startsWith(" ") ? text : ` ${text}`);
    stages.push({
      run: (text, next) => next(prefixed(text)),
      slices: (text, _next, nextLong) => nextLong(prefixed(text)),
    });
  }
  if (flag(json, "use_regex", true)) stages.push(split(compileOniguruma(GPT2_PATTERN), "Isolated", false));
  return stages;
}

/** How a pre-tokenizer ends: in ByteLevel (`last` where it must come now), or without it. */
type Ending = "last" | "later" | "none";

function collect(value: unknown, stages: Stage[], ending: Ending): void {
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
        collect(item, stages, ending === "last" && i < list.length - 1 ? "later" : ending);
      });
      return;
    }
    case "ByteLevel":
      if (ending === "later") throw new FormatError("ByteLevel must be the last stage", { where: WHERE });
      if (ending === "none") {
        throw new FormatError("ByteLevel before a vocabulary of words", { where: WHERE, found: "ByteLevel" });
      }
      stages.push(...byteLevelStages(json));
      return;
    case "Split":
    case "Digits":
      if (ending === "last") {
        throw new FormatError("only byte-level BPE is supported", {
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

export interface PreTokenizerOptions {
  /** Whether the vocabulary spells bytes, so that ByteLevel must come last; default true. */
  readonly byteLevel?: boolean;
}

/** Compiles a `pre_tokenizer` object. @throws FormatError naming whatever is unknown or malformed in it. */
export function compilePreTokenizer(
  json: unknown,
  { byteLevel = true }: PreTokenizerOptions = {},
): PreTokenizer {
  const stages: Stage[] = [];
  collect(json, stages, byteLevel ? "last" : "none");
  const after = (emit: Emit, from: number) =>
    stages.slice(from).reduceRight<Emit>((next, stage) => (text) => stage.run(text, next), emit);
  function preTokenize(text: string, emit: Emit): void {
    if (text !== "") after(emit, 0)(text);
  }
  function slices(text: string, emit: Emit, emitLong: (piece: string) => Slices<void>): Slices<void> {
    const nexts = [...stages, null].map((_, i) => after(emit, i));
    const from = (i: number, part: string): Slices<void> =>
      i === stages.length
        ? emitLong(part)
        : stages[i].slices(part, nexts[i + 1], (long) => from(i + 1, long));
    return from(0, text);
  }
  return Object.assign(preTokenize, { slices });
}
