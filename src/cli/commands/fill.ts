/** `deepseek-ts fill`: writes what belongs between two texts, or at a place in a file. */
import { Command, InvalidArgumentError } from "commander";
import { readTextFile } from "../../files/text-file.ts";
import { withoutMark } from "../../files/utf8.ts";
import { ConfigError } from "../../tensor/errors.ts";
import { fimPrompt } from "../../tokenizer/fim.ts";
import type { Tokenizer } from "../../tokenizer/tokenizer.ts";
import { flowing } from "../help.ts";
import { type GenerationFlags, textOptions, withGeneration, writeOut } from "./generation.ts";
import { MODEL_ARGUMENT, openModel } from "./open-model.ts";
import { openDevice, usageError } from "./options.ts";

interface Place {
  readonly line: number;
  readonly column: number;
}

interface FillFlags extends GenerationFlags {
  readonly prefix?: string;
  readonly suffix?: string;
  readonly file?: string;
  readonly at?: Place;
  readonly whole?: boolean;
}

const examples = `
Examples:
  deepseek-ts fill runs/demo-1 --prefix "interface Point { x: " --suffix "; y: number; }" --whole
  deepseek-ts fill runs/demo-1 --prefix @before.txt --suffix @after.txt --temperature 0.4 --seed 3
  deepseek-ts fill runs/demo-1 --file src/server.ts --at 12:5 --max-tokens 60`;

function place(text: string): Place {
  const match = /^(\d+):(\d+)$/.exec(text);
  const [line, column] = [Number(match?.[1]), Number(match?.[2])];
  if (!(line >= 1 && column >= 1)) throw new InvalidArgumentError("Expected LINE:COLUMN, both from 1.");
  return { line, column };
}

async function textOrFile(value: string): Promise<string> {
  return value.startsWith("@") ? readTextFile(value.slice(1)) : value;
}

const graphemes = new Intl.Segmenter(undefined, { granularity: "grapheme" });

/**
 * Cuts a text at a place, as editors count: columns are UTF-16 units from 1, a byte-order mark is none of them, and a
 * line ends before its `\r\n` or `\n`. @throws ConfigError outside the text, and inside of what is read as one character
 */
export function cutAt(
  text: string,
  { line, column }: Place,
  name: string,
): { prefix: string; suffix: string } {
  let start = text.length - withoutMark(text).length;
  for (let n = 1; n < line; n++) {
    const end = text.indexOf("\n", start);
    if (end < 0) {
      throw new ConfigError("the file has fewer lines", { where: name, expected: `1 to ${n}`, found: line });
    }
    start = end + 1;
  }
  const feed = text.indexOf("\n", start);
  const end = feed < 0 ? text.length : feed > start && text[feed - 1] === "\r" ? feed - 1 : feed;
  if (column > end - start + 1) {
    throw new ConfigError("the line is shorter", {
      where: `${name}:${line}`,
      expected: `a column of 1 to ${end - start + 1}`,
      found: column,
    });
  }
  const at = start + column - 1;
  const character = at < end ? graphemes.segment(text.slice(start, end)).containing(column - 1) : undefined;
  if (character !== undefined && character.index !== column - 1) {
    throw new ConfigError("the column is inside a character", {
      where: `${name}:${line}`,
      expected: `column ${character.index + 1} before "${character.segment}" or ${character.index + character.segment.length + 1} after it`,
      found: column,
    });
  }
  return { prefix: text.slice(0, at), suffix: text.slice(at) };
}

/** Keeps what is nearest to the hole if both do not fit `budget` tokens; the suffix gets at most a quarter. */
export function fitTexts(
  tokenizer: Tokenizer,
  { prefix, suffix }: { prefix: string; suffix: string },
  budget: number,
): { prefix: string; suffix: string } {
  const plain = { addSpecialTokens: false, parseSpecial: false };
  const [before, after] = [tokenizer.encode(prefix, plain), tokenizer.encode(suffix, plain)];
  if (before.length + after.length <= budget) return { prefix, suffix };
  const behind = Math.min(after.length, Math.max(Math.floor(budget / 4), budget - before.length));
  const ahead = Math.max(0, budget - behind);
  // Whole lines, if there is one: a token may be part of a character.
  const kept = tokenizer.decode(before.slice(Math.max(0, before.length - ahead)));
  const line = kept.indexOf("\n");
  return {
    prefix: before.length <= ahead ? prefix : line < 0 ? kept.replace(/^\uFFFD+/, "") : kept.slice(line + 1),
    suffix: tokenizer.decode(after.slice(0, behind)).replace(/\uFFFD+$/, ""),
  };
}

export function fillCommand(): Command {
  const command = new Command("fill")
    .summary("fill in the middle between two texts")
    .description(
      "Generates the text between a prefix and a suffix. Requires a tokenizer with the fill-in-the-middle tokens of " +
        "DeepSeek-Coder, Coder-V2, V3 or a training run of this package.",
    )
    .argument("<model>", MODEL_ARGUMENT)
    .option("--prefix <text>", "text before the gap; @FILE reads it from a file")
    .option("--suffix <text>", "text after the gap; @FILE reads it from a file")
    .option("--file <file>", "fill at a position in this file instead")
    .option("--at <line:column>", "position in --file, counted from 1; columns as in editors", place)
    .option("--whole", "also print the prefix and suffix");
  return withGeneration(command)
    .addHelpText("after", flowing(examples))
    .action(async (path: string, flags: FillFlags) => {
      const { prefix, suffix, file, at, whole } = flags;
      const byFile = file !== undefined || at !== undefined;
      const byText = prefix !== undefined || suffix !== undefined;
      if (byFile === byText) usageError(command, "pass --prefix and --suffix, or --file and --at");
      if (byFile && (file === undefined || at === undefined))
        usageError(command, "--file and --at must be used together");
      const given = byFile
        ? cutAt(await readTextFile(file!), at!, file!)
        : { prefix: await textOrFile(prefix ?? ""), suffix: await textOrFile(suffix ?? "") };
      await using device = await openDevice(flags);
      const { model, tokenizer } = await openModel(path, device, flags);
      using _model = model;
      // Files are often longer than the context; texts given whole are taken whole or refused.
      const room = model.config.maxPositions - (flags.maxTokens ?? 200) - 8;
      const read = { prefix: withoutMark(given.prefix), suffix: withoutMark(given.suffix) };
      const used = byFile ? fitTexts(tokenizer, read, Math.max(0, room)) : read;
      const length = fimPrompt(tokenizer, used.prefix, used.suffix).length + 1;
      const options = textOptions(flags, model, length);
      await writeOut(
        model,
        tokenizer,
        { ...used, options },
        flags,
        whole ? given.prefix : "",
        whole ? given.suffix : "",
      );
    });
}
