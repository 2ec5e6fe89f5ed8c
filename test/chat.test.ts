/** `deepseek-ts chat` in its own process, with pipes; the terminal is played in src/cli/chat-loop.test.ts. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { testTokenizerJson } from "../src/chat/testing.ts";
import { modelEntries } from "../src/checkpoint/entries.ts";
import { nodeFolderSink } from "../src/checkpoint/node-files.ts";
import { saveCheckpoint } from "../src/checkpoint/save.ts";
import { smallV3 } from "../src/engine/testing.ts";
import { toConfigJson } from "../src/models/config.ts";
import { createReferenceDevice } from "../src/tensor/reference/backend.ts";
import { trainedTokenizerConfig } from "../src/tokenizer/train-bpe.ts";
import { commandsIn } from "./command-process.ts";

const command = fileURLToPath(new URL("../src/cli/commands/chat.ts", import.meta.url));
const reporting = fileURLToPath(new URL("../src/cli/report-error.ts", import.meta.url));
const work = mkdtempSync(join(tmpdir(), "deepseek-ts-chat-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));

/** The command by itself, with errors reported as the program does. */
const program = `
import { chatCommand } from ${JSON.stringify(command)};
import { errorText } from ${JSON.stringify(reporting)};
try {
  await chatCommand().exitOverride().parseAsync(process.argv.slice(1), { from: "user" });
} catch (error) {
  process.exitCode = error.code?.startsWith("commander.") ? error.exitCode && 2 : 1;
  if (process.exitCode === 1) process.stderr.write(errorText(error, false) + "\\n");
}`;

const { start } = commandsIn(work, {}, ["--input-type=module", "-e", program, "--"]);
const chat = (args: readonly string[], input = "") => start(args, { input }).ended();

async function save(name: string, config: Record<string, unknown> = {}, files: Record<string, string> = {}) {
  const device = createReferenceDevice();
  const model = smallV3(device, { vocabulary: 460, maxPositions: 128, mtpLayers: 0 });
  await saveCheckpoint(await nodeFolderSink(join(work, name)), modelEntries(model), {
    config: toConfigJson(model.config),
    files: {
      "tokenizer.json": await testTokenizerJson("v3.1"),
      "tokenizer_config.json": JSON.stringify({ ...trainedTokenizerConfig(128), ...config }),
      ...files,
    },
  });
  model[Symbol.dispose]();
  await device[Symbol.asyncDispose]();
}

beforeAll(async () => {
  await save("tiny");
  await save(
    "own",
    { chat_template: "{{ bos_token }}{{ messages[-1].content }}{% if thinking %}<think>{% endif %}" },
    { "generation_config.json": JSON.stringify({ temperature: 0.9, top_p: 0.8 }) },
  );
});

const limits = ["--max-tokens", "12", "--threads", "1"];

describe.concurrent("chat", () => {
  it("answers --prompt or what is piped in, the same with the same seed", async () => {
    const sampled = [...limits, "--temperature", "1", "--seed", "4"];
    const first = await chat(["tiny", "--prompt", "Hello!", ...sampled]);
    expect({ code: first.code, err: first.err }).toEqual({ code: 0, err: "" });
    expect(first.out.length).toBeGreaterThan(0);
    expect(await chat(["tiny", ...sampled], "Hello!")).toEqual(first);
    expect((await chat(["tiny", "--system", "Be brief.", ...sampled], "Hello!")).out).not.toBe(first.out);
    expect((await chat(["tiny", "--template", "llm", ...sampled], "Hello!")).out).not.toBe(first.out);
  });

  it("writes one object with --json, and figures with --stats", async () => {
    const { code, out, err } = await chat(["tiny", "--json", "--stats", ...limits], "Hello!");
    expect(code).toBe(0);
    const result = JSON.parse(out);
    expect(result).toMatchObject({ calls: [], malformed: false });
    // BOS, the message, and two tokens around it with </think>.
    expect(result.stats.promptTokens).toBeGreaterThan(4);
    expect(err).toMatch(/^prompt: \d+ tokens \(0 cached\).*finish reason: (length|stop)\n$/);
  });

  it("keeps thought out of the output", async () => {
    const { code, out, err } = await chat(["tiny", "--thinking", ...limits], "Hello!");
    expect({ code, out }).toEqual({ code: 0, out: "" });
    expect(err.length).toBeGreaterThan(0);
  });

  it("takes the template and the advice that the model brings, or a file", async () => {
    const plain = await chat(["own", ...limits], "Hello!");
    const advised = ["--temperature", "0.9", "--top-p", "0.8"];
    expect(plain.code).toBe(0);
    writeFileSync(join(work, "t.jinja"), "{{ bos_token }}{{ messages[-1].content }}");
    const given = await chat(["tiny", "--template", "t.jinja", ...advised, ...limits], "Hello!");
    expect(given.out).toBe(plain.out);
  });

  it.each([
    [["tiny", "--prompt", " "], "the message is empty"],
    [["tiny", "--prompt", "x", "--template", "nowhere.jinja"], "nowhere.jinja"],
    [["tiny", "--prompt", "x", "--template", "v3", "--thinking"], "does not support switching reasoning"],
    [["tiny", "--prompt", "the weather ".repeat(100)], "Free at least"],
  ])("%# fails in one line", async (args, message) => {
    const { code, out, err } = await chat(args);
    expect({ code, out }).toEqual({ code: 1, out: "" });
    expect(err).toContain(message);
    expect(err.trimEnd().split("\n")).toHaveLength(1);
  });

  it("refuses --bos, which is the template's to say, and has help", async () => {
    const { code, err } = await chat(["tiny", "--bos"]);
    expect(code).toBe(2);
    expect(err).toContain("the chat template decides about BOS");
    const help = await chat(["--help"]);
    expect(help.code).toBe(0);
    expect(help.out).toContain("Examples:\n  deepseek-ts chat");
    expect(help.out).not.toContain("--bos");
    expect(help.out).toContain("as the model recommends, else 0");
  });
});
