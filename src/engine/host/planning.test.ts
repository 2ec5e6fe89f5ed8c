/** Requests beside each other in one host: what is planned or scored for one must not hold up the others. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { load } from "../../pretrained/node-load.ts";
import { createCpuDevice } from "../../tensor/cpu/backend.ts";
import { PromptScores } from "../prompt-scores.ts";
import { writeModelFolder } from "../testing-folder.ts";
import type { EngineChannel } from "./engine-client.ts";
import { localChannel } from "./local-channel.ts";
import type {
  CompletionRequest,
  Delta,
  FromEngine,
  GenerationRequest,
  HostSettings,
  ToEngine,
} from "./protocol.ts";

const folder = mkdtempSync(join(tmpdir(), "deepseek-ts-host-"));
beforeAll(() => writeModelFolder(folder, { maxPositions: 4096 }));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A host and all that it says, in order. */
class Host {
  readonly said: FromEngine[] = [];
  readonly #channel: EngineChannel;
  #wake: () => void = () => {};

  constructor(settings: HostSettings = {}) {
    this.#channel = localChannel(settings, async () => {
      const device = await createCpuDevice({ threads: 1 });
      const loaded = await load(folder, { device });
      const dispose = async () => {
        await loaded.dispose();
        await device[Symbol.asyncDispose]();
      };
      return { ...loaded, dispose, [Symbol.asyncDispose]: dispose };
    });
    this.#channel.listen(
      (message) => {
        this.said.push(message);
        this.#wake();
      },
      () => {},
    );
  }

  post(message: ToEngine): void {
    this.#channel.post(message);
  }

  submit(id: number, request: GenerationRequest): void {
    this.post({ type: "submit", id, request, received: Date.now() });
  }

  /** The first message that fits, which may still be to come, and its place. */
  async found(fits: (message: FromEngine) => boolean): Promise<{ at: number; message: FromEngine }> {
    for (;;) {
      const at = this.said.findIndex(fits);
      if (at >= 0) return { at, message: this.said[at] };
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** What answers a request, of whatever kind. */
  answer(id: number) {
    return this.found(
      (message) => /^(answer|refused|accepted)$/.test(message.type) && "id" in message && message.id === id,
    );
  }

  /** News of a job between two places. */
  deltas(id: number, from = 0, to = this.said.length): Delta[] {
    return this.said
      .slice(from, to)
      .flatMap((message) => (message.type === "deltas" ? message.deltas : []))
      .filter((delta) => delta.id === id);
  }

  async figures(id: number) {
    this.post({ type: "metrics", id });
    const { message } = await this.answer(id);
    return (message as { value: { waiting: number; running: number } }).value;
  }

  async close(): Promise<void> {
    this.post({ type: "shutdown" });
    await this.found(({ type }) => type === "stopped");
  }
}

const hosts: Host[] = [];
async function open(settings?: HostSettings): Promise<Host> {
  const host = new Host(settings);
  hosts.push(host);
  await host.found(({ type }) => type === "ready");
  return host;
}
afterEach(async () => {
  vi.restoreAllMocks();
  for (const host of hosts.splice(0)) await host.close();
});

const completion = (
  prompts: CompletionRequest["prompts"],
  more: Partial<CompletionRequest> = {},
): CompletionRequest => ({
  kind: "completion",
  prompts,
  suffix: null,
  addSpecialTokens: true,
  format: { type: "text" },
  ...{ maxTokens: 1, temperature: 0, topP: 1, topK: 0, minP: 0, repetitionPenalty: 1, presencePenalty: 0 },
  ...{ frequencyPenalty: 0, logitBias: [], seed: 1, stop: [], logprobs: null, n: 1, ignoreEos: true },
  ...{ minTokens: 0, stopIds: [], includeStop: false, skipSpecial: true, reusePrefix: true, echo: false },
  ...more,
});

const LONG = "the of and, to 12 in is! ".repeat(28_000);
const chatJob = (content: string): GenerationRequest => {
  const { prompts: _, suffix, addSpecialTokens, ...sampling } = completion([]);
  return {
    ...sampling,
    kind: "chat",
    messages: [{ role: "user", content }],
    ...{
      tools: [],
      toolChoice: "none",
      parallelToolCalls: true,
      thinking: null,
      templateVariables: new Map(),
    },
    ...{ continueFinal: false, addGenerationPrompt: true },
  };
};

describe("while a text of 700 kB is planned", () => {
  it.each([
    ["a prompt", (host: Host) => host.submit(2, completion([LONG]))],
    ["a message", (host: Host) => host.submit(2, chatJob(LONG))],
    [
      "a text to tokenize",
      (host: Host) =>
        host.post({
          type: "tokenize",
          id: 2,
          request: { text: LONG, addSpecialTokens: true, parseSpecial: false },
        }),
    ],
  ])("as %s, streams go on and short requests are served", async (_, ask) => {
    const host = await open();
    host.submit(1, completion(["the of"], { maxTokens: 4000 }));
    await host.found(({ type }) => type === "deltas");
    const from = host.said.length;
    ask(host);
    host.post({
      type: "tokenize",
      id: 3,
      request: { text: "a", addSpecialTokens: false, parseSpecial: false },
    });
    const { at: short } = await host.answer(3);
    const { at: to, message } = await host.answer(2);
    expect(short).toBeLessThan(to);
    expect(host.deltas(1, from, to).length).toBeGreaterThan(5);
    if (message.type === "answer") expect((message.value as number[]).length).toBeGreaterThan(100_000);
    else expect(message).toMatchObject({ error: { code: "context_length_exceeded" } });
  });

  it("canceling frees at once: nothing is answered, nothing waits", async () => {
    const host = await open();
    host.submit(1, completion([LONG]));
    host.post({
      type: "tokenize",
      id: 2,
      request: { text: LONG, addSpecialTokens: true, parseSpecial: false },
    });
    expect((await host.figures(3)).waiting).toBe(2);
    host.post({ type: "cancel", id: 1 });
    host.post({ type: "cancel", id: 2 });
    expect((await host.figures(4)).waiting).toBe(0);
    await new Promise((resolve) => setTimeout(resolve, 20));
    const told = host.said.filter((message) => "id" in message && message.id < 3);
    expect(told.map(({ type }) => type)).toEqual(["canceled", "canceled"]);
  });

  it("no more of them are begun than could run and wait", async () => {
    const host = await open({ maxBatch: 1, maxQueue: 1 });
    for (const id of [1, 2, 3]) host.submit(id, completion([LONG]));
    const { message } = await host.answer(3);
    expect(message).toMatchObject({ type: "refused", error: { kind: "busy", code: "queue_full" } });
    host.post({ type: "cancel", id: 1 });
    host.submit(4, completion(["a"]));
    expect((await host.answer(4)).message.type).toBe("accepted");
  });
});

it("goes on with streams while half a million ids are decoded, to the text that they are", async () => {
  const host = await open();
  const ids = (text: string, id: number) => {
    host.post({ type: "tokenize", id, request: { text, addSpecialTokens: false, parseSpecial: false } });
    return host.answer(id).then(({ message }) => (message as { value: number[] }).value);
  };
  const text = "the of, Grüße 你好! ";
  const some = await ids(text, 1);
  const times = Math.ceil(500_000 / some.length);
  host.submit(2, completion(["the of"], { maxTokens: 4000 }));
  await host.found(({ type }) => type === "deltas");
  const from = host.said.length;
  host.post({ type: "detokenize", id: 3, tokens: Array(times).fill(some).flat() });
  const { at: to, message } = await host.answer(3);
  expect((message as { value: string }).value).toBe(text.repeat(times));
  expect(host.deltas(2, from, to).length).toBeGreaterThan(5);
  host.post({ type: "detokenize", id: 4, tokens: [some[0], 1e6] });
  expect((await host.answer(4)).message).toMatchObject({ error: { kind: "invalid", param: "tokens" } });
});

it("goes on with streams while a large schema is compiled, which can be given up", async () => {
  const host = await open();
  host.submit(1, completion(["the of"], { maxTokens: 4000 }));
  await host.found(({ type }) => type === "deltas");
  const from = host.said.length;
  const schema = (length: number): CompletionRequest["format"] => ({
    type: "json_schema",
    name: "a",
    schema: new Map([["pattern", `^(a|b)*a(a|b){${length}}$`]]),
  });
  host.submit(2, completion(["a"], { format: schema(12) }));
  host.submit(3, completion(["a"], { format: schema(13) }));
  host.post({
    type: "tokenize",
    id: 4,
    request: { text: "a", addSpecialTokens: false, parseSpecial: false },
  });
  const { at: short } = await host.answer(4);
  host.post({ type: "cancel", id: 3 });
  const { at: to, message } = await host.answer(2);
  expect(message.type).toBe("accepted");
  expect(short).toBeLessThan(to);
  expect(host.deltas(1, from, to).length).toBeGreaterThan(5);
  const told = host.said.filter((other) => "id" in other && other.id === 3);
  expect(told.map(({ type }) => type)).toEqual(["canceled"]);
});

it("scores a prompt once, whatever the number of choices", async () => {
  const add = vi.spyOn(PromptScores.prototype, "add");
  const host = await open();
  const scored = { echo: true, logprobs: 1, temperature: 1, maxTokens: 3 };
  host.submit(1, completion(["the of and"], { ...scored, n: 4 }));
  for (const choice of [0, 1, 2, 3]) {
    await host.found(
      (message) => message.type === "finished" && message.id === 1 && message.choice === choice,
    );
  }
  expect(add).toHaveBeenCalledTimes(1);
  host.submit(2, completion(["the of and"], scored));
  await host.found((message) => message.type === "finished" && message.id === 2);
  const [alone] = host.deltas(2);
  const ids = ({ logprobs }: Delta) => logprobs!.map(({ id }) => id);
  expect(ids(alone).length).toBeGreaterThan(2);
  const [shared] = host.deltas(1);
  expect(ids(shared)).toEqual(ids(alone));
  // Batches of other sizes round otherwise.
  shared.logprobs!.forEach(({ logprob }, i) => {
    expect(logprob).toBeCloseTo(alone.logprobs![i].logprob, 4);
  });
  for (const choice of [0, 1, 2, 3]) {
    const [first, ...rest] = host.deltas(1).filter((delta) => delta.choice === choice);
    expect(first).toEqual({ ...shared, choice });
    expect(rest.flatMap(({ logprobs = [] }) => logprobs)).toHaveLength(3);
  }
});

it.each([
  ["no prompt", [], 2, "prompt"],
  ["no choice", ["a"], 0, "n"],
  ["fewer choices than none", ["a"], -1, "n"],
  ["half a choice", ["a"], 1.5, "n"],
] as const)("refuses a request of %s, which would never end", async (_, prompts, n, param) => {
  const host = await open();
  host.submit(1, completion(prompts, { n }));
  expect((await host.answer(1)).message).toMatchObject({
    type: "refused",
    error: { kind: "invalid", param },
  });
});

it("refuses more choices than can ever be there at once, by the limit", async () => {
  const host = await open({ maxBatch: 2, maxQueue: 3 });
  host.submit(1, completion(["a"], { n: 6 }));
  host.submit(2, completion(["a", "b", "c"], { n: 2 }));
  host.submit(3, completion(["a"], { n: 5 }));
  expect((await host.answer(1)).message).toMatchObject({
    error: {
      kind: "invalid",
      param: "n",
      message: expect.stringMatching(/^6 choices .* at most 5: 2 that run and 3/),
    },
  });
  expect((await host.answer(2)).message).toMatchObject({ error: { kind: "invalid", param: "prompt" } });
  expect((await host.answer(3)).message).toMatchObject({ type: "accepted", choices: 5 });
});
