import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ConfigError, DeepseekError, DisposedError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { add, scale } from "../ops/elementwise.ts";
import { expertPlan } from "../ops/routing.ts";
import { Tape } from "../tape.ts";
import { type Device, Scope } from "../tensor.ts";
import { createCpuDevice } from "./backend.ts";
import type { WorkerHandle } from "./host.ts";

const workers = vi.hoisted(() => ({ started: [] as WorkerHandle[], silent: false, refuse: false }));

vi.mock("./host.ts", async (original) => {
  const host = await original<typeof import("./host.ts")>();
  const silent: WorkerHandle = {
    post: () => {},
    next: () => (workers.refuse ? Promise.reject(new Error("not today")) : Promise.resolve("ready")),
    failure: null,
    terminate: async () => {},
  };
  return {
    ...host,
    startWorker: async () => {
      const worker = workers.silent ? silent : await host.startWorker();
      workers.started.push(worker);
      return worker;
    },
  };
});

/** As in ops/balance.ts; with 0 tokens per sequence its first phase divides by zero, before its barrier. */
const balanceLoss = defineKernel({
  name: "balance_loss",
  operands: { scores: "in f32", load: "in f32", terms: "out f32", loss: "out f32" },
  ints: ["rows", "tokens", "experts", "normalize"],
  work: () => 1e9,
  reference: () => {},
});

/** As in ops/balance.ts, but on all threads: each sequence is a unit, and an id out of range traps. */
const expertLoad = defineKernel({
  name: "expert_load",
  operands: { ids: "in i32", out: "out f32" },
  ints: ["sequences", "tokens", "experts", "topK", "devices", "level"],
  floats: ["factor"],
  work: () => 1e9,
  reference: () => {},
});

let device: Device;
beforeEach(() => {
  workers.started.length = 0;
  workers.silent = false;
  workers.refuse = false;
});
afterEach(() => device[Symbol.asyncDispose]());

/** A kernel with a barrier gives what it should: the mean over rows of their load-weighted scores. */
async function works(): Promise<void> {
  using _scope = new Scope(device);
  const rows = 5000;
  const scores = device.tensor(new Float32Array(rows * 2).fill(0.5), [rows, 2]);
  const [terms, loss] = [device.empty([rows]), device.empty([1])];
  const operands = { scores, load: device.tensor([3, 1]), terms, loss };
  balanceLoss.run(device, operands, { rows, tokens: rows, experts: 2, normalize: 0 });
  expect(await loss.item()).toBe(2);
}

describe.each([1, 2, 3])("a kernel that traps, %i threads", (threads) => {
  beforeEach(async () => {
    device = await createCpuDevice({ threads, parallelWork: 0 });
  });

  it("is named with the trap, and the device goes on", async () => {
    for (let round = 0; round < 20; round++) {
      using _scope = new Scope(device);
      const ids = device.tensor([0, 1, 2, 99], [2, 2], "i32");
      expect(() => expertPlan(ids, 4)).toThrow(
        /^cpu: a kernel failed; name: expert_plan; found: .*unreachable/,
      );
      await works();
    }
    expect(device.backend.memory().buffers).toBe(0);
  });

  it("fails on whichever thread it happens", async () => {
    for (const bad of [0, 7, 31]) {
      using _scope = new Scope(device);
      const ids = device.tensor(
        Int32Array.from({ length: 32 * 1000 }, (_, i) => (i === bad * 1000 + 999 ? -1 : i % 8)),
        [32, 1000],
        "i32",
      );
      const sizes = { sequences: 32, tokens: 1000, experts: 8, topK: 1, devices: 1, level: 0 };
      const out = device.empty([32, 8]);
      expect(() => expertLoad.run(device, { ids, out }, sizes, { factor: 1 })).toThrow(DeepseekError);
      ids.set([7], bad * 1000 + 999);
      expertLoad.run(device, { ids, out }, sizes, { factor: 1 });
      expect(await out.data()).toEqual(new Float32Array(32 * 8).fill(125));
    }
  });

  it("releases the threads that wait for it at a barrier", async () => {
    // One unit of work: one thread traps, the others are at the barrier or come to it.
    for (let round = 0; round < 100; round++) {
      using _scope = new Scope(device);
      const operands = {
        scores: device.tensor([1, 2], [1, 2]),
        load: device.tensor([1, 1]),
        terms: device.empty([1]),
        loss: device.empty([1]),
      };
      expect(() =>
        balanceLoss.run(device, operands, { rows: 1, tokens: 0, experts: 2, normalize: 0 }),
      ).toThrow(/balance_loss; found: divide by zero/);
      await works();
    }
  });

  it("leaves tape and scopes as an exception does", async () => {
    const x = device.tensor([1, 2]);
    x.requiresGrad = true;
    const ids = device.tensor([5], [1, 1], "i32");
    expect(() => {
      using _tape = new Tape(device);
      scale(x, 2);
      expertPlan(ids, 2);
    }).toThrow(DeepseekError);
    expect(device.tape).toBeNull();
    expect(device.scopes).toHaveLength(0);
    expect(device.backend.memory().buffers).toBe(2);
  });
});

