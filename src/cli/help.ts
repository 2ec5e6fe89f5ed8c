/**
 * Help laid out for the width of the terminal. Its source consists of paragraphs, headings that end in a colon, and
 * indented rows: a command and, after two or more spaces, what it does.
 */
import type { Option } from "commander";

/** Wider lines are hard to read. */
const WIDEST = 110;
const NARROWEST = 40;

/** Columns of help on `stream`: those of the terminal, else of COLUMNS, else 80. */
export function helpWidth(stream: { readonly columns?: number }): number {
  const asked = Number(process.env.COLUMNS);
  const columns = stream.columns ?? (Number.isInteger(asked) && asked > 0 ? asked : 80);
  return Math.max(NARROWEST, Math.min(WIDEST, columns));
}

/** `text` in lines of at most `width`, the first after `first` and the others after `rest`. */
function wrapped(text: string, width: number, first = "", rest = first): string[] {
  const lines: string[] = [];
  let line = first;
  let empty = true;
  for (const word of text.split(/\s+/).filter((word) => word !== "")) {
    if (!empty && line.length + 1 + word.length > width) {
      lines.push(line);
      line = rest;
      empty = true;
    }
    line += empty ? word : ` ${word}`;
    empty = false;
  }
  return [...lines, line];
}

/** A command line in lines of at most `width`, cut between its words with a backslash, as a shell reads it. */
function commandLines(command: string, width: number): string[] {
  // What is quoted stays whole, and so does an option with its value.
  const words = command.match(/(?:--?[\w-]+\s+(?=[^-|>\s]))?(?:"[^"]*"|'[^']*'|[^\s"'])+/g) ?? [];
  const lines: string[] = [];
  let line = "  ";
  for (const [i, word] of words.entries()) {
    const last = i === words.length - 1;
    if (line.trim() !== "" && line.length + 1 + word.length + (last ? 0 : 2) > width) {
      lines.push(`${line} \\`);
      line = "      ";
    }
    line += line.trim() === "" ? word : ` ${word}`;
  }
  return [...lines, line];
}

/** A block of rows "  command   what it does": side by side if all of it fits, else one under the other. */
function rows(block: readonly string[], width: number): string[] {
  const parts = block.map((row) => {
    const [, left, right = ""] = /^ {2}(.*?)(?: {2,}(.*))?$/.exec(row)!;
    return { left, right };
  });
  const widest = Math.max(...parts.map(({ left, right }) => (right === "" ? 0 : left.length)));
  const column = widest + 5;
  const beside = parts.every(({ right }) => right === "" || column + Math.min(right.length, 40) <= width);
  return parts.flatMap(({ left, right }) => {
    if (right === "") return commandLines(left, width);
    if (beside) return wrapped(right, width, `  ${left.padEnd(widest)}   `, " ".repeat(column));
    return [...commandLines(left, width), ...wrapped(right, width, "      ")];
  });
}

/** Lays out a text for lines of `width`. */
export function laidOut(text: string, width: number): string {
  const out: string[] = [];
  let block: string[] = [];
  const flush = () => {
    if (block.length === 0) return;
    if (block[0].startsWith("  ")) out.push(...rows(block, width));
    else out.push(...wrapped(block.join(" "), width));
    block = [];
  };
  for (const line of text.split("\n")) {
    const heading = /^[A-Z][\w ]*:$/.test(line);
    if (
      line.trim() === "" ||
      heading ||
      (block.length > 0 && block[0].startsWith("  ") !== line.startsWith("  "))
    )
      flush();
    if (line.trim() === "" || heading) out.push(line.trim());
    else block.push(line);
  }
  flush();
  return out.join("\n");
}

/** The description of an option with its choices and, unless it is empty, its default. */
export function optionText(option: Option): string {
  const { description, argChoices, defaultValue, defaultValueDescription } = option;
  const notes = argChoices === undefined ? [] : [`choices: ${argChoices.join(", ")}`];
  const empty = defaultValue === undefined || (Array.isArray(defaultValue) && defaultValue.length === 0);
  const shown = defaultValueDescription ?? (empty || option.isBoolean() ? undefined : String(defaultValue));
  if (shown !== undefined) notes.push(`default: ${shown}`);
  return notes.length === 0 ? description : `${description} (${notes.join("; ")})`;
}

/** For commander's `addHelpText`: the text laid out for where it goes. */
export function flowing(text: string): (context: { readonly error: boolean }) => string {
  return ({ error }) => laidOut(text, helpWidth(error ? process.stderr : process.stdout));
}
