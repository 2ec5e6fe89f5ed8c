import { describe, expect, it } from "vitest";
import { ConfigError } from "../tensor/errors.ts";
import { JobCanceledError } from "./errors.ts";
import type { Job, JobContext, NumberedEvent } from "./job.ts";
import { MemoryQueue } from "./memory-queue.ts";

/** A handler that waits to be told what to do. */
function manual() {
  const contexts: JobContext<unknown>[] = [];
  interface Door {
    promise: Promise<unknown>;
    resolve(value: unknown): void;
    reject(error: unknown): void;
  }
  const doors = new Map<string, Door>();
  const door = (id: string) => {
    let known = doors.get(id);
    if (!known) {
      const settle = {} as Pick<Door, "resolve" | "reject">;
      const promise = new Promise((resolve, reject) => Object.assign(settle, { resolve, reject }));
      known = { promise, ...settle };
      doors.set(id, known);
    }
    return known;
  };
  const handler = async (_data: unknown, context: JobContext<unknown>) => {
    contexts.push(context);
    context.signal.addEventListener("abort", () => door(context.id).reject(context.signal.reason));
    return door(context.id).promise;
  };
  return { handler, contexts, door };
}

const turn = () => new Promise((resolve) => setTimeout(resolve, 0));

async function read<E>(
  events: AsyncIterable<NumberedEvent<E>>,
  count = Number.POSITIVE_INFINITY,
): Promise<E[]> {
  const found: E[] = [];
  for await (const { event } of events) if (found.push(event) >= count) break;
  return found;
}

describe("a job", () => {
  it("gives its result and its events, to every reader, from any number on, also after its end", async () => {
    await using queue = new MemoryQueue();
    queue.process("count", async (to: number, { emit }: JobContext<number>) => {
      for (let i = 1; i <= to; i++) {
        emit(i * 10);
        await turn();
      }
      return "counted";
    });
    const job = await queue.add<number, number, string>("count", 4);
    const early = read(job.events());
    const late = read(job.events(2));
    expect(await job.result()).toBe("counted");
    expect(await early).toEqual([10, 20, 30, 40]);
    expect(await late).toEqual([30, 40]);
    expect(await read(job.events(3))).toEqual([40]);
    expect(await read(job.events(99))).toEqual([]);
    expect(job.info()).toMatchObject({ state: "done", lastEvent: 4, firstEvent: 1, error: null });
  });

  it("goes on when its readers leave", async () => {
    await using queue = new MemoryQueue();
    const { handler, contexts, door } = manual();
    queue.process("work", handler);
    const job = await queue.add("work", null);
    await turn();
    const leaving = new AbortController();
    const first = read(job.events(0, leaving.signal));
    const second = read(job.events(), 1);
    contexts[0].emit("a");
    expect(await second).toEqual(["a"]);
    leaving.abort();
    expect(await first).toEqual(["a"]);
    expect(job.info().state).toBe("running");
    contexts[0].emit("b");
    door(job.id).resolve("end");
    expect(await job.result()).toBe("end");
    expect(await read(job.events())).toEqual(["a", "b"]);
  });

  it("that fails says why, and emits nothing afterwards", async () => {
    await using queue = new MemoryQueue();
    let emit: (event: unknown) => void = () => {};
    queue.process("fail", async (_: null, context: JobContext<unknown>) => {
      emit = context.emit;
      throw new Error("no room");
    });
    const job = await queue.add("fail", null);
    await expect(job.result()).rejects.toThrow("no room");
    emit("late");
    expect(job.info()).toMatchObject({ state: "failed", error: "no room", lastEvent: 0 });
  });

  it("drops its oldest events where there are too many or too large ones", async () => {
    await using queue = new MemoryQueue({ maxEvents: 3, maxEventCharacters: 40 });
    queue.process("talk", async (texts: string[], { emit }: JobContext<string>) =>
      texts.map((text) => emit(text)),
    );
    const many = await queue.add<string[], string, void>("talk", ["a", "b", "c", "d", "e"]);
    await many.result();
    expect(many.info()).toMatchObject({ firstEvent: 3, lastEvent: 5 });
    const numbers: number[] = [];
    for await (const { number } of many.events(1)) numbers.push(number);
    expect(numbers).toEqual([3, 4, 5]);
    const large = await queue.add<string[], string, void>("talk", [
      "x".repeat(30),
      "y".repeat(30),
      "z".repeat(90),
    ]);
    await large.result();
    expect(await read(large.events())).toEqual(["z".repeat(90)]);
  });

  it("counts what an event takes as it is told to", async () => {
    const sizeOf = (event: unknown) => (event as Uint8Array).byteLength;
    await using queue = new MemoryQueue({ maxEventCharacters: 40, sizeOf });
    queue.process("talk", async (sizes: number[], { emit }: JobContext<Uint8Array>) =>
      sizes.map((size) => emit(new Uint8Array(size).fill(200))),
    );
    // As JSON, each would have over 90 characters.
    const job = await queue.add<number[], Uint8Array, void>("talk", [12, 13, 14, 14]);
    await job.result();
    expect(job.info()).toMatchObject({ firstEvent: 3, lastEvent: 4 });
  });
});

