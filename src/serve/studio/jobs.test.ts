import { afterEach, describe, expect, it, vi } from "vitest";
import { FormatError } from "../../tensor/errors.ts";
import { invalidRequest } from "../errors.ts";
import { type JobPlan, type JobWork, StudioJobs } from "./jobs.ts";
import type { JobEvent } from "./protocol.ts";

afterEach(() => void vi.useRealTimers());

const plan = (run: JobPlan["run"], more: Partial<JobPlan> = {}): JobPlan => ({
  ...{ lane: "answer", title: "work", model: null, run },
  ...more,
});
/** Work that ends when it is told to. */
function held() {
  let begun: (work: JobWork) => void = () => {};
  const work = new Promise<JobWork>((resolve) => {
    begun = resolve;
  });
  let end: () => void = () => {};
  const run: JobPlan["run"] = (given) =>
    new Promise((resolve, reject) => {
      begun(given);
      end = () => resolve(null);
      given.signal.addEventListener("abort", () => reject(given.signal.reason));
    });
  return { run, work, end: () => end() };
}
async function read(events: AsyncGenerator<JobEvent, void>): Promise<JobEvent[]> {
  const all: JobEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}
const never = () => new AbortController().signal;
const quiet = () => new StudioJobs({ log: () => {} });

describe("a job of the studio", () => {
  it("is one for all requests with its id that come at once", async () => {
    const jobs = quiet();
    const id = "a-request-of-the-page";
    let runs = 0;
    const counted = plan(async () => {
      runs++;
      return null;
    });
    const asked = ["a", "b", "a"].map((request) => jobs.add({ kind: "chat", plan: counted, request, id }));
    const other = jobs.add({ kind: "chat", plan: counted, request: "c" });
    const [first, second, third] = await Promise.allSettled(asked);
    expect(first).toMatchObject({ status: "fulfilled", value: { id } });
    expect(second).toMatchObject({
      status: "rejected",
      reason: { shape: { status: 409, code: "id_taken" } },
    });
    expect(third).toMatchObject({ status: "fulfilled", value: { id } });
    await read(await jobs.events((await other).id, 0, never()));
    expect(runs).toBe(2);
  });

  it("is found by the run that it trains, however long its path", async () => {
    const jobs = quiet();
    const run = { root: "work", path: `${"long/".repeat(40)}run` };
    const { run: work, end } = held();
    const asked = plan(work, { lane: "train", title: `train ${run.root}/${run.path}`, leaves: { run } });
    const { id } = await jobs.add({ kind: "train", plan: asked, request: "a" });
    expect(await jobs.trainerOf(run)).toBe(id);
    expect(await jobs.trainerOf({ root: "work", path: "run" })).toBeNull();
    end();
    await read(await jobs.events(id, 0, never()));
    expect(await jobs.trainerOf(run)).toBeNull();
  });

  it("gives a sign of life at least every five seconds, with how far it is", async () => {
    vi.useFakeTimers();
    const jobs = quiet();
    const { run, work, end } = held();
    const { id } = await jobs.add({ kind: "chat", plan: plan(run), request: "a" });
    const { note, emit } = await work;
    note({ done: 3, total: 9, unit: "tokens", text: "reads the prompt" });
    const times: number[] = [];
    const events = await jobs.events(id, 0, never());
    const reading = read(events).then((all) => times.push(...all.map(({ time }) => time)));
    await vi.advanceTimersByTimeAsync(30_000);
    emit({ type: "chunk", chunk: {} });
    await vi.advanceTimersByTimeAsync(4900);
    end();
    await vi.advanceTimersByTimeAsync(1);
    await reading;
    const { started } = await jobs.get(id);
    const gaps = times.map((time, i) => time - (times[i - 1] ?? started!));
    expect(times.length).toBeGreaterThan(6);
    expect(Math.max(...gaps)).toBeLessThanOrEqual(5000);
    const [first] = await read(await jobs.events(id, 0, never()));
    expect(first.event).toMatchObject({
      type: "progress",
      progress: { done: 3, total: 9, text: "reads the prompt" },
    });
    await jobs.close();
  });

  it("tells progress at most a few times a second, and its last in any case", async () => {
    vi.useFakeTimers();
    const jobs = quiet();
    const { id } = await jobs.add({
      ...{ kind: "download", request: "a" },
      plan: plan(async ({ progress }) => {
        for (let done = 0; done <= 1000; done++) {
          progress({ done, total: 1000, unit: "bytes", text: "downloads" });
          await vi.advanceTimersByTimeAsync(1);
        }
        return null;
      }),
    });
    const events = await read(await jobs.events(id, 0, never()));
    const told = events.flatMap(({ event }) => (event.type === "progress" ? [event.progress.done] : []));
    expect(told.length).toBeLessThan(8);
    expect([told[0], told.at(-1)]).toEqual([0, 1000]);
    await jobs.close();
  });

  it("keeps what it gave when it is stopped, and says nothing of how it ended", async () => {
    const jobs = quiet();
    const { id } = await jobs.add({
      ...{ kind: "train", request: "a" },
      plan: plan(
        ({ signal }) =>
          new Promise((resolve) => signal.addEventListener("abort", () => resolve({ step: 7 }))),
        { lane: "train" },
      ),
    });
    await new Promise((resolve) => setTimeout(resolve));
    expect(await jobs.stop(id)).toMatchObject({ state: "canceled", result: { step: 7 }, error: null });
    await jobs.close();
  });

  it("has its result under its id, and none in the list; checks push out no other", async () => {
    const jobs = quiet();
    const run = async (lane: JobPlan["lane"], request: string) => {
      const kind = lane === "check" ? "check" : "verify";
      const given = plan(async () => ({ request }), { lane });
      const { id } = await jobs.add({ kind, plan: given, request });
      await read(await jobs.events(id, 0, never()));
      return id;
    };
    const id = await run("verify", "kept");
    for (let i = 0; i < 70; i++) await run("check", `text ${i}`);
    expect(await jobs.get(id)).toMatchObject({ state: "done", result: { request: "kept" } });
    const listed = await jobs.list();
    expect(listed.map(({ result }) => result)).toEqual(listed.map(() => null));
    expect(listed.filter(({ kind }) => kind === "check").length).toBeLessThan(12);
    const last = (await read(await jobs.events(listed[0].id, 0, never()))).at(-1)!;
    expect(last.event).toMatchObject({ type: "end", job: { result: { request: "text 69" } } });
    await jobs.close();
  });

  it("fails with words for the page; what nobody foresaw goes to the log", async () => {
    const log: string[] = [];
    const jobs = new StudioJobs({
      log: (line) => log.push(line),
      shown: (text) => text.replaceAll("/home/me/runs", "runs"),
    });
    const ended = async (error: Error) => {
      const { id } = await jobs.add({
        ...{ kind: "chat", request: error.message },
        plan: plan(async () => {
          throw error;
        }),
      });
      await read(await jobs.events(id, 0, never()));
      return (await jobs.get(id)).error;
    };
    expect(await ended(invalidRequest("no", "x", "code_of_it"))).toEqual({
      message: "no",
      code: "code_of_it",
    });
    expect(await ended(new FormatError("damaged", { where: "/home/me/runs/a" }))).toEqual({
      message: "runs/a: damaged",
      code: null,
    });
    expect(log).toEqual([]);
    const unforeseen = await ended(new TypeError("secret.of.programs is undefined"));
    expect(unforeseen).toMatchObject({
      code: "internal_error",
      message: expect.not.stringContaining("secret"),
    });
    expect(log).toEqual([expect.stringContaining("secret.of.programs")]);
    await jobs.close();
  });

  it("is one of so many, with bodies of so many characters, and refused beyond", async () => {
    const jobs = quiet();
    const add = (n: number, size = 1) =>
      jobs.add({ kind: "train", plan: plan(held().run, { lane: "train" }), request: `${n}`.padEnd(size) });
    const large = 2 ** 26 - 100;
    await add(0, large);
    await new Promise((resolve) => setTimeout(resolve));
    // The first one runs, and its body is no longer held.
    await add(1, large);
    await add(2, large);
    await expect(add(3, large)).rejects.toThrow("Too many jobs");
    for (let n = 4; n < 65; n++) await add(n);
    await expect(add(65)).rejects.toMatchObject({ shape: { status: 429, code: "too_many_jobs" } });
    expect(await jobs.list()).toHaveLength(64);
    await jobs.close();
    await expect(add(66)).rejects.toMatchObject({ shape: { status: 503 } });
  });
});
