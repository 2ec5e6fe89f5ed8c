import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeModelFolder } from "../../engine/testing-folder.ts";
import { nodeFolderSink } from "../../files/folder-sink.ts";
import { MANIFEST } from "../../files/manifest.ts";
import { writeWhole } from "../../files/sink.ts";
import { TestingHub } from "../../pretrained/testing-hub.ts";
import type { JobView } from "./protocol.ts";
import { startTestStudio, type TestStudio, testFolder } from "./testing.ts";

const cache = testFolder();
const total = 64e9;
let free = 32e9;
let hub: TestingHub;
let t: TestStudio;
const files = new Map<string, Uint8Array>();
beforeAll(async () => {
  hub = await TestingHub.start();
  t = await startTestStudio({
    hub: { endpoint: hub.endpoint, cacheDir: cache.path, token: null },
    memory: () => ({ total, free }),
  });
  const tiny = join(t.root, "tiny");
  for (const name of readdirSync(tiny)) {
    if (name !== MANIFEST) files.set(name, readFileSync(join(tiny, name)));
  }
  hub.repos.set("org/small", { commit: "0123456789".repeat(4), files });
});
afterAll(async () => {
  await t[Symbol.asyncDispose]();
  await hub[Symbol.asyncDispose]();
  cache.remove();
});

const ended = async (id: string): Promise<JobView> => {
  const last = (await t.events(id)).at(-1)!.event;
  if (last.type !== "end") throw new Error("no end");
  return last.job;
};
const entryOf = async (name: string) =>
  (await t.ask("/studio/api/models")).body.models.find(({ model }: { model: string }) => model === name);
const remove = (model: string) =>
  t.ask(`/studio/api/models?model=${encodeURIComponent(model)}`, undefined, { method: "DELETE" });

describe("a download", () => {
  it("goes on where it stopped, and gives a model that opens without the hub", async () => {
    hub.faults.push({ path: "model.safetensors", times: 1, kind: "stall", after: 40_000 });
    const first = await t.job({ kind: "download", body: { model: "org/small" } });
    await t.events(first.id, 0, ({ event }) => event.type === "progress" && event.progress.done > 30_000);
    const stopped = await t.ask(`/studio/api/jobs/${first.id}`, undefined, { method: "DELETE" });
    expect(stopped.body.state).toBe("canceled");
    expect(await entryOf("org/small")).toMatchObject({ from: "hub", partial: true });
    const early = await t.ask("/studio/api/jobs", { kind: "open", body: { model: "org/small" } });
    expect(early).toMatchObject({ status: 409, body: { error: { code: "model_incomplete" } } });

    hub.seen.length = 0;
    const again = await t.job({ kind: "download", body: { model: "org/small" } });
    expect(await ended(again.id)).toMatchObject({ state: "done", result: { files: files.size } });
    expect(hub.seen.some(({ range }) => range !== null && range !== "bytes=0-")).toBe(true);
    const bytes = [...files.values()].reduce((sum, each) => sum + each.length, 0);
    expect(await entryOf("org/small")).toMatchObject({ partial: false, state: "closed", size: bytes });
    hub.seen.length = 0;
    await t.open("org/small");
    expect(hub.seen).toEqual([]);
    expect(await remove("org/small")).toMatchObject({ status: 409, body: { error: { code: "model_open" } } });
    await t.ask("/studio/api/models/close", { model: "org/small" });
    expect(await remove("org/small")).toMatchObject({ status: 200, body: { model: "org/small", bytes } });
    expect(readdirSync(cache.path)).toEqual([]);
    expect(await entryOf("org/small")).toBeUndefined();
  });

  it("fails with the hub's word for a model that is not there", async () => {
    const { id } = await t.job({ kind: "download", body: { model: "org/absent" } });
    expect(await ended(id)).toMatchObject({
      state: "failed",
      error: { message: expect.stringContaining("org/absent") },
    });
    for (const model of ["absent", "../etc", "http://evil.example/x", "a/b/c"]) {
      expect((await t.ask("/studio/api/jobs", { kind: "download", body: { model } })).status).toBe(400);
    }
  });
});

describe("deleting", () => {
  it("takes what this program made, and leaves everything else", async () => {
    const sink = await nodeFolderSink(join(t.root, "own"));
    for (const [name, bytes] of files) await writeWhole(await sink.file(name), bytes);
    await sink.commit();
    expect((await remove("work/own")).body.bytes).toBeGreaterThan(1000);
    expect(existsSync(join(t.root, "own"))).toBe(false);
    const foreign = join(t.root, "foreign");
    mkdirSync(foreign);
    for (const [name, bytes] of files) writeFileSync(join(foreign, name), bytes);
    expect(await remove("work/foreign")).toMatchObject({
      status: 409,
      body: { error: { code: "not_deleted" } },
    });
    // One file more than was written here.
    writeFileSync(join(t.root, "tiny", "notes.txt"), "notes");
    expect((await remove("work/tiny")).body.error.message).toContain("notes.txt");
    writeFileSync(join(t.root, "foreign.gguf"), "GGUF of another program");
    expect((await remove("work/foreign.gguf")).status).toBe(409);
    for (const model of ["work", "work/..", "work/../x", "org/never", "work/own"]) {
      expect((await remove(model)).status, model).toBe(404);
    }
    expect(readdirSync(foreign)).toHaveLength(files.size);
    expect(existsSync(join(t.root, "tiny", "config.json"))).toBe(true);
    expect(existsSync(join(t.root, "foreign.gguf"))).toBe(true);
  });
});

