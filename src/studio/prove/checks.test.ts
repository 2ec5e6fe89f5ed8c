import { describe, expect, it } from "vitest";
import type { Backend } from "../backend/backend.ts";
import type { JobEvent, JobView } from "../backend/wire.ts";
import { Checks, messagesOf } from "./checks.ts";

/** A backend whose checks end when the test says so. */
function held() {
  const asked: { source: string; end: (ok?: boolean) => Promise<void> }[] = [];
  const stopped: string[] = [];
  const ends = new Map<string, Promise<JobEvent>>();
  const turn = () => new Promise((resolve) => setTimeout(resolve, 5));
  const backend: Pick<Backend, "start" | "events" | "stop"> = {
    async start({ body, id }) {
      const { source } = body as { source: string };
      let end: (event: JobEvent) => void = () => {};
      ends.set(id!, new Promise((resolve) => (end = resolve)));
      const answer = (ok: boolean) => {
        const result = {
          complete: ok,
          messages: [],
          sorries: [],
          refused: null,
          failure: null,
          steps: [],
          of: source,
        };
        const job = {
          state: ok ? "done" : "failed",
          result: ok ? result : null,
          error: ok ? null : { message: "no Lean" },
        };
        end({ number: 1, time: 0, event: { type: "end", job: job as unknown as JobView } });
        return turn() as Promise<void>;
      };
      asked.push({ source, end: (ok = true) => answer(ok) });
      return {} as JobView;
    },
    async *events(id) {
      yield await ends.get(id)!;
    },
    async stop(id) {
      stopped.push(id);
      return {} as JobView;
    },
  };
  return { backend, asked, stopped, turn };
}
const about = (checks: Checks) => (checks.verdict.value?.answer as unknown as { of: string } | undefined)?.of;

describe("checks while somebody types", () => {
  it("ask once after a pause, and carry the number of their text", async () => {
    const { backend, asked, turn } = held();
    const checks = new Checks(backend, { pause: 50 });
    for (const text of ["a", "ab", "abc"]) checks.change(text);
    await new Promise((resolve) => setTimeout(resolve, 120));
    expect(asked.map(({ source }) => source)).toEqual(["abc"]);
    expect(checks.busy.value).not.toBeNull();
    checks.change("abcd");
    await asked[0].end();
    expect(checks.verdict.value).toMatchObject({ revision: 3, text: "abc" });
    expect(checks.revision.value).toBe(4);
    expect(checks.settled).toBe(false);
    await turn();
  });

  it("stop the one before, and drop an answer that comes after a newer one", async () => {
    const { backend, asked, stopped, turn } = held();
    const checks = new Checks(backend, { pause: 0 });
    checks.change("old");
    await turn();
    checks.change("new");
    await turn();
    await turn();
    expect(stopped).toHaveLength(asked.length - 1);
    await asked.at(-1)!.end();
    expect(about(checks)).toBe("new");
    for (const each of asked.slice(0, -1)) await each.end();
    expect(about(checks)).toBe("new");
    expect(checks.busy.value).toBeNull();
  });

  it("say why there is no answer, and keep the last one", async () => {
    const { backend, asked, turn } = held();
    const checks = new Checks(backend, { pause: 0 });
    checks.change("a", true);
    await turn();
    await asked[0].end();
    checks.change("b", true);
    await turn();
    await asked[1].end(false);
    expect([checks.fault.value, about(checks), checks.settled]).toEqual(["no Lean", "a", false]);
    checks.change("  ", true);
    await turn();
    expect([checks.fault.value, checks.verdict.value]).toEqual([null, null]);
  });

  it("tell refusals and failures among the messages, in the order of the text", () => {
    const at = (index: number) => ({ line: 1, column: index, index });
    const messages = messagesOf({
      ...{ complete: false, sorries: [], steps: [], failure: "timeout" as const },
      messages: [{ severity: "warning" as const, start: at(9), end: at(10), text: "late" }],
      refused: { reason: "not allowed", at: at(4) },
    });
    expect(messages.map(({ text }) => text)).toEqual([
      "Lean did not come to an end in its time.",
      "not allowed",
      "late",
    ]);
  });
});
