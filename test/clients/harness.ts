/** What the checks of clients share: servers over models that follow a script, and what is expected of an answer. */
import { strict as assert } from "node:assert";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type RunningServer, startServer } from "../../src/serve/server.ts";
import { type Script, writeScriptedModel } from "./scripted-model.ts";

export interface Check {
  /** Package that is tried. */
  readonly client: string;
  readonly protocol: "chat" | "responses";
  readonly what: string;
  readonly run: (serve: Serve) => Promise<void>;
}

/** Address of a server, without /v1, whose model follows the script. */
export type Serve = (script: Script) => Promise<string>;

export const MODEL = "tiny";
export const ANSWER = "The answer is 42.";
export const THOUGHT = "Let me think.";
export const AFTER_CALL = "It is 21 degrees.";

/** Thinks, if it may, and answers. */
export const saying: Script = { reasoning: ["Let me", " think."], answer: ["The answer", " is", " 42."] };

/** Writes JSON of itself: some clients describe the schema in words alone. */
export const writingJson: Script = { answer: ['{"ok": true,', ' "kind": "one"}'] };

/** Calls the function `weather`, and answers when it has its result. */
export const calling: Script = {
  call: { name: "weather", arguments: ['{"city":', ' "Rome"}'] },
  afterCall: ["It is", " 21 degrees."],
};

/** Servers for the checks, one for each script. */
export class Servers implements AsyncDisposable {
  readonly #running = new Map<string, RunningServer>();
  readonly #folders: string[] = [];
  /** What servers have logged: a defect of theirs. */
  readonly problems: string[] = [];

  serve: Serve = async (script) => {
    const key = JSON.stringify(script);
    let server = this.#running.get(key);
    if (server === undefined) {
      const folder = mkdtempSync(join(tmpdir(), "deepseek-ts-clients-"));
      this.#folders.push(folder);
      const texts = ["README.md", "docs/server.md", "docs/training.md"].map((file) =>
        readFileSync(join(import.meta.dirname, "../..", file), "utf8"),
      );
      await writeScriptedModel(folder, script, texts);
      server = await startServer({
        ...{ port: 0, servedName: MODEL, log: (line) => this.problems.push(line) },
        engine: { model: folder, threads: 2, cacheTokens: 131_072 },
      });
      this.#running.set(key, server);
    }
    return server.url;
  };

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.#running.values()) await server.close(1);
    for (const folder of this.#folders) rmSync(folder, { recursive: true, force: true });
  }
}

/** Checks counts of tokens, by whatever names a client gives them. */
export function checkUsage(input: number | undefined, output: number | undefined): void {
  assert.ok(input !== undefined && input > 0, `tokens of the input: ${input}`);
  assert.ok(output !== undefined && output > 0, `tokens of the output: ${output}`);
}

/** Fails unless `body` does, with an error that says `text`. */
export async function fails(body: () => Promise<unknown>, text: RegExp): Promise<void> {
  let said: string;
  try {
    await body();
    said = "nothing failed";
  } catch (error) {
    said = error instanceof Error ? `${error.message} ${JSON.stringify(error)}` : String(error);
  }
  assert.match(said, text);
}

export { assert };
