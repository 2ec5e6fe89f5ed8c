import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import type { JobEvent, JobView } from "./protocol.ts";
import { startTestStudio, type TestStudio } from "./testing.ts";

let t: TestStudio;
beforeAll(async () => {
  t = await startTestStudio();
  await t.open();
});
afterAll(() => t[Symbol.asyncDispose]());

const json = { "content-type": "application/json" };
const messages = [{ role: "user", content: "the of and" }];
const greedy = { model: "work/tiny", temperature: 0, ignore_eos: true };
const ended = (events: readonly JobEvent[]): JobView => {
  const last = events.at(-1)!.event;
  if (last.type !== "end") throw new Error("no end");
  return last.job;
};
type Choice = { readonly delta: { readonly content?: string | null }; readonly text?: string };
const textOf = (events: readonly JobEvent[]) =>
  events
    .flatMap(({ event }) => (event.type === "chunk" ? (event.chunk.choices as Choice[]) : []))
    .map(({ delta, text }) => text ?? delta.content ?? "")
    .join("");
describe("the studio", () => {
  it("says what it is and what it can do", async () => {
    const { status, body } = await t.ask("/studio/api/hello");
    expect(status).toBe(200);
    expect(body).toMatchObject({ version: "test", threads: 1, roots: [{ name: "work", path: t.root }] });
    expect(body.kinds).toEqual(expect.arrayContaining(["chat", "complete", "draw", "open"]));
    expect(body.memory.total).toBeGreaterThan(body.memory.models);
  });

  it("lists models with what they are, and those that are open with more", async () => {
    const { body } = await t.ask("/studio/api/models");
    const entry = body.models.find(({ model }: { model: string }) => model === "work/tiny");
    expect(entry).toMatchObject({
      ...{ from: { root: "work", path: "tiny" }, partial: false, state: "open", error: null },
      info: { context: 4096 },
    });
    expect(entry.parameters).toBe(entry.info.parameters);
    expect(body.memory.models).toBeGreaterThanOrEqual(entry.info.weightBytes);
  });
});