it("forgets ended jobs of a kind with a limit of its own apart from all others", async () => {
  await using queue = new MemoryQueue({ maxEnded: 3, maxEndedOf: { brief: 2 } });
  for (const kind of ["long", "brief"]) queue.process(kind, async () => null);
  const run = async (kind: string, id: string) => (await queue.add(kind, null, { id })).result();
  for (const id of ["a", "b"]) await run("long", id);
  for (const id of ["1", "2", "3", "4", "5"]) await run("brief", id);
  await turn();
  expect((await queue.list()).map(({ id }) => id)).toEqual(["a", "b", "4", "5"]);
  for (const id of ["c", "d"]) await run("long", id);
  await turn();
  expect((await queue.list()).map(({ id }) => id)).toEqual(["b", "4", "5", "c", "d"]);
  expect(() => new MemoryQueue({ maxEndedOf: { brief: 0 } })).toThrow("positive");
});

it("forgets the jobs that ended first where the events of all ended ones are too large", async () => {
  await using queue = new MemoryQueue({ maxEndedCharacters: 100 });
  queue.process("talk", async (text: string, { emit }: JobContext<string>) => emit(text), { concurrency: 9 });
  const end = async (text: string) => {
    const job = await queue.add<string, string, void>("talk", text);
    await job.result();
    await turn();
    return job.id;
  };
  const [, second] = [await end("a".repeat(60)), await end("b".repeat(60))];
  expect((await queue.list()).map(({ id }) => id)).toEqual([second]);
  const third = await end("c".repeat(30));
  expect((await queue.list()).map(({ id }) => id)).toEqual([second, third]);
  // The newest stays, however large.
  const fourth = await end("d".repeat(900));
  expect((await queue.list()).map(({ id }) => id)).toEqual([fourth]);
});

describe("canceling", () => {
  it("is answered when the handler has stopped", async () => {
    await using queue = new MemoryQueue();
    let stopped = false;
    queue.process("slow", async (_: null, { signal }: JobContext<unknown>) => {
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      await turn();
      stopped = true;
      signal.throwIfAborted();
    });
    const job = await queue.add("slow", null);
    await turn();
    await job.cancel("enough");
    expect(stopped).toBe(true);
    await expect(job.result()).rejects.toThrow(JobCanceledError);
    await expect(job.result()).rejects.toThrow("enough");
    expect(job.info()).toMatchObject({ state: "canceled", error: null });
  });

  it("takes a waiting job out of the queue, and leaves an ended one alone", async () => {
    await using queue = new MemoryQueue();
    const { handler, contexts, door } = manual();
    queue.process("work", handler);
    const [first, second, third] = await Promise.all([1, 2, 3].map((n) => queue.add("work", n)));
    await turn();
    await second.cancel();
    door(first.id).resolve("one");
    expect(await first.result()).toBe("one");
    await first.cancel();
    expect(first.info().state).toBe("done");
    await turn();
    expect(contexts.map(({ id }) => id)).toEqual([first.id, third.id]);
    expect(second.info()).toMatchObject({ state: "canceled", started: null });
  });

  it("a handler that ends well in spite of it has a result", async () => {
    await using queue = new MemoryQueue();
    queue.process("save", async (_: null, { signal }: JobContext<unknown>) => {
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      return "saved";
    });
    const job = await queue.add("save", null);
    await turn();
    await job.cancel();
    expect(await job.result()).toBe("saved");
    expect(job.info().state).toBe("done");
  });
});

