import { describe, expect, it } from "vitest";
import { inTurns, turnsOf } from "./turns.ts";

/** Keeps the thread for so many milliseconds. */
function work(ms: number): void {
  for (const began = performance.now(); performance.now() - began < ms; );
}

describe("turnsOf", () => {
  it("lets others run after long work only", async () => {
    const turn = turnsOf();
    let others = 0;
    setImmediate(() => others++);
    expect(turn()).toBe(null);
    work(60);
    const wait = turn();
    expect(others).toBe(0);
    await wait;
    expect(others).toBe(1);
    expect(turn()).toBe(null);
  });

  it("throws the signal's reason before work, and after others ran", async () => {
    const controller = new AbortController();
    const turn = turnsOf(controller.signal);
    work(60);
    setImmediate(() => controller.abort(new Error("enough")));
    await expect(turn()).rejects.toThrow("enough");
    expect(turn).toThrow("enough");
  });
});

describe("inTurns", () => {
  it("gives the result, with a turn before each part", async () => {
    const said: string[] = [];
    function* parts() {
      said.push("first");
      yield;
      said.push("second");
      return 7;
    }
    const turn = () => {
      said.push("turn");
      return null;
    };
    expect(await inTurns(parts(), turn)).toBe(7);
    expect(said).toEqual(["turn", "first", "turn", "second"]);
  });

  it("lets work that is stopped free what it holds", async () => {
    let freed = false;
    function* parts() {
      try {
        yield;
        return 1;
      } finally {
        freed = true;
      }
    }
    let turns = 0;
    const turn = () => {
      if (++turns === 2) throw new Error("enough");
      return null;
    };
    await expect(inTurns(parts(), turn)).rejects.toThrow("enough");
    expect(freed).toBe(true);
  });
});