describe("an answer as a job", () => {
  it("is that of /v1, chunk by chunk", async () => {
    const body = { ...greedy, messages, max_tokens: 12 };
    const { id } = await t.job({ kind: "chat", body });
    const events = await t.events(id);
    const { body: whole } = await t.ask("/v1/chat/completions", body);
    expect(textOf(events)).toBe(whole.choices[0].message.content);
    expect(ended(events)).toMatchObject({
      id,
      kind: "chat",
      state: "done",
      title: "the of and",
      model: "work/tiny",
    });
    const raw = await t.job({ kind: "complete", body: { ...greedy, prompt: "the of", max_tokens: 9 } });
    const { body: plain } = await t.ask("/v1/completions", { ...greedy, prompt: "the of", max_tokens: 9 });
    expect(textOf(await t.events(raw.id))).toBe(plain.choices[0].text);
  });

  it("has its inside beside the chunks where that is asked for, and the same text", async () => {
    const body = { ...greedy, messages, max_tokens: 6 };
    const plain = await t.events((await t.job({ kind: "chat", body })).id);
    const events = await t.events((await t.job({ kind: "chat", body, inside: true })).id);
    expect(textOf(events)).toBe(textOf(plain));
    const inside = events.flatMap(({ event }) => (event.type === "inside" ? [event] : []));
    expect(inside.flatMap(({ tokens }) => tokens)).toHaveLength(6);
    expect(inside.at(-1)!.figures).toMatchObject({ tokens: 6 });
    expect(events.some(({ event }) => event.type === "chunk" && "inside" in event.chunk)).toBe(false);
    expect(plain.some(({ event }) => event.type === "inside")).toBe(false);
    const drawn = await t.ask("/studio/api/jobs", { kind: "draw", inside: true, body: { prompt: "a" } });
    expect(drawn).toMatchObject({ status: 400, body: { error: { param: "inside" } } });
  });

  it("keeps nothing going for who asks for the headers of its events alone", async () => {
    const { id } = await t.job({ kind: "chat", body: { ...greedy, messages, max_tokens: 3 } });
    await t.events(id);
    const timers = vi.spyOn(globalThis, "setInterval");
    const { status, headers } = await t.ask(`/studio/api/jobs/${id}/events`, undefined, { method: "HEAD" });
    expect(status).toBe(200);
    expect(headers.get("content-type")).toContain("ndjson");
    expect(timers.mock.calls.filter(([, ms]) => ms === 5000)).toEqual([]);
    timers.mockRestore();
  });

  it("takes the digits of its body to /v1 as they are, and refuses what a job cannot be", async () => {
    const ask = (text: string) =>
      t.ask("/studio/api/jobs", undefined, { method: "POST", body: text, headers: json });
    const schema =
      '{"type":"object","properties":{"10":{"const":1.50},"2":{"const":12345678901234567890}},"required":["10","2"],"additionalProperties":false}';
    const format = `{"type":"json_schema","json_schema":{"name":"n","schema":${schema}}}`;
    const { body } = await ask(
      `{"kind":"chat","body":{"messages":[{"role":"user","content":"the"}],"temperature":0,"max_tokens":90,"response_format":${format}}}`,
    );
    const text = textOf(await t.events(body.id));
    expect(text.replace(/\s/g, "")).toBe('{"10":1.50,"2":12345678901234567890}');
    expect((await ask('{"kind":"chat","body":{"stream":false}}')).body.error.param).toBe("stream");
    for (const wrong of [
      "",
      "[]",
      "null",
      '{"kind":"chat"}',
      '{"kind":7,"body":{}}',
      '{"kind":"chat","body":[]}',
      '{"kind":"chat","body":{},"more":1}',
    ]) {
      expect((await ask(wrong)).status, wrong).toBe(400);
    }
    expect((await ask('{"kind":"chat","body":{"model":"work/none"}}')).body.error.code).toBe(
      "model_not_open",
    );
    expect((await ask(`{"kind":"chat","body":"${" ".repeat(2 ** 25)}"}`)).status).toBe(413);
  });

  it("can be read again from any number, with the end as its last line", async () => {
    const { id } = await t.job({ kind: "chat", body: { ...greedy, messages, max_tokens: 10 } });
    const events = await t.events(id);
    expect(events.map(({ number }) => number)).toEqual(events.map((_, i) => i + 1));
    for (const after of [0, 1, 4, events.length - 1]) {
      expect(await t.events(id, after)).toEqual(events.slice(after));
    }
    expect(await t.events(id, 1000)).toEqual(events.slice(-1));
  });

  it("goes on when its reader leaves", async () => {
    const { id } = await t.job({ kind: "chat", body: { ...greedy, messages, max_tokens: 200 } });
    const first = await t.events(id, 0, ({ event }) => event.type === "chunk");
    const rest = await t.events(id, first.at(-1)!.number);
    expect(ended(rest).state).toBe("done");
    expect(textOf([...first, ...rest]).length).toBeGreaterThan(100);
  });

  it("fails as /v1 does for fields that it refuses", async () => {
    const wrong = { ...greedy, messages, temperature: 9 };
    const { body } = await t.ask("/v1/chat/completions", wrong);
    const { id } = await t.job({ kind: "chat", body: wrong });
    expect(ended(await t.events(id))).toMatchObject({
      state: "failed",
      error: { message: body.error.message, code: body.error.code },
    });
  });

  it("is done once, however often its id is sent", async () => {
    const request = {
      kind: "chat",
      id: "0123456789abcdef",
      body: { ...greedy, messages, max_tokens: 3 },
    } as const;
    const [first, again] = await Promise.all([t.job(request), t.job(request)]);
    await t.events(first.id);
    const late = await t.job(request);
    expect([first.id, again.id, late.id]).toEqual(Array(3).fill("0123456789abcdef"));
    expect((await t.ask("/studio/api/jobs")).body.filter(({ id }: JobView) => id === first.id)).toHaveLength(
      1,
    );
    const other = await t.ask("/studio/api/jobs", { ...request, body: { ...request.body, max_tokens: 4 } });
    expect(other).toMatchObject({ status: 409, body: { error: { code: "id_taken" } } });
    const short = await t.ask("/studio/api/jobs", { ...request, id: "short" });
    expect(short).toMatchObject({ status: 400, body: { error: { param: "id" } } });
  });

  it("is stopped when the engine has stopped", async () => {
    const { id } = await t.job({ kind: "chat", body: { ...greedy, messages, max_tokens: 3500 } });
    await t.events(id, 0, ({ event }) => event.type === "chunk" && event.chunk.choices !== undefined);
    const { body } = await t.ask(`/studio/api/jobs/${id}`, undefined, { method: "DELETE" });
    expect(body).toMatchObject({ state: "canceled", error: null });
    const model = t.studio.engineOf("work/tiny")!;
    const steps = (await model.figures())!.steps;
    expect(model.active).toBe(0);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect((await model.figures())!.steps).toBe(steps);
    expect((await model.figures())!.running).toBe(0);
  });
});
