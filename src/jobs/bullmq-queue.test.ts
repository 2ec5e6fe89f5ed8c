import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { ConfigError } from "../tensor/errors.ts";
import { BullmqQueue, type BullmqQueueOptions } from "./bullmq-queue.ts";
import { JobCanceledError, JobFailedError } from "./errors.ts";
import type { JobContext, NumberedEvent } from "./job.ts";
import { redisProgram, startRedis } from "./testing-redis.ts";

async function read<E>(events: AsyncIterable<NumberedEvent<E>>, count = Number.POSITIVE_INFINITY) {
  const found: E[] = [];
  for await (const { event } of events) if (found.push(event) >= count) break;
  return found;
}

/** Waits for its turn: a handler that ends when it is told. */
function door() {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

describe("an address at which no queue can be", () => {
  it("is refused by name", async () => {
    await expect(BullmqQueue.open("http://localhost")).rejects.toThrow("not the address of a Redis");
    await expect(BullmqQueue.open("redis://127.0.0.1:1")).rejects.toThrow(/no Redis or Valkey answers.*127/);
    await expect(BullmqQueue.open("redis://127.0.0.1:1", { lockSeconds: 0 })).rejects.toThrow("lockSeconds");
    await expect(BullmqQueue.open("redis://127.0.0.1:1", { prefix: "a:b" })).rejects.toThrow("prefix");
  });
});

describe.skipIf(redisProgram === null)("jobs of many processes", () => {
  let redis: Awaited<ReturnType<typeof startRedis>>;
  let next = 0;
  /** Two ends of a queue that nothing else uses, as two processes have them. */
  const pair = async (options: BullmqQueueOptions = {}) => {
    const both = { prefix: `test-${next++}`, lockSeconds: 1, ...options };
    const [adds, works] = [await BullmqQueue.open(redis.url, both), await BullmqQueue.open(redis.url, both)];
    return {
      ...{ adds, works },
      [Symbol.asyncDispose]: async () => void (await Promise.all([adds.close(), works.close()])),
    };
  };
  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(() => redis?.[Symbol.dispose]());

  it("give result and events to readers of every process, from any number on, also after the end", async () => {
    await using both = await pair();
    const { adds, works } = both;
    const job = await adds.add<number, number, string>("count", 4);
    const early = read(job.events());
    works.process("count", async (to: number, { emit }: JobContext<number>) => {
      for (let i = 1; i <= to; i++) emit(i * 10);
      return "counted";
    });
    expect(await job.result()).toBe("counted");
    expect(await early).toEqual([10, 20, 30, 40]);
    const again = await works.get<number, string>(job.id);
    expect(await read(again!.events(2))).toEqual([30, 40]);
    expect(await again!.result()).toBe("counted");
    expect(await read(job.events(99))).toEqual([]);
    expect(await adds.list()).toMatchObject([{ id: job.id, state: "done", lastEvent: 4, firstEvent: 1 }]);
    expect(await adds.get("never")).toBe(null);
  });

  /** Lets Redis refuse what `refuses` says, as one does whose memory is full; counts the refusals. */
  async function refusing(refuses: (given: readonly unknown[]) => boolean) {
    const { Redis } = await import("ioredis");
    const evaluate = Redis.prototype.eval as (...given: unknown[]) => Promise<unknown>;
    const told = { refused: 0 };
    const spy = vi.spyOn(Redis.prototype, "eval").mockImplementation(async function (
      this: unknown,
      ...given: unknown[]
    ) {
      if (!refuses(given)) return evaluate.apply(this, given);
      told.refused++;
      throw new Error("OOM command not allowed");
    } as never);
    return Object.assign(told, { [Symbol.dispose]: () => spy.mockRestore() });
  }

  it("say why a result could not be saved, also where that is refused too at first", async () => {
    await using both = await pair({ lockSeconds: 30 });
    const { adds, works } = both;
    works.process("made", async (given: string) => given);
    works.process("cycle", async () => {
      const list: unknown[] = [];
      list.push(list);
      return list;
    });
    works.process("fails", async () => {
      throw new Error("no room");
    });
    const cycle = await adds.add<null, never, unknown>("cycle", null);
    await expect(cycle.result()).rejects.toThrow(/its result could not be saved: .*circular/);
    let left = 2;
    using refused = await refusing(
      (given) => given.includes('"large"') || (given.includes("failed") && left-- > 0),
    );
    const large = await adds.add<string, never, string>("made", "large");
    await expect(large.result()).rejects.toThrow(/: its result could not be saved: OOM command not allowed$/);
    expect(refused.refused).toBe(3);
    left = 1;
    const failed = await adds.add<null, never, unknown>("fails", null);
    await expect(failed.result()).rejects.toThrow(/: no room$/);
    expect(refused.refused).toBe(4);
    expect(await (await adds.add<string, never, string>("made", "small")).result()).toBe("small");
  });

  it("of one id are one job, whichever process adds it, and of one kind", async () => {
    await using both = await pair();
    const { adds, works } = both;
    let runs = 0;
    const ids = ["a:b/c", "17"];
    for (const id of ids) {
      await adds.add("once", id, { id });
      await works.add("once", id, { id });
      await expect(adds.add("other", id, { id })).rejects.toThrow("belongs to a job of kind once");
    }
    works.process("once", async (data: string) => {
      runs++;
      return data;
    });
    for (const id of ids) expect(await (await adds.add("once", "another", { id })).result()).toBe(id);
    expect(runs).toBe(2);
  });

  it("that fail say why, and emit nothing afterwards", async () => {
    await using both = await pair();
    const { adds, works } = both;
    let emit: (event: unknown) => void = () => {};
    works.process("fail", async (_: null, context: JobContext<unknown>) => {
      emit = context.emit;
      throw new Error("no room");
    });
    const job = await adds.add("fail", null);
    await expect(job.result()).rejects.toThrow(JobFailedError);
    await expect(job.result()).rejects.toThrow("no room");
    emit("late");
    expect(await read(job.events())).toEqual([]);
    expect((await adds.list())[0]).toMatchObject({ state: "failed", error: "no room", lastEvent: 0 });
  });

  it("drop their oldest events where there are too many or too large ones", async () => {
    await using both = await pair({ maxEvents: 3, maxEventBytes: 40 });
    const { adds, works } = both;
    works.process("talk", async (texts: string[], { emit }: JobContext<string>) => {
      for (const text of texts) emit(text);
    });
    const many = await adds.add<string[], string, void>("talk", ["a", "b", "c", "d", "e"]);
    await many.result();
    const numbers: number[] = [];
    for await (const { number } of many.events(1)) numbers.push(number);
    expect(numbers).toEqual([3, 4, 5]);
    const large = await adds.add<string[], string, void>("talk", [
      "x".repeat(30),
      "é".repeat(30),
      "z".repeat(90),
    ]);
    await large.result();
    expect(await read(large.events())).toEqual(["z".repeat(90)]);
  });

  it("are canceled from another process, while they run and while they wait", async () => {
    await using both = await pair();
    const { adds, works } = both;
    const begun = door();
    let runs = 0;
    works.process("slow", async (_: null, { signal }: JobContext<unknown>) => {
      runs++;
      begun.open();
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      signal.throwIfAborted();
    });
    const job = await adds.add("slow", null);
    await begun.opened;
    const waits = await adds.add("slow", null);
    await waits.cancel("not needed");
    await job.cancel("enough");
    await expect(job.result()).rejects.toThrow(JobCanceledError);
    await expect(job.result()).rejects.toThrow("enough");
    await expect(waits.result()).rejects.toThrow("not needed");
    expect(runs).toBe(1);
    expect((await adds.list()).map(({ state }) => state)).toEqual(["canceled", "canceled"]);
  });

  it("wait again when the queue of their worker is closed", async () => {
    await using both = await pair();
    const { adds, works } = both;
    const begun = door();
    works.process("move", async (_: null, { signal }: JobContext<unknown>) => {
      begun.open();
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      signal.throwIfAborted();
    });
    const job = await adds.add<null, string, string>("move", null);
    await begun.opened;
    await works.close();
    adds.process("move", async () => "elsewhere");
    expect(await job.result()).toBe("elsewhere");
  });

  it("are refused when too many wait", async () => {
    await using both = await pair({ maxQueued: 2 });
    const { adds } = both;
    await adds.add("none", 1);
    await adds.add("none", 2, { id: "second" });
    await expect(adds.add("none", 3)).rejects.toThrow(ConfigError);
    expect((await adds.add("none", 2, { id: "second" })).id).toBe("second");
  });

  it("are all done, none counted twice, when a worker process is killed in the middle", async () => {
    await using queue = await BullmqQueue.open(redis.url, { lockSeconds: 1 });
    const program = fileURLToPath(new URL("testing-worker.ts", import.meta.url));
    const start = async (name: string): Promise<ChildProcess> => {
      const worker = spawn(process.execPath, [program, redis.url, name], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      await once(worker.stdout!, "data");
      return worker;
    };
    const [victim, other] = await Promise.all([start("victim"), start("other")]);
    try {
      type Event = { readonly worker: string; readonly value: number };
      const jobs = [];
      for (let value = 0; value < 24; value++) {
        jobs.push(await queue.add<number, Event, number>("square", value, { id: `square-${value}` }));
      }
      // The first event of the victim: it is in the middle of a job.
      await Promise.any(
        jobs.map(async (job) => {
          for await (const { event } of job.events()) if (event.worker === "victim") return;
          throw new Error("another's");
        }),
      );
      victim.kill("SIGKILL");
      expect(await Promise.all(jobs.map((job) => job.result()))).toEqual(
        jobs.map((_, value) => value * value),
      );
      const begun = await Promise.all(jobs.map((job) => read(job.events())));
      // What the victim had begun was begun again by the other, and by it alone.
      const lost = begun.filter((events) => events.length === 2);
      expect(lost.length).toBeGreaterThan(0);
      for (const events of lost) expect(events.map(({ worker }) => worker)).toEqual(["victim", "other"]);
      expect(begun.every((events) => events.length <= 2)).toBe(true);
    } finally {
      victim.kill("SIGKILL");
      other.kill("SIGTERM");
      await once(other, "exit");
    }
  });
});
