/**
 * The `decoder` of a vocabulary of whole words: what each token gives and what stands between tokens, as the Rust library
 * `tokenizers` joins them. Without a decoder tokens are joined by spaces. Supported are Replace and Strip for each token, and,
 * after Fuse, Strip at the beginning of the text, alone or in a Sequence. Left out and refused by name: every other decoder.
 */
import { FormatError } from "../tensor/errors.ts";
import { compileOniguruma } from "./oniguruma.ts";
import type { Json } from "./read-file.ts";
import type { TokenJoiner } from "./scheme.ts";

const WHERE = "tokenizer.json decoder";

export interface WordDecoder {
  /** What a token gives, wherever it stands. */
  textOf(token: string): string;
  joiner(): TokenJoiner;
}

type Change = (token: string) => string;

function refuse(name: string, expected: unknown, found: unknown): never {
  throw new FormatError("not supported", { where: WHERE, name, expected, found });
}

function replacing(regex: RegExp, content: string): Change {
  return (token) => {
    let [out, done] = ["", 0];
    regex.lastIndex = 0;
    for (let found = regex.exec(token); found !== null; found = regex.exec(token)) {
      const end = found.index + found[0].length;
      if (found[0] === "") regex.lastIndex += token.codePointAt(end)! > 0xffff ? 2 : 1;
      // As in Oniguruma no empty match follows at once upon another.
      if (found[0] === "" && end === done && end > 0) continue;
      out += token.slice(done, found.index) + content;
      done = end;
    }
    return out + token.slice(done);
  };
}

function readReplace(json: Json): Change {
  const { pattern, content } = json;
  if (typeof content !== "string") refuse("Replace content", "a string", typeof content);
  const { Regex, String: literal } = (pattern ?? {}) as { Regex?: unknown; String?: unknown };
  if (typeof Regex === "string") return replacing(compileOniguruma(Regex, WHERE), content);
  if (typeof literal !== "string" || literal === "") {
    return refuse("Replace pattern", "Regex or String, not empty", JSON.stringify(pattern ?? null));
  }
  return (token) => token.replaceAll(literal, () => content);
}

interface Strip {
  readonly content: string;
  readonly start: number;
  readonly stop: number;
}

function readStrip({ content, start, stop }: Json): Strip {
  if (typeof content !== "string" || Array.from(content).length !== 1) {
    refuse("Strip content", "one character", JSON.stringify(content ?? null));
  }
  for (const count of [start, stop]) {
    if (!(Number.isSafeInteger(count) && (count as number) >= 0)) refuse("Strip", "start and stop", count);
  }
  return { content, start: start as number, stop: stop as number };
}

/** How much of a text is content at its beginning, at most so many times. */
function strippedFrom(text: string, { content }: Strip, most: number): number {
  let at = 0;
  for (let n = 0; n < most && text.startsWith(content, at); n++) at += content.length;
  return at;
}

function stripping(strip: Strip): Change {
  return (token) => {
    let text = token.slice(strippedFrom(token, strip, strip.start));
    for (let n = 0; n < strip.stop && text.endsWith(strip.content); n++) {
      text = text.slice(0, -strip.content.length);
    }
    return text;
  };
}

function joined(separator: string, strip: Strip): () => TokenJoiner {
  return () => {
    const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
    let first = true;
    let left = strip.start;
    return {
      push(bytes) {
        const text = utf8.decode(bytes);
        if (left > 0 && text !== "") {
          const from = strippedFrom(text, strip, left);
          left = from < text.length ? 0 : left - from / strip.content.length;
          return text.slice(from);
        }
        const before = first ? "" : separator;
        first = false;
        return before + text;
      },
      end() {
        first = true;
        left = strip.start;
        return "";
      },
    };
  };
}

const NO_STRIP: Strip = { content: " ", start: 0, stop: 0 };

/** Reads the decoder of a file with a vocabulary of words. @throws FormatError naming what is unknown or malformed in it */
export function readWordDecoder(json: unknown): WordDecoder {
  if (json === null || json === undefined) return { textOf: (token) => token, joiner: joined(" ", NO_STRIP) };
  const outer = json as Json;
  const list = (outer.type === "Sequence" ? outer.decoders : [outer]) as Json[];
  if (!Array.isArray(list)) refuse("Sequence decoders", "a list", typeof list);
  const changes: Change[] = [];
  let [fused, strip] = [false, NO_STRIP];
  for (const item of list) {
    const type = item?.type;
    if (type === "Fuse") fused = true;
    else if (type === "Replace" && !fused) changes.push(readReplace(item));
    else if (type === "Strip" && !fused) changes.push(stripping(readStrip(item)));
    else if (type === "Strip" && strip === NO_STRIP) {
      strip = readStrip(item);
      if (strip.stop > 0) refuse("Strip stop after Fuse", 0, strip.stop);
    } else {
      const expected = fused ? "one Strip after Fuse" : "Replace, Strip, Fuse";
      refuse(String(type), expected, type ?? JSON.stringify(item ?? null));
    }
  }
  return {
    textOf: (token) => changes.reduce((text, change) => change(text), token),
    joiner: joined("", strip),
  };
}
