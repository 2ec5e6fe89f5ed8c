import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { CheckAnswer, LeanSession, Verdict, VerifyAnswer } from "../lean/session.ts";
import { CheckedLean, sha256 } from "./checked-lean.ts";
import type { NewProof } from "./proof.ts";
import { ProofStore } from "./store.ts";

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "proofs-"));
  path = join(folder, "proofs.sqlite");
});
afterEach(() => rm(folder, { recursive: true }));

const identity = { model: "m", lean: "4.28", search: "sample", samples: 8 };
const proof: NewProof = {
  ...{ side: "statement", text: "by simp", textSha256: sha256("by simp"), tokens: 3, axioms: ["propext"] },
  ...{ model: "m", lean: "4.28", search: "sample", cost: 2 },
};

describe("a proof store", () => {
  it("gives back what was kept, after it was opened again", async () => {
    {
      using store = await ProofStore.open(path);
      const { id } = store.beginSearch("p", identity, 7);
      expect(store.completeAttempt(id, { tree: 0, seq: 1, event: { text: "é\n\0" } })).toBe(true);
      expect(store.completeAttempt(id, { tree: 0, seq: 0, event: [1] }, proof)).toBe(true);
    }
    using store = await ProofStore.open(path, { durable: true });
    const { id, status } = store.beginSearch("p", identity, 7);
    expect(status).toBe("open");
    // In the order of completion, not of beginning.
    expect(store.attempts(id)).toEqual([
      { tree: 0, seq: 1, event: { text: "é\n\0" } },
      { tree: 0, seq: 0, event: [1] },
    ]);
    expect(store.proofsOfSearch(id)).toMatchObject([proof]);
    store.endSearch(id, "proved");
    expect(store.beginSearch("p", identity, 7)).toEqual({ id, seed: 7, status: "proved" });
  });

  it("counts an attempt once, and its proof", async () => {
    using store = await ProofStore.open(path);
    const { id } = store.beginSearch("p", identity, 7);
    const attempt = { tree: 2, seq: 5, event: 1 };
    expect(store.completeAttempt(id, attempt, proof)).toBe(true);
    expect(
      store.completeAttempt(id, { ...attempt, event: 2 }, { ...proof, text: "other", textSha256: "o" }),
    ).toBe(false);
    expect(store.attempts(id)).toEqual([attempt]);
    expect(store.proofsOfSearch(id).length).toBe(1);
    expect(store.addProof(proof, { search: id })).toBe(false);
  });

  it("keeps both attempt and proof or neither", async () => {
    using store = await ProofStore.open(path);
    const { id } = store.beginSearch("p", identity, 7);
    const faulty = { ...proof, text: null as unknown as string };
    expect(() => store.completeAttempt(id, { tree: 0, seq: 0, event: 1 }, faulty)).toThrow();
    expect(store.attempts(id)).toEqual([]);
  });

  it("goes on with an unfinished search under the same settings alone, and says what differs", async () => {
    using store = await ProofStore.open(path);
    const first = store.beginSearch("p", identity, 7);
    expect(store.beginSearch("p", { ...identity }, 7).id).toBe(first.id);
    expect(() => store.beginSearch("p", { ...identity, samples: 9 }, 7)).toThrow(
      /expected: samples 8; found: samples 9.*--fresh/,
    );
    expect(() => store.beginSearch("p", identity, 8)).toThrow(/expected: seed 7; found: seed 8/);
    expect(store.beginSearch("q", { ...identity, samples: 9 }, 7).id).not.toBe(first.id);
    expect(store.beginSearch("p", { ...identity, samples: 9 }, 7, { fresh: true }).id).not.toBe(first.id);
  });

  it("leaves files of others alone", async () => {
    await writeFile(path, "notes of mine, which are no database at all".repeat(100));
    await expect(ProofStore.open(path)).rejects.toThrow(/no proof store/);
    expect(await readFile(path, "utf8")).toMatch(/^notes of mine/);
    const { DatabaseSync } = await import("node:sqlite");
    const other = join(folder, "other.sqlite");
    const database = new DatabaseSync(other);
    database.exec("CREATE TABLE mine (x)");
    database.close();
    await expect(ProofStore.open(other)).rejects.toThrow(/database of another program/);
    const newer = join(folder, "newer.sqlite");
    (await ProofStore.open(newer))[Symbol.dispose]();
    const changed = new DatabaseSync(newer);
    changed.exec("PRAGMA user_version = 99");
    changed.close();
    await expect(ProofStore.open(newer)).rejects.toThrow(/newer deepseek-ts.*found: 99/);
    await expect(ProofStore.open(join(folder, "none", "x.sqlite"))).rejects.toThrow(/cannot be opened/);
  });

  it("says that another process holds it, and takes nothing for damage that is none", async () => {
    const { DatabaseSync } = await import("node:sqlite");
    using store = await ProofStore.open(path, { busyMs: 20 });
    const other = new DatabaseSync(path);
    const held = /proofs\.sqlite: another process holds the proof store; found: .*locked/;
    other.exec("BEGIN EXCLUSIVE");
    expect(() => store.beginSearch("p", identity, 7)).toThrow(held);
    expect(() => store.setSetting("a", 1)).toThrow(held);
    await expect(ProofStore.open(path, { busyMs: 20 })).rejects.toThrow(held);
    other.exec("COMMIT");
    other.close();
    expect(store.beginSearch("p", identity, 7).status).toBe("open");
    await writeFile(join(folder, "text.sqlite"), "hello, this is a text and no database of any kind");
    await expect(ProofStore.open(join(folder, "text.sqlite"))).rejects.toThrow(
      /no proof store, or a damaged/,
    );
  });

  it("loses nothing that was committed when its process is killed", { timeout: 120_000 }, async () => {
    const program = fileURLToPath(new URL("testing-writer.ts", import.meta.url));
    let committed = -1;
    for (let round = 0; round < 3; round++) {
      const writer = spawn(process.execPath, [program, path], { stdio: ["ignore", "pipe", "inherit"] });
      let seen = "";
      writer.stdout.on("data", (data: Buffer) => {
        seen += data;
        if (seen.split("\n").length > 20 * (round + 1)) writer.kill("SIGKILL");
      });
      await once(writer, "close");
      const last = Number(seen.slice(0, seen.lastIndexOf("\n")).split("\n").at(-1));
      expect(last).toBeGreaterThan(committed);
      committed = last;
      using store = await ProofStore.open(path);
      const { id } = store.beginSearch("killed", identity, 0);
      const attempts = store.attempts(id).map(({ seq }) => seq);
      // Every one that was reported, each once, in order; at most one more that had no time to be reported.
      expect(attempts).toEqual(attempts.map((_, i) => i));
      expect(attempts.length).toBeGreaterThanOrEqual(committed + 1);
      expect(store.proofsOfSearch(id).length).toBe(attempts.length);
    }
  });
});