describe("the queue", () => {
  it("runs as many of a kind at once as it was told, in the order in which they came", async () => {
    await using queue = new MemoryQueue();
    const [slow, fast] = [manual(), manual()];
    queue.process("slow", slow.handler, { concurrency: 2 });
    queue.process("fast", fast.handler);
    const jobs: Job[] = [];
    for (const kind of ["slow", "slow", "slow", "fast"]) jobs.push(await queue.add(kind, null));
    await turn();
    expect(jobs.map((job) => job.info().state)).toEqual(["running", "running", "queued", "running"]);
    slow.door(jobs[1].id).resolve(null);
    await jobs[1].result();
    await turn();
    expect(jobs.map((job) => job.info().state)).toEqual(["running", "done", "running", "running"]);
    expect((await queue.list()).map(({ id }) => id)).toEqual(jobs.map(({ id }) => id));
  });

  it("takes an id once", async () => {
    await using queue = new MemoryQueue();
    const { handler, contexts } = manual();
    queue.process("work", handler);
    queue.process("other", handler);
    const job = await queue.add("work", 1, { id: "same" });
    expect(await queue.add("work", 2, { id: "same" })).toBe(job);
    await expect(queue.add("other", 3, { id: "same" })).rejects.toThrow(/kind work/);
    await turn();
    expect(contexts.length).toBe(1);
    expect(await queue.get("same")).toBe(job);
    expect(await queue.get("none")).toBeNull();
  });

  it("forgets the oldest ended jobs, and refuses more than may wait", async () => {
    await using queue = new MemoryQueue({ maxEnded: 2, maxQueued: 1 });
    queue.process("quick", async (n: number) => n);
    for (let n = 0; n < 4; n++) await (await queue.add("quick", n)).result();
    await turn();
    expect((await queue.list()).map(({ id }) => id)).toEqual(["quick-3", "quick-4"]);
    queue.process("held", manual().handler);
    await queue.add("held", 1);
    await queue.add("held", 2);
    await expect(queue.add("held", 3)).rejects.toThrow(/full/);
  });

  it("tells what failed after the request to stop, such as saving", async () => {
    const queue = new MemoryQueue();
    const full = new Error("no space left");
    queue.process<null, never, never>("saved", (_, { signal }) => {
      return new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(full)));
    });
    const job = await queue.add<null, never, never>("saved", null);
    await new Promise((resolve) => setTimeout(resolve, 1));
    await job.cancel("enough");
    await expect(job.result()).rejects.toMatchObject({
      message: expect.stringContaining("enough"),
      cause: full,
    });
  });

  it("does not count canceled jobs among those that wait, and forgets them like others", async () => {
    await using queue = new MemoryQueue({ maxEnded: 2, maxQueued: 1 });
    queue.process("held", manual().handler);
    await queue.add("held", 0);
    await turn();
    for (let n = 1; n <= 5; n++) await (await queue.add("held", n)).cancel();
    expect((await queue.list()).map(({ id, state }) => `${id} ${state}`)).toEqual([
      "held-1 running",
      "held-5 canceled",
      "held-6 canceled",
    ]);
  });

  it("closes: everything stops, nothing more is taken", async () => {
    const queue = new MemoryQueue();
    const { handler } = manual();
    queue.process("work", handler);
    const jobs = await Promise.all([1, 2].map((n) => queue.add("work", n)));
    await turn();
    await queue.close();
    expect(jobs.map((job) => job.info().state)).toEqual(["canceled", "canceled"]);
    await expect(queue.add("work", 3)).rejects.toThrow(ConfigError);
  });

  it("refuses unknown kinds, two handlers of one kind, and limits that are none", async () => {
    const queue = new MemoryQueue();
    queue.process("work", async () => null);
    await expect(queue.add("play", null)).rejects.toThrow(/play.*Known: work/);
    expect(() => queue.process("work", async () => null)).toThrow(ConfigError);
    expect(() => queue.process("w", async () => null, { concurrency: 0 })).toThrow(/concurrency/);
    expect(() => new MemoryQueue({ maxEvents: 0 })).toThrow(/maxEvents/);
  });
});
