/** Drawings as jobs: the pictures of `/v1`, as they grow, and nothing drawn once one is stopped. */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, it } from "vitest";
import { worldCheckpoint } from "../../data/world/testing-checkpoints.ts";
import { createCpuDevice } from "../../tensor/cpu/backend.ts";
import type { JobEvent } from "./protocol.ts";
import { startTestStudio } from "./testing.ts";

const picturesOf = (events: readonly JobEvent[]) =>
  events.flatMap(({ event }) => (event.type === "picture" ? [event.picture] : []));

it("gives partial and finished pictures, read again as they were, and stops", {
  timeout: 240_000,
}, async () => {
  await using t = await startTestStudio({ model: null });
  await using device = await createCpuDevice({ threads: 1 });
  for (const [name, bytes] of await worldCheckpoint("janus", device)) {
    const path = join(t.root, "janus", name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, bytes);
  }
  await t.open("work/janus");
  const body = {
    model: "work/janus",
    prompt: "a red ring left of a blue cross",
    n: 2,
    seed: 5,
    partial_images: 1,
  };
  const { id } = await t.job({ kind: "draw", body });
  const events = await t.events(id);
  const pictures = picturesOf(events);
  expect(pictures.map(({ type }) => type).sort()).toEqual([
    ...Array(2).fill("image_generation.completed"),
    ...Array(2).fill("image_generation.partial_image"),
  ]);
  const last = events.at(-1)!.event;
  expect(last).toMatchObject({
    job: { state: "done", title: body.prompt, progress: { done: 2, total: 2, unit: "pictures" } },
  });
  const whole = await t.ask("/v1/images/generations", {
    ...body,
    partial_images: 0,
    response_format: "b64_json",
  });
  const finished = pictures.filter(({ type }) => type === "image_generation.completed");
  for (const { index, b64_json } of finished) {
    expect(b64_json).toBe(whole.body.data[index as number].b64_json);
  }
  expect(picturesOf(await t.events(id, 1))).toEqual(pictures);

  const long = await t.job({ kind: "draw", body: { ...body, n: 8 } });
  await t.events(long.id, 0, ({ event }) => event.type === "picture");
  const { body: stopped } = await t.ask(`/studio/api/jobs/${long.id}`, undefined, { method: "DELETE" });
  expect(stopped.state).toBe("canceled");
  const engine = t.studio.engineOf("work/janus")!;
  const { drawn, running } = (await engine.figures())!.drawings!;
  expect([running, engine.active]).toEqual([0, 0]);
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect((await engine.figures())!.drawings!.drawn).toBe(drawn);
});
