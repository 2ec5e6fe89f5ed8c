import { describe, expect, it, vi } from "vitest";
import { type EngineChannel, EngineClient, type JobEvent } from "./engine-client.ts";
import type { ChoiceUsage, FromEngine, Job, ModelInfo, ToEngine } from "./protocol.ts";

const usage: ChoiceUsage = { promptTokens: 1, cachedTokens: 0, completionTokens: 1, reasoningTokens: 0 };
const job = { kind: "completion" } as Job;
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

async function read(stream: AsyncIterable<JobEvent>): Promise<string[]> {
  const seen: string[] = [];
  for await (const event of stream) {
    seen.push(event.type === "delta" ? (event.delta.content ?? "") : `end ${event.choice}`);
  }
  return seen;
}

it("gives each job its own news in order, up to the end of its last choice", async () => {
  const { client, say } = await connected();
  const jobs = [client.submit(job, 0), client.submit(job, 0)];
  say({ type: "accepted", id: 1, choices: 2 });
  say({ type: "accepted", id: 2, choices: 1 });
  const streams = await Promise.all(jobs);
  const reads = streams.map(read);
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
});

describe("a client that leaves", () => {
  it("cancels once, before or after the job was taken", async () => {
    const { client, sent, say } = await connected();
    const early = new AbortController();
    const waiting = client.submit(job, 0, early.signal);
    early.abort();
    say({ type: "accepted", id: 1, choices: 1 });
    expect(await read(await waiting)).toEqual([]);

    const late = new AbortController();
    const taken = client.submit(job, 0, late.signal);
    say({ type: "accepted", id: 2, choices: 1 });
    const stream = await taken;
    const reading = read(stream);
    late.abort();
    stream.cancel();
    expect(await reading).toEqual([]);
    expect(sent.filter(({ type }) => type === "cancel").map((m) => "id" in m && m.id)).toEqual([1, 1, 2]);
    expect(client.active).toBe(0);
  });
});

it("passes on why a job was refused, at first or on its way", async () => {
  const { client, say } = await connected();
  const first = client.submit(job, 0);
  say({ type: "refused", id: 1, error: refusal });
  await expect(first).rejects.toMatchObject({ fault: refusal });
  const second = client.submit(job, 0);
  say({ type: "accepted", id: 2, choices: 1 });
  const reading = read(await second);
  say({ type: "refused", id: 2, error: refusal });
  await expect(reading).rejects.toMatchObject({ fault: { code: "queue_full" } });
});

it("ends everything where the engine ends, and tells once", async () => {
  const { client, say, end } = await connected();
  const told = vi.fn();
  client.onFailure(told);
  const taken = client.submit(job, 0);
  say({ type: "accepted", id: 1, choices: 1 });
  const reading = read(await taken);
  const asked = client.tokenize({ text: "a", addSpecialTokens: true, parseSpecial: false });
  say({ type: "failed", message: "no memory", foreseen: false });
  end("its thread ended");
  await expect(reading).rejects.toMatchObject({ fault: { kind: "unavailable", code: "engine_failed" } });
  await expect(asked).rejects.toMatchObject({ fault: { kind: "unavailable" } });
  await expect(client.submit(job, 0)).rejects.toThrow(/no memory/);
  expect(told.mock.calls).toEqual([["no memory"]]);
  await client.shutdown();
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
