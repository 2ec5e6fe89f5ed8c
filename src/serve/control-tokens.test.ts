/** Control tokens never come out as text, marked special or not: published tokenizers mark but a few of them. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { writeModelFolder } from "../engine/testing-folder.ts";
import { TOKEN } from "../tokenizer/families.ts";
import { type RunningServer, startServer } from "./server.ts";
import { post, user } from "./test-server.ts";

const folder = mkdtempSync(join(tmpdir(), "deepseek-ts-control-"));
let server: RunningServer;
beforeAll(async () => {
  await writeModelFolder(folder, { maxPositions: 512, thinking: true });
  const path = join(folder, "tokenizer.json");
  const tokenizer = JSON.parse(readFileSync(path, "utf8"));
  for (const token of tokenizer.added_tokens) token.special = false;
  writeFileSync(path, JSON.stringify(tokenizer));
  server = await startServer({ port: 0, servedName: "tiny", engine: { model: folder, threads: 1 } });
});
afterAll(async () => {
  await server?.close(0);
  rmSync(folder, { recursive: true, force: true });
});

const tools = [{ type: "function", function: { name: "f", parameters: { type: "object" } } }];
const flat = [{ type: "function", name: "f" }];

/** Asks for an answer that is hardly anything but `token`. */
async function ask(token: string, path: string, body: object) {
  const { tokens } = (await post(server, "/tokenize", { text: token, parse_special: true })).body;
  expect(tokens).toHaveLength(1);
  const limit = path.endsWith("responses") ? { max_output_tokens: 6 } : { max_tokens: 6 };
  const bias = { logit_bias: { [tokens[0]]: 100 }, ignore_eos: true };
  return post(server, path, { ...limit, ...bias, ...body });
}

it.each([TOKEN.toolSep, TOKEN.toolCallEnd, TOKEN.toolOutputsBegin, "<think>", "</think>"])(
  "%s",
  async (token) => {
    const chat = { messages: user("a"), thinking: { type: "disabled" } };
    const quiet = token === "<think>" ? {} : { content: "" };
    for (const more of [{}, { tools }]) {
      const { body } = await ask(token, "/v1/chat/completions", { ...chat, ...more });
      expect(body.choices[0].message).toMatchObject({ role: "assistant", ...quiet });
      expect(JSON.stringify(body)).not.toContain(token);
      expect(body.usage.completion_tokens).toBe(6);
    }
    const { body } = await ask(token, "/v1/responses", {
      input: "a",
      tools: flat,
      reasoning: { effort: "none" },
    });
    expect(JSON.stringify(body)).not.toContain(token);
    const raw = (await ask(token, "/v1/completions", { prompt: "the" })).body.choices[0].text;
    // Nothing but these tags says where reasoning ends in a raw text.
    expect(raw).toBe(token.includes("think") ? token.repeat(6) : "");
  },
);
