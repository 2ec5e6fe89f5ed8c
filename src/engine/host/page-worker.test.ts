import { expect, it } from "vitest";
import { EngineClient } from "./engine-client.ts";
import { workerChannel } from "./page-worker.ts";
import type { ModelInfo, ToEngine } from "./protocol.ts";
import { unpacked } from "./wire.ts";

/** A `Worker` in the test's hands. */
function played() {
  const listeners = new Map<string, ((event: never) => void)[]>();
  const posted: ToEngine[] = [];
  let terminated = 0;
  return {
    posted,
    terminated: () => terminated,
    say: (type: string, event: object) => {
      for (const listener of listeners.get(type) ?? []) listener(event as never);
    },
    worker: {
      postMessage: (message: unknown) => void posted.push(unpacked(message) as ToEngine),
      addEventListener: (type: string, listener: (event: never) => void) =>
        void listeners.set(type, [...(listeners.get(type) ?? []), listener]),
      terminate: () => void terminated++,
    },
  };
}
const ready = { data: { type: "ready", info: { name: "m" } as ModelInfo } };

it("tells what is wrong with a worker that does not start, and ends it", async () => {
  const { worker, say, terminated } = played();
  const connecting = EngineClient.connect(workerChannel(worker));
  say("error", { message: "Uncaught Error: no such file" });
  await expect(connecting).rejects.toThrow("Uncaught Error: no such file");
  expect(terminated()).toBe(1);
  const other = played();
  const unnamed = EngineClient.connect(workerChannel(other.worker));
  other.say("error", {});
  await expect(unnamed).rejects.toThrow("its worker could not be started");
});

it("fails what runs where the page ends the worker, and nothing where it shuts the host down", async () => {
  const { worker, say, posted, terminated } = played();
  const connecting = EngineClient.connect(workerChannel(worker));
  say("message", ready);
  const client = await connecting;
  const asked = client.tokenize({ text: "a", addSpecialTokens: true, parseSpecial: false });
  await client.terminate();
  await expect(asked).rejects.toMatchObject({ fault: { kind: "unavailable", code: "engine_failed" } });
  expect(terminated()).toBe(1);

  const second = played();
  const opening = EngineClient.connect(workerChannel(second.worker));
  second.say("message", ready);
  const reasons: string[] = [];
  const calm = await opening;
  calm.onFailure((reason) => reasons.push(reason));
  const closing = calm.shutdown();
  expect(second.posted.map(({ type }) => type)).toEqual(["shutdown"]);
  second.say("message", { data: { type: "stopped" } });
  await closing;
  expect([second.terminated(), reasons]).toEqual([1, []]);
  expect(posted.map(({ type }) => type)).toEqual(["tokenize"]);
});
