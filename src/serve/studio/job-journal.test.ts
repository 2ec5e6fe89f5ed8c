import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { JobJournal } from "./job-journal.ts";
import type { JobView } from "./protocol.ts";
import { startTestStudio, testFolder } from "./testing.ts";

const folder = testFolder();
afterEach(() => folder.remove());

const job = (id: string, more: Partial<JobView> = {}): JobView => ({
  ...{
    id,
    kind: "train",
    state: "running",
    title: `train ${id}`,
    model: null,
    added: 5,
    started: 6,
    ended: null,
  },
  ...{
    lastEvent: 17,
    firstEvent: 1,
    progress: null,
    error: null,
    result: { run: { root: "work", path: id } },
  },
  ...more,
});
/** The journal of a process that is gone: ids of processes end far below. */
const gone = (jobs: readonly JobView[], format = "deepseek-ts studio jobs") =>
  JSON.stringify({ format, owner: { pid: 2 ** 30, started: "1", host: hostname() }, jobs });

describe("a journal", () => {
  it("has what runs, and no file when nothing does", async () => {
    const at = join(folder.path, "own");
    const journal = await JobJournal.open(at, "one", () => {});
    await Promise.all([
      journal.begin(job("a")),
      journal.begin(job("b")),
      journal.end("a"),
      journal.end("never"),
    ]);
    expect(readdirSync(at)).toEqual(["jobs-one.json"]);
    // This process lives: its jobs are not interrupted.
    expect((await JobJournal.open(at, "two", () => {})).interrupted).toEqual([]);
    await journal.end("b");
    expect(readdirSync(at)).toEqual([]);
  });

  it("says of jobs of a server that is gone what is there and what to do, once", async () => {
    mkdirSync(folder.path, { recursive: true });
    writeFileSync(
      join(folder.path, "jobs-old.json"),
      gone([
        job("first"),
        job("interrupted-under-this-id", { added: 1 }),
        job("second", { added: 9, kind: "download" }),
      ]),
    );
    writeFileSync(join(folder.path, "jobs-bad.json"), "{");
    writeFileSync(join(folder.path, "jobs-other.json"), gone([job("third")], "of another program"));
    writeFileSync(join(folder.path, "notes.json"), gone([job("fourth")]));
    await using t = await startTestStudio({ model: null, journal: folder.path });
    const { body } = await t.ask("/studio/api/jobs");
    expect(body).toMatchObject([
      {
        id: "second",
        state: "interrupted",
        error: { message: expect.stringContaining("download it again") },
      },
      {
        id: "first",
        state: "interrupted",
        result: { run: { path: "first" } },
        error: { message: expect.stringContaining("resume") },
      },
      { id: "interrupted-under-this-id" },
    ]);
    const again = { kind: "check", body: { source: "" }, id: "interrupted-under-this-id" };
    expect(await t.ask("/studio/api/jobs", again)).toMatchObject({
      status: 409,
      body: { error: { code: "id_taken" } },
    });
    expect((await t.ask("/studio/api/jobs/first")).body).toEqual(body[1]);
    expect((await t.events("first", 3)).map(({ event }) => event)).toEqual([{ type: "end", job: body[1] }]);
    expect((await t.ask("/studio/api/jobs/unknown")).status).toBe(404);
    expect(readdirSync(folder.path).sort()).toEqual(["jobs-bad.json", "jobs-other.json", "notes.json"]);
  });
});