describe("a thread that has stopped", () => {
  it("makes the device unusable with an error on every call; tensors can be read", async () => {
    device = await createCpuDevice({ threads: 3, parallelWork: 0 });
    const x = device.tensor([1, 2, 3]);
    await workers.started[1].terminate();
    for (let i = 0; i < 2; i++) expect(() => add(x, x)).toThrow(/device is unusable.*ended with code/);
    expect(await x.data()).toEqual(new Float32Array([1, 2, 3]));
    await device[Symbol.asyncDispose]();
  });

  for (const [where, message] of [
    ["before a call", /unusable.*no answer in kernel add_scaled/],
    ["at a barrier", /unusable.*no answer in kernel balance_loss/],
  ] as const) {
    it(`is noticed without its event, ${where}`, async () => {
      workers.silent = true;
      device = await createCpuDevice({ threads: 2, parallelWork: 0, timeout: 0.05 });
      const x = device.tensor([1, 2]);
      const run = () => {
        if (where === "before a call") add(x, x);
        else {
          const operands = { scores: x, load: x, terms: device.empty([1]), loss: device.empty([1]) };
          balanceLoss.run(device, operands, { rows: 1, tokens: 1, experts: 2, normalize: 0 });
        }
      };
      expect(run).toThrow(message);
      expect(() => scale(x, 2)).toThrow(message);
      expect(await x.data()).toEqual(new Float32Array([1, 2]));
    });
  }

  it("that does not start fails the creation", async () => {
    device = await createCpuDevice({ threads: 1 });
    workers.silent = true;
    workers.refuse = true;
    await expect(createCpuDevice({ threads: 2 })).rejects.toThrow(
      /a kernel thread did not start; found: not today/,
    );
  });
});

describe("the number of threads", () => {
  it.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 5000])("%d is refused", async (threads) => {
    const error = await createCpuDevice({ threads }).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(ConfigError);
    expect(String(error)).toMatch(/threads; expected: an integer from 1 to \d+; found: /);
  });
});

describe("a disposed device", () => {
  it("says so to every use; tensors may go after it, and it may be disposed again", async () => {
    device = await createCpuDevice({ threads: 2, parallelWork: 0 });
    const x = device.tensor([1, 2]);
    const y = device.tensor([1, 2]);
    await Promise.all([device[Symbol.asyncDispose](), device[Symbol.asyncDispose]()]);
    expect(() => device.empty([1])).toThrow(DisposedError);
    expect(() => add.into(x, y)).toThrow(DisposedError);
    expect(() => x.set([1])).toThrow(DisposedError);
    await expect(x.data()).rejects.toThrow(DisposedError);
    x.dispose();
    y.dispose();
    await device[Symbol.asyncDispose]();
  });
});

it.skipIf(!process.features.typescript)("a device that nobody disposed lets the process end", async () => {
  device = await createCpuDevice({ threads: 1 });
  const url = new URL("./backend.ts", import.meta.url);
  const program = `import { createCpuDevice } from "${url}"; await createCpuDevice({ threads: 2 }); console.log("up");`;
  const run = (...options: string[]) => promisify(execFile)(process.execPath, options, { timeout: 20_000 });
  expect((await run("--input-type=module", "--eval", program)).stdout).toBe("up\n");
});

it.skipIf(!process.features.typescript)("threads start under options of V8", async () => {
  const folder = await mkdtemp(join(tmpdir(), "deepseek-ts-options-"));
  try {
    const file = join(folder, "program.ts");
    const url = new URL("./backend.ts", import.meta.url);
    await writeFile(
      file,
      `import { createCpuDevice } from "${url}"; await createCpuDevice({ threads: 2 }); console.log("up");`,
    );
    const options = ["--max-old-space-size=500", file];
    const { stdout } = await promisify(execFile)(process.execPath, options, { timeout: 20_000 });
    expect(stdout).toBe("up\n");
  } finally {
    await rm(folder, { recursive: true });
  }
});
