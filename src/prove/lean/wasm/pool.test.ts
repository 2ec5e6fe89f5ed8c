/** What a pool does with servers that die, hang or grow old: servers without a Lean, whose lives the tests decide. */
import { afterEach, describe, expect, it } from "vitest";
import { LeanPool, type Outcome, type PoolOptions } from "./pool.ts";
import type { ServerEvents } from "./server.ts";

/** A server of the test. What it is asked decides what it does: answers, dies, or says nothing. */
class FakeServer {
  readonly number: number;
  readonly asked: string[] = [];
  /** Known proofs that it took. */
  warm = 0;
  readonly #events: ServerEvents;
  /** What servers of its pool were asked. */
  readonly #seen: Set<string>;
  #over = false;

  constructor(number: number, events: ServerEvents, seen: Set<string>) {
    this.number = number;
    this.#events = events;
    this.#seen = seen;
  }

  /** It takes requests from now on. */
  begin(): void {
    queueMicrotask(() => this.#events.receive('{"ready":true}'));
  }

  send(line: string): void {
    const { id, op, code = "" } = JSON.parse(line) as { id: string; op: string; code?: string };
    // What a pool asks to see that a server answers.
    if (op === "verify") {
      this.warm++;
      this.#events.receive(JSON.stringify({ id, verdict: "ok" }));
      return;
    }
    this.asked.push(code);
    const again = this.#seen.has(code);
    this.#seen.add(code);
    queueMicrotask(() => {
      if (code === "full") this.die("itself", "memory access out of bounds: out of memory");
      else if (code === "deep") this.die("itself", "stack overflow");
      else if (code !== "silent" && code !== "held" && (code !== "held once" || again)) this.answer(id);
    });
  }

  answer(id: string): void {
    this.#events.receive(JSON.stringify({ id, by: this.number }));
  }

  die(by: "itself" | "signal", words: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#events.say(words);
    this.#events.over(by, "ended");
  }
}

let pool: LeanPool;
afterEach(() => pool[Symbol.asyncDispose]());

/** A pool over servers of the test; those whose number is 3 or more begin when `begin` is called, the first two at once. */
function poolOf(options: PoolOptions) {
  const servers: FakeServer[] = [];
  const seen = new Set<string>();
  pool = new LeanPool((events) => {
    const server = new FakeServer(servers.length + 1, events, seen);
    servers.push(server);
    if (server.number <= 2) server.begin();
    return { send: (line) => server.send(line), kill: () => server.die("signal", "killed") };
  }, options);
  const ask = (code: string, timeout = 60_000) => pool.run({ op: "check", code }, { timeout });
  return { servers, ask };
}

const by = (outcome: Outcome): unknown => ("answer" in outcome ? outcome.answer.by : outcome);

/** Both servers of a pool of two, each busy with one request that the test ends. */
async function twoServers(options: Partial<PoolOptions> = {}) {
  const { servers, ask } = poolOf({ size: 2, ...options });
  await pool.ready();
  await Promise.all([ask("a"), ask("b")]);
  expect(servers).toHaveLength(2);
  return { servers, ask };
}

it("starts its first server before it is asked anything, and has it prove what warms it", async () => {
  const { servers } = poolOf({ size: 2 });
  expect(servers).toHaveLength(1);
  await expect.poll(() => servers[0].warm).toBeGreaterThan(0);
  await pool.ready();
  expect(servers).toHaveLength(1);
});

describe("a server that is replaced", () => {
  it("lets no request wait for its successor while another server lives", async () => {
    const { servers, ask } = await twoServers();
    const cut = ask("held once");
    const holder = () => servers.find(({ asked }) => asked.includes("held once"));
    await expect.poll(holder).toBeDefined();
    const victim = holder()!;
    const other = servers.find((server) => server !== victim)!;
    victim.die("signal", "killed by someone");
    // The successor has been started, and does not come to life.
    await expect.poll(() => servers.length).toBe(3);
    const later = await Promise.all(["c", "d", "e", "f"].map((code) => ask(code)));
    expect(later.map(by)).toEqual(new Array(4).fill(other.number));
    expect(servers[2].asked).toEqual([]);
    // The one that was interrupted was asked again there, before those that came after it.
    expect(by(await cut)).toBe(other.number);
    expect(other.asked.indexOf("held once")).toBeLessThan(other.asked.indexOf("c"));
  });

  it("does so, too, when it is replaced for its age", async () => {
    const { servers, ask } = await twoServers({ mostChecks: 5 });
    const outcomes: unknown[] = [];
    for (let i = 0; i < 3; i++) outcomes.push(by(await ask(`${i}`)));
    // The first to reach its age has gone, and the other goes on alone.
    expect(servers).toHaveLength(3);
    expect(new Set(outcomes).size).toBe(2);
    servers[2].begin();
    for (let i = 0; i < 3; i++) outcomes.push(by(await ask(`more ${i}`)));
    expect(outcomes).toContain(3);
  });
});

describe("a request under which servers die", () => {
  it("has the verdict memory or crash after the second death, and costs no other request", async () => {
    const { servers, ask } = poolOf({ size: 1 });
    const found = Promise.all([ask("full"), ask("a")]);
    for (const number of [2, 3, 4]) {
      await expect.poll(() => servers.length >= number || number > 3).toBe(true);
      servers[number - 1]?.begin();
    }
    expect(await found).toMatchObject([{ failure: "memory", words: /out of memory/ }, { answer: {} }]);
    const deep = ask("deep");
    await expect.poll(() => servers.length).toBe(4);
    servers[3].begin();
    expect(await deep).toMatchObject({ failure: "crash", words: /stack overflow/ });
  });

  it("is asked a fourth time where others killed them, and no fifth", async () => {
    const { servers, ask } = poolOf({ size: 1 });
    await pool.ready();
    const cut = ask("held");
    for (let death = 1; death <= 4; death++) {
      await expect.poll(() => servers.at(-1)!.asked.length).toBe(1);
      servers.at(-1)!.die("signal", "killed by someone");
      await expect.poll(() => servers.length).toBe(death + 1);
      servers.at(-1)!.begin();
    }
    expect(await cut).toMatchObject({ failure: "crash" });
  });

  it("is late where its server does not look at the limit", async () => {
    const { ask } = poolOf({ size: 1, grace: 10 });
    await pool.ready();
    expect(await ask("silent", 10)).toMatchObject({ failure: "timeout" });
    expect(by(await ask("a"))).toBe(2);
  });
});
