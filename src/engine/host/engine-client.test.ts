import { describe, expect, it, vi } from "vitest";
import { JobCanceledError } from "../../jobs/errors.ts";
import { type EngineChannel, EngineClient } from "./engine-client.ts";
import type { GenerationNews } from "./generation-job.ts";
import type { ChoiceUsage, FromEngine, GenerationRequest, ModelInfo, ToEngine } from "./protocol.ts";

const usage: ChoiceUsage = {
  ...{ promptTokens: 1, cachedTokens: 0, imageTokens: 0 },
  ...{ completionTokens: 1, reasoningTokens: 0 },
};
const request = (prompts = 1) =>
  ({ kind: "completion", n: 1, prompts: new Array(prompts).fill("a") }) as unknown as GenerationRequest;
const refusal = { kind: "busy", message: "busy", param: null, code: "queue_full" } as const;

/** A client with the engine's side in the test's hands. */
async function connected() {
  const sent: ToEngine[] = [];
  let say: (message: FromEngine) => void = () => {};
  let end: (reason: string) => void = () => {};
  const channel: EngineChannel = {
    post: (message) => sent.push(message),
    listen: (onMessage, onEnd) => {
      [say, end] = [onMessage, onEnd];
    },
    terminate: async () => end("terminated"),
  };
  const connecting = EngineClient.connect(channel);
  say({ type: "ready", info: { name: "m" } as ModelInfo });
  const client = await connecting;
  return { client, sent, say, end };
}

const finished = (id: number, choice: number): FromEngine => ({
  type: "finished",
  id,
  choice,
  reason: "stop",
  usage,
});

/** Lets what was said so far be passed on. */
const turn = () => new Promise((resolve) => setTimeout(resolve, 0));

async function read(stream: AsyncIterable<GenerationNews>): Promise<string[]> {
  const seen: string[] = [];
  for await (const event of stream) {
    seen.push(event.type === "delta" ? (event.delta.content ?? "") : `end ${event.choice}`);
  }
  return seen;
}

it("gives each job its own news in order, up to the end of its last choice", async () => {
  const { client, say } = await connected();
  const jobs = [await client.generate(request(2)), await client.generate(request())];
  const reads = jobs.map(read);
  await turn();
  say({ type: "accepted", id: 1, choices: 2 });
  say({ type: "accepted", id: 2, choices: 1 });
  await Promise.all(jobs.map((job) => job.accepted()));
  expect(client.active).toBe(2);
  say({
    type: "deltas",
    deltas: [
      { id: 1, choice: 0, content: "a" },
      { id: 2, choice: 0, content: "x" },
      { id: 1, choice: 1, content: "b" },
    ],
  });
  say(finished(1, 1));
  say({ type: "deltas", deltas: [{ id: 1, choice: 0, content: "c" }] });
  say(finished(1, 0));
  say(finished(2, 0));
  expect(await Promise.all(reads)).toEqual([
    ["a", "b", "end 1", "c", "end 0"],
    ["x", "end 0"],
  ]);
  expect(client.active).toBe(0);
  expect((await jobs[0].job.result()).map(({ choice }) => choice)).toEqual([0, 1]);
  // What a step gave all choices is one event.
  expect(jobs[0].job.info()).toMatchObject({ lastEvent: 5, state: "done" });
});

