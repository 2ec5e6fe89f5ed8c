/** Tokenizers (tokenizers 0.23.2), templates (transformers 5.18), fences around arguments, and files filled in place. */
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { Message, Tool } from "../../src/chat/messages.ts";
import { chatTemplate } from "../../src/chat/template.ts";
import { ToolCallCollector, ToolCallParser } from "../../src/chat/tool-calls.ts";
import { parsePlain } from "../../src/json/index.ts";
import { loadTokenizer } from "../../src/tokenizer/tokenizer.ts";
import { faults, tinyModel } from "./request-cases.ts";

const cases = (name: string) => JSON.parse(readFileSync(join(faults, `${name}.json`), "utf8"));
const tokenizerOf = (path: string) => loadTokenizer(readFileSync(path, "utf8"));
const tiny = tokenizerOf(join(tinyModel, "tokenizer.json"));
const thinking = tokenizerOf(join(faults, "tokenizer-thinking.json"));

interface TokenizerCase {
  readonly title: string;
  readonly file: string;
  readonly texts: readonly string[];
  readonly ids: readonly (readonly number[])[];
}

describe("tokenizers", () => {
  it.each(cases("tokenizers") as TokenizerCase[])("$title: $file", ({ file, texts, ids }) => {
    const tokenizer = tokenizerOf(join(faults, "tokenizers", file));
    expect(texts.map((text) => tokenizer.encode(text))).toEqual(ids);
  });

  it("read long runs of one character, whatever their length", () => {
    for (const { repeat, times, end, count } of cases("long-runs")) {
      const ids = tiny.encode(repeat.repeat(times) + end, { addSpecialTokens: false });
      expect(ids.length, JSON.stringify(repeat)).toBe(count);
    }
  });
});

interface TemplateCase {
  readonly title: string;
  readonly asPrompt: boolean;
  readonly renders: readonly {
    readonly template: string;
    /** JSON as it stands on the wire: digits and the order of keys count. */
    readonly bodyText: string;
    readonly expected: string;
  }[];
}

describe("templates", () => {
  it.each(cases("templates") as TemplateCase[])("$title", ({ asPrompt, renders }) => {
    const found = renders.map(({ template, bodyText }) => {
      const { messages, tools } = parsePlain(bodyText, [["tools"]]) as {
        messages: Message[];
        tools?: Tool[];
      };
      const made = chatTemplate(asPrompt ? thinking : tiny, template);
      return asPrompt ? made.prompt(messages).text : made.render(messages, tools ? { tools } : {});
    });
    expect(found).toEqual(renders.map(({ expected }) => expected));
  });
});

it("the fence around arguments never becomes part of them", () => {
  const { text, sizes, expected } = cases("fences");
  for (const size of sizes) {
    const [parser, collector] = [new ToolCallParser(), new ToolCallCollector()];
    for (let i = 0; i < text.length; i += size) {
      for (const part of parser.push(text.slice(i, i + size))) collector.add(part);
    }
    for (const part of parser.end()) collector.add(part);
    expect(
      collector.result.calls.map((call) => call.function),
      `pieces of ${size}`,
    ).toEqual(expected);
  }
});

interface FileCase {
  readonly title: string;
  readonly runs: readonly {
    readonly name: string;
    readonly base64: string;
    readonly at: string;
    readonly expected: "kept" | "refused or kept";
  }[];
}

/** Whether `out` is `bytes` with something put in at one place. */
function keeps(out: Buffer, bytes: Buffer): boolean {
  let head = 0;
  while (head < bytes.length && out[head] === bytes[head]) head++;
  let tail = 0;
  while (tail < bytes.length && out[out.length - 1 - tail] === bytes[bytes.length - 1 - tail]) tail++;
  return bytes.length === 0 || head + tail >= bytes.length;
}

describe("files that are filled in place", () => {
  const main = join(import.meta.dirname, "../../src/cli/main.ts");
  const work = mkdtempSync(join(tmpdir(), "deepseek-ts-fill-"));
  afterAll(() => rmSync(work, { recursive: true, force: true }));

  it.each(cases("files") as FileCase[])("$title", async ({ runs }) => {
    for (const { name, base64, at, expected } of runs) {
      const bytes = Buffer.from(base64, "base64");
      const file = join(work, name);
      writeFileSync(file, bytes);
      const args = [main, "fill", tinyModel, "--file", file, "--at", at, "--whole", "--max-tokens", "2"];
      const { code, out } = await new Promise<{ code: unknown; out: Buffer }>((resolve) =>
        execFile(process.execPath, [...args, "--threads", "1"], { encoding: "buffer" }, (error, stdout) =>
          resolve({ code: error?.code ?? 0, out: stdout }),
        ),
      );
      if (expected === "kept") expect(code, name).toBe(0);
      if (code === 0) expect(keeps(out, bytes), `${name}: the bytes around the filling`).toBe(true);
    }
  });
});