it("lists and opens no model that a link outside leads to", async () => {
  const away = testFolder();
  await writeModelFolder(join(away.path, "model"));
  symlinkSync(join(away.path, "model"), join(t.root, "away"));
  expect(await entryOf("work/away")).toBeUndefined();
  expect((await t.ask("/studio/api/jobs", { kind: "open", body: { model: "work/away" } })).status).toBe(404);
  expect((await t.ask("/studio/api/models/inspect?model=work/away")).status).toBe(404);
  away.remove();
});

it("inspects a model, and says whether it fits", async () => {
  const { body } = await t.ask("/studio/api/models/inspect?model=work/tiny");
  expect(body).toMatchObject({
    model: "work/tiny",
    report: { folder: "work/tiny" },
    fits: { yes: true, available: free },
  });
  expect(body.report.parameters.total).toBe((await entryOf("work/tiny")).parameters);
  expect(body.fits.needed).toBeGreaterThan(body.report.bytes);
  free = body.fits.needed - 1;
  expect((await t.ask("/studio/api/models/inspect?model=work/tiny")).body.fits.yes).toBe(false);
  free = 32e9;
  mkdirSync(join(t.root, "damaged"));
  writeFileSync(join(t.root, "damaged", "config.json"), "{");
  writeFileSync(join(t.root, "damaged", "model.safetensors"), "no weights");
  const damaged = await t.ask("/studio/api/models/inspect?model=work/damaged");
  expect(damaged).toMatchObject({
    status: 400,
    body: { error: { message: expect.stringContaining("config.json") } },
  });
});

describe("names", () => {
  it("of a root and of the cache at once are the root's, in the list as for everything else", async () => {
    hub.repos.set("work/tiny", { commit: "0123456789".repeat(4), files });
    const { id } = await t.job({ kind: "download", body: { model: "work/tiny" } });
    expect(await ended(id)).toMatchObject({ state: "done" });
    const { models } = (await t.ask("/studio/api/models")).body;
    const found = models.filter(({ model }: { model: string }) => model === "work/tiny");
    expect(found).toMatchObject([{ from: { root: "work", path: "tiny" } }]);
  });

  it("that are two for one open model delete it under neither", async () => {
    await t.open();
    symlinkSync(join(t.root, "tiny"), join(t.root, "alias"));
    for (const name of ["work/tiny", "work/alias"]) {
      expect(await remove(name)).toMatchObject({ status: 409, body: { error: { code: "model_open" } } });
    }
    rmSync(join(t.root, "alias"));
    await t.ask("/studio/api/models/close", { model: "work/tiny" });
  });
});

describe("several models", () => {
  it("are open at once, and /v1 finds each by its name", async () => {
    await writeModelFolder(join(t.root, "other"), { maxPositions: 512 });
    await t.open("work/tiny");
    await t.open("work/other");
    const list = await t.ask("/v1/models");
    expect(
      list.body.data.map(({ id, max_model_len }: Record<string, unknown>) => [id, max_model_len]),
    ).toEqual([
      ["work/tiny", 4096],
      ["work/other", 512],
    ]);
    const body = { prompt: "the of", max_tokens: 2 };
    expect((await t.ask("/v1/completions", { ...body, model: "work/other" })).body.model).toBe("work/other");
    expect((await t.ask("/v1/completions", body)).body.error.code).toBe("no_model_named");
    expect((await t.ask("/v1/completions", { ...body, model: "work/none" })).body.error.code).toBe(
      "model_not_open",
    );
    expect((await t.ask("/tokenize", { model: "work/tiny", text: "the of" })).body.count).toBeGreaterThan(0);
  });

  it("make room for another, the one used longest ago first, or it is refused with the figures", async () => {
    await t.ask("/v1/completions", { model: "work/tiny", prompt: "the of", max_tokens: 2 });
    await writeModelFolder(join(t.root, "third"), { maxPositions: 256 });
    const { needed } = (await t.ask("/studio/api/models/inspect?model=work/third")).body.fits;
    free = needed - 1;
    const { id } = await t.job({ kind: "open", body: { model: "work/third" } });
    expect((await ended(id)).state).toBe("done");
    expect((await entryOf("work/other")).state).toBe("closed");
    expect((await entryOf("work/tiny")).state).toBe("open");
    // More is missing than the two that are open could give.
    free = -1e9;
    const large = await t.job({ kind: "open", body: { model: "work/other", context: 512, dtype: "f32" } });
    expect(await ended(large.id)).toMatchObject({
      state: "failed",
      error: {
        code: "out_of_memory",
        message: expect.stringMatching(/work\/other needs about .*; of 64\.0 GB/),
      },
    });
    expect((await entryOf("work/tiny")).state).toBe("open");
    free = 32e9;
  });

  it("are not closed while they answer", async () => {
    await t.open("work/tiny");
    const messages = [{ role: "user", content: "the of" }];
    const body = { model: "work/tiny", messages, ignore_eos: true, max_tokens: 3000 };
    const { id } = await t.job({ kind: "chat", body });
    await t.events(id, 0, ({ event }) => event.type === "chunk");
    expect(await t.ask("/studio/api/models/close", { model: "work/tiny" })).toMatchObject({
      status: 409,
      body: { error: { code: "model_busy" } },
    });
    await t.ask(`/studio/api/jobs/${id}`, undefined, { method: "DELETE" });
    expect((await t.ask("/studio/api/models/close", { model: "work/tiny" })).status).toBe(200);
    expect((await entryOf("work/tiny")).state).toBe("closed");
  });
});