describe("a generation", () => {
  it("survives its readers, and is read again from any number", async () => {
    const { client, say, sent } = await connected();
    const job = await client.generate(request(), { id: "answer-1" });
    await turn();
    say({ type: "accepted", id: 1, choices: 1 });
    const tell = (content: string) => say({ type: "deltas", deltas: [{ id: 1, choice: 0, content }] });
    tell("a");
    for await (const news of job) {
      expect(news).toMatchObject({ delta: { content: "a" } });
      break;
    }
    const left = new AbortController();
    const leaving = read(job.news(2, left.signal));
    tell("b");
    await turn();
    left.abort();
    expect(await leaving).toEqual(["b"]);
    tell("c");
    say(finished(1, 0));
    await job.job.result();
    expect(sent.map(({ type }) => type)).toEqual(["submit"]);
    const again = (await client.generation("answer-1"))!;
    expect(await read(again)).toEqual(["a", "b", "c", "end 0"]);
    expect(await read(again.news(3))).toEqual(["c", "end 0"]);
    // Asked for twice, it is done once.
    expect(await client.generate(request(), { id: "answer-1" })).toBe(job);
    expect(await client.generation("answer-2")).toBeNull();
  });

  it("ends where it is canceled, once the host has freed its place", async () => {
    const { client, sent, say } = await connected();
    const early = await client.generate(request());
    const late = await client.generate(request());
    const canceled = early.cancel("no longer wanted");
    await turn();
    say({ type: "accepted", id: 2, choices: 1 });
    await late.accepted();
    const reading = read(late);
    let over = false;
    const second = Promise.all([late.cancel(), late.cancel()]).then(() => {
      over = true;
    });
    await turn();
    expect(over).toBe(false);
    const cancels = sent.filter(({ type }) => type === "cancel");
    expect(cancels).toEqual([1, 2].map((id) => ({ type: "cancel", id })));
    say({ type: "accepted", id: 1, choices: 1 });
    say({ type: "canceled", id: 1 });
    say({ type: "canceled", id: 2 });
    await Promise.all([canceled, second]);
    await expect(reading).rejects.toBeInstanceOf(JobCanceledError);
    await expect(early.job.result()).rejects.toThrow(/no longer wanted/);
    expect([early.job.info().state, late.job.info().state, client.active]).toEqual([
      "canceled",
      "canceled",
      0,
    ]);
  });

  it("tells a reader that was too slow that events are gone", async () => {
    const { client, say } = await connected();
    const job = await client.generate(request());
    await turn();
    say({ type: "accepted", id: 1, choices: 1 });
    const slow = job.news();
    const long = "x".repeat(2 ** 23);
    for (let i = 0; i < 4; i++) say({ type: "deltas", deltas: [{ id: 1, choice: 0, content: long }] });
    await expect(slow.next()).rejects.toMatchObject({ fault: { kind: "failed", code: "events_dropped" } });
  });
});

it("gives up what is tokenized for a client that leaves, and asks nothing for one that has left", async () => {
  const { client, sent } = await connected();
  const leaving = new AbortController();
  const text = { text: "a", addSpecialTokens: true, parseSpecial: false };
  const asked = client.tokenize(text, leaving.signal);
  leaving.abort(new Error("gone"));
  await expect(asked).rejects.toThrow("gone");
  await expect(client.tokenize(text, leaving.signal)).rejects.toThrow("gone");
  expect(sent).toEqual([
    { type: "tokenize", id: 1, request: text },
    { type: "cancel", id: 1 },
  ]);
});

it("passes on why a request was refused, at first or on its way", async () => {
  const { client, say } = await connected();
  const first = await client.generate(request());
  await turn();
  say({ type: "refused", id: 1, error: refusal });
  await expect(first.accepted()).rejects.toMatchObject({ fault: refusal });
  const second = await client.generate(request());
  await turn();
  say({ type: "accepted", id: 2, choices: 1 });
  await second.accepted();
  const reading = read(second);
  say({ type: "refused", id: 2, error: refusal });
  await expect(reading).rejects.toMatchObject({ fault: { code: "queue_full" } });
});

it("ends everything where the engine ends, and tells once", async () => {
  const { client, say, end } = await connected();
  const told = vi.fn();
  client.onFailure(told);
  const taken = await client.generate(request());
  await turn();
  say({ type: "accepted", id: 1, choices: 1 });
  const reading = read(taken);
  const asked = client.tokenize({ text: "a", addSpecialTokens: true, parseSpecial: false });
  const untold = await client.generate(request());
  say({ type: "failed", message: "no memory", foreseen: false });
  end("its thread ended");
  for (const lost of [reading, asked, untold.accepted()]) {
    await expect(lost).rejects.toMatchObject({ fault: { kind: "unavailable", code: "engine_failed" } });
  }
  await expect(client.generate(request())).rejects.toThrow(/no memory/);
  expect(told.mock.calls).toEqual([["no memory"]]);
  expect(client.active).toBe(0);
  await client.shutdown();
});

it("ends what runs where it is shut down, and takes nothing more", async () => {
  const { client, say, sent } = await connected();
  const job = await client.generate(request());
  await turn();
  say({ type: "accepted", id: 1, choices: 1 });
  const reading = read(job);
  const closing = client.shutdown();
  await expect(reading).rejects.toMatchObject({ fault: { code: "shutting_down" } });
  await expect(client.generate(request())).rejects.toMatchObject({ fault: { code: "shutting_down" } });
  expect(sent.at(-1)).toEqual({ type: "shutdown" });
  say({ type: "stopped" });
  await closing;
});

it("says the last known figures where a step takes long", async () => {
  const { client, say } = await connected();
  vi.useFakeTimers();
  try {
    const fresh = client.figures();
    say({ type: "answer", id: 1, value: { running: 3 } });
    expect(await fresh).toEqual({ running: 3 });
    const late = client.figures();
    await vi.advanceTimersByTimeAsync(1500);
    expect(await late).toEqual({ running: 3 });
  } finally {
    vi.useRealTimers();
  }
});