/** Answers by the text of the code, and counts. */
class CountingLean implements LeanSession {
  readonly kind = "wasm";
  readonly slots = 1;
  asked = 0;
  readonly version: string;

  constructor(version = "Lean 4.28") {
    this.version = version;
  }

  async ready() {}

  async check({ code }: { readonly code: string }): Promise<CheckAnswer> {
    this.asked++;
    await null;
    const failure = code === "slow" ? "timeout" : null;
    return {
      complete: true,
      messages: [],
      sorries: [],
      refused: null,
      failure,
      steps: [],
      milliseconds: this.asked,
    };
  }

  async verify(_: unknown, code: string): Promise<VerifyAnswer> {
    const answer = await this.check({ code });
    const verdict = (["timeout", "memory", "crash"].includes(code) ? code : "proved") as Verdict;
    return { ...answer, verdict, detail: "", name: "t", axioms: [] };
  }

  async [Symbol.asyncDispose]() {}
}

describe("a Lean that remembers", () => {
  const problem = { statement: "theorem t : True := sorry" };

  it("asks once for the same question, and again for any other", async () => {
    using store = await ProofStore.open(":memory:");
    const lean = new CountingLean();
    const checked = new CheckedLean(lean, store);
    const first = await checked.verify(problem, "a");
    expect(await checked.verify({ ...problem, imports: ["Init"], preamble: "" }, "a")).toEqual(first);
    expect(lean.asked).toBe(1);
    const others = [
      () => checked.verify(problem, "a "),
      () => checked.verify({ ...problem, preamble: "open Nat" }, "a"),
      () => checked.verify({ ...problem, trustedPreamble: true }, "a"),
      () => checked.verify({ ...problem, imports: ["Std"] }, "a"),
      () => checked.verify({ statement: "theorem u : True := sorry" }, "a"),
      () => checked.verify(problem, "a", { heartbeats: 1 }),
      () => checked.verify(problem, "a", { steps: true }),
      () => checked.check({ code: "a" }),
      () => new CheckedLean(new CountingLean("Lean 4.29"), store).verify(problem, "a"),
    ];
    for (const [i, ask] of others.entries()) {
      const before = store.verdictCounts();
      await ask();
      const counts = (of: Readonly<Record<string, number>>) => Object.values(of).reduce((a, b) => a + b, 0);
      expect(counts(store.verdictCounts()), `question ${i}`).toBe(counts(before) + 1);
    }
    expect(checked.counts.hits).toBe(1);
  });

  it("does not keep what the machine decided", async () => {
    using store = await ProofStore.open(":memory:");
    const lean = new CountingLean();
    const checked = new CheckedLean(lean, store);
    for (const code of ["timeout", "memory", "crash"]) {
      await checked.verify(problem, code);
      await checked.verify(problem, code);
    }
    await checked.check({ code: "slow" });
    await checked.check({ code: "slow" });
    expect(lean.asked).toBe(8);
    expect(store.verdictCounts()).toEqual({});
  });

  it("lets equal questions at the same time wait for one answer", async () => {
    using store = await ProofStore.open(":memory:");
    const lean = new CountingLean();
    const checked = new CheckedLean(lean, store);
    const answers = await Promise.all([1, 2, 3].map(() => checked.verify(problem, "same")));
    expect(lean.asked).toBe(1);
    expect(answers[1]).toEqual(answers[0]);
    await expect(checked.verify(problem, "same", { signal: AbortSignal.abort() })).rejects.toThrow();
  });
});
