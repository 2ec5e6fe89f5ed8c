/** What tests of the studio share: one over a small random model, requests to it with its token, reading events. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import { type ModelFolderOptions, writeModelFolder } from "../../engine/testing-folder.ts";
import type { JobEvent, JobRequest, JobView } from "./protocol.ts";
import { type RunningStudio, startStudio } from "./server.ts";
import type { StudioOptions } from "./studio-options.ts";

/** Whatever JSON says. */
type Json = Awaited<ReturnType<Response["json"]>>;

export interface TestStudio extends AsyncDisposable {
  readonly studio: RunningStudio;
  /** The one root, `work`; the model in it is `work/tiny`. */
  readonly root: string;
  /** Lines of the log; disposing fails where there are errors among them. */
  readonly log: string[];
  /** A request with the token; a body goes as JSON. */
  ask(
    path: string,
    body?: unknown,
    init?: RequestInit,
  ): Promise<{ status: number; body: Json; headers: Headers }>;
  /** Adds a job. @throws Error if it is refused */
  job(request: JobRequest): Promise<JobView>;
  /** Events of a job from `after` on, up to its end, or up to one that `until` likes. */
  events(id: string, after?: number, until?: (event: JobEvent) => boolean): Promise<JobEvent[]>;
  /** Opens a model and waits for it. */
  open(model?: string): Promise<JobView>;
}

/** A folder of a name for a test, and how to remove it. */
export function testFolder(): { readonly path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), "deepseek-ts-studio-"));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

export async function startTestStudio(
  options: Partial<StudioOptions> & { readonly model?: ModelFolderOptions | null } = {},
): Promise<TestStudio> {
  const { path, remove } = testFolder();
  const root = join(path, "work");
  const log: string[] = [];
  const { model = { maxPositions: 4096 }, ...rest } = options;
  if (model !== null) await writeModelFolder(join(root, "tiny"), model);
  const studio = await startStudio({
    ...{
      port: 0,
      roots: [root],
      version: "test",
      threads: 1,
      journal: join(path, "journal"),
      log: (line: string) => log.push(line),
    },
    ...rest,
  });
  const authorization = `Bearer ${studio.token}`;
  const request = (at: string, body: unknown, init: RequestInit = {}) =>
    fetch(new URL(at, studio.url), {
      ...(body !== undefined && { method: "POST", body: JSON.stringify(body) }),
      ...init,
      headers: {
        authorization,
        ...(body !== undefined && { "content-type": "application/json" }),
        ...(init.headers as Record<string, string>),
      },
    });
  const ask: TestStudio["ask"] = async (at, body, init) => {
    const answer = await request(at, body, init);
    const text = await answer.text();
    const isJson = answer.headers.get("content-type")?.startsWith("application/json");
    return { status: answer.status, body: isJson ? JSON.parse(text) : text, headers: answer.headers };
  };
  const events: TestStudio["events"] = async (id, after = 0, until = () => false) => {
    const answer = await request(`/studio/api/jobs/${id}/events?after=${after}`, undefined);
    expect(answer.status).toBe(200);
    const found: JobEvent[] = [];
    let rest = "";
    for await (const text of answer.body!.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      for (const line of lines) {
        if (line === "") continue;
        found.push(JSON.parse(line));
        if (until(found.at(-1)!)) return found;
      }
    }
    return found;
  };
  const job: TestStudio["job"] = async (asked) => {
    const { status, body } = await ask("/studio/api/jobs", asked);
    if (status !== 201) throw new Error(`${status}: ${JSON.stringify(body)}`);
    return body;
  };
  return {
    ...{ studio, root, log, ask, job, events },
    async open(model = "work/tiny") {
      const { id } = await job({ kind: "open", body: { model } });
      const last = (await events(id)).at(-1)!;
      if (last.event.type !== "end") throw new Error("no end");
      expect(last.event.job).toMatchObject({ state: "done", error: null });
      return last.event.job;
    },
    async [Symbol.asyncDispose]() {
      await studio.close();
      remove();
      expect(log.filter((line) => /error/i.test(line))).toEqual([]);
    },
  };
}
