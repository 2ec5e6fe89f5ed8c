/** What a session does around the REPL; a script answers, and it believes every proof. Real Lean: `own-lean.test.ts`. */
import { afterEach, expect, test } from "vitest";
import { LeanError } from "./lean-error.ts";
import { NativeLean, type NativeLeanOptions } from "./native.ts";
import { scriptedRepl } from "./repl/testing.ts";

const PROBLEM = {
  statement: "theorem A.t (n : Nat) : n = n := sorry",
  preamble: "open Nat",
  imports: ["Std"],
};
const PROOF = "theorem A.t (n : Nat) : n = n := rfl";

/**
 * Answers as a REPL that accepts everything. `say` is called with each command before: `log` writes into the messages of the next
 * judgement, words in a command do what they say.
 */
const BELIEVER = `(() => {
  let envs = 0;
  const log = [];
  return ({ cmd, env }, say) => {
    log.push([env ?? null, cmd.replace(/_[0-9a-f]{32}/g, "")]);
    if (cmd.includes("die")) process.exit(1);
    if (cmd.includes("sleep_forever")) return;
    if (cmd.includes("grow")) { globalThis.kept = Buffer.alloc(3e8, 1); return; }
    const messages = [];
    const message = (line, data, severity = "info") => messages.push({ severity, pos: { line, column: 0 }, data });
    const judged = /#print axioms (\\S+)/.exec(cmd)?.[1];
    const checked = /#check @(\\S+)/.exec(cmd)?.[1];
    if (checked) message(1, checked + " : P");
    if (cmd.includes("wrong")) message(1, "it is wrong", "error");
    if (cmd.includes("LOG")) message(1, JSON.stringify([process.pid, log]));
    if (judged) { message(4, "theorem A.t : P"); message(5, "'" + judged + "' does not depend on any axioms"); }
    say(JSON.stringify({ env: envs++, ...(messages.length > 0 ? { messages } : {}) }, null, 2) + "\\n\\n");
  };
})()`;

const open: NativeLean[] = [];
const session = (options: Omit<NativeLeanOptions, "project"> = {}, script = BELIEVER) => {
  const lean = new NativeLean(scriptedRepl(script), "scripted", { processes: 1, ...options });
  open.push(lean);
  return lean;
};
afterEach(async () => {
  for (const lean of open.splice(0)) await lean[Symbol.asyncDispose]();
});
/** Id of the process and what it was asked. */
const logOf = async (lean: NativeLean): Promise<[number, [number | null, string][]]> =>
  JSON.parse((await lean.check({ code: "LOG" })).messages[0].text);

test("environments are chained, and those of the problem are made once", async () => {
  const lean = session();
  expect(await lean.verify(PROBLEM, PROOF)).toMatchObject({
    verdict: "proved",
    name: "A.t",
    axioms: [],
    complete: true,
  });
  const settings = "set_option autoImplicit false\nset_option relaxedAutoImplicit false";
  const proof =
    "theorem _root_._judged : type_of% @_root_.A._reference := by\n  guard_target =ₐ type_of% @_root_.A.t\n";
  const questions =
    "  exact @_root_.A.t\n#print _root_.A.t\nset_option pp.fullNames true in #print axioms _judged";
  const first = [
    [null, `import Std\n${settings}`],
    [0, "open Nat"],
    [1, "set_option maxHeartbeats 200000"],
    [2, "theorem A._reference (n : Nat) : n = n := sorry"],
    [3, "set_option pp.fullNames true in set_option pp.universes true in #check @A._reference"],
    [3, PROOF],
    [5, proof + questions],
  ];
  await lean.verify(PROBLEM, `${PROOF}\n`);
  const [, log] = await logOf(lean);
  expect(log.slice(0, 9)).toEqual([...first, [3, `${PROOF}\n`], [7, proof + questions]]);
});

test("a process that dies is replaced; text that ends a second one is the crash of its own check", async () => {
  const lean = session();
  const [first] = await logOf(lean);
  process.kill(first, "SIGKILL");
  expect((await lean.check({ code: "x" })).failure).toBeNull();
  expect(await lean.verify(PROBLEM, "die")).toMatchObject({
    verdict: "crash",
    failure: "crash",
    name: "A.t",
  });
  expect((await lean.verify(PROBLEM, PROOF)).verdict).toBe("proved");
  expect((await logOf(lean))[0]).not.toBe(first);
});

test("a check beyond its time or memory is ended, and the next one is answered by another process", async () => {
  const lean = session({ memory: 2e8 });
  const [first] = await logOf(lean);
  expect((await lean.verify(PROBLEM, "sleep_forever", { timeout: 300 })).verdict).toBe("timeout");
  // Beyond what a timer can wait for, it would end at once.
  await expect(lean.verify(PROBLEM, PROOF, { timeout: 1e12 })).rejects.toThrow(/timeout; .*1000000000/);
  const [second] = await logOf(lean);
  expect(second).not.toBe(first);
  if (process.platform === "linux") expect((await lean.check({ code: "grow" })).failure).toBe("memory");
  expect((await lean.check({ code: "x" })).failure).toBeNull();
});

test("processes are replaced after their number of uses", async () => {
  const lean = session({ uses: 12 });
  const ids = new Set<number>();
  for (let i = 0; i < 24; i++) ids.add((await logOf(lean))[0]);
  expect(ids.size).toBeGreaterThanOrEqual(2);
  expect(ids.size).toBeLessThanOrEqual(3);
});

test("problems that Lean refuses are told from answers that it refuses", async () => {
  const lean = session();
  const verdict = async (problem: Partial<typeof PROBLEM>, code = PROOF) => {
    const { verdict, detail } = await lean.verify({ ...PROBLEM, ...problem }, code);
    return [verdict, detail];
  };
  expect(await verdict({}, "wrong")).toEqual(["error", "1:0: it is wrong"]);
  expect(await verdict({ preamble: "wrong" })).toEqual(["bad preamble", "1:0: it is wrong"]);
  expect(await verdict({ statement: "theorem t : wrong := sorry" })).toEqual([
    "bad statement",
    "1:0: it is wrong",
  ]);
  expect(await verdict({ imports: ["Std\n#eval 1"] })).toEqual([
    "bad preamble",
    "no name of a module: Std\n#eval 1",
  ]);
  expect(await verdict({}, "#eval 1")).toEqual(["refused", "command #eval"]);
  expect((await lean.check({ code: "a\n  #eval 1" })).refused).toEqual({
    ...{ reason: "command #eval", at: { line: 2, column: 2, index: 4 } },
  });
});

test("an answer that does not name the theorem that was judged proves nothing", async () => {
  const forged = BELIEVER.replace('"\'" + judged + "\' does', "\"'A.t' does");
  expect(forged).not.toBe(BELIEVER);
  expect((await session({}, forged).verify(PROBLEM, PROOF)).verdict).toBe("error");
  const silent = BELIEVER.replace("if (judged)", "if (false)");
  expect((await session({}, silent).verify(PROBLEM, PROOF)).verdict).toBe("changed statement");
});

test("a signal ends a check that runs and one that waits", async () => {
  const lean = session();
  const controller = new AbortController();
  const { signal } = controller;
  const running = lean.check({ code: "sleep_forever" }, { signal });
  const waiting = lean.check({ code: "x" }, { signal });
  setTimeout(() => controller.abort(new Error("enough")), 200);
  await expect(running).rejects.toThrow("enough");
  await expect(waiting).rejects.toThrow("enough");
  expect((await lean.check({ code: "x" })).failure).toBeNull();
});

test("Lean that does not start is an error, no verdict, and so is one that accepts a cheat", async () => {
  const missing = new NativeLean({ command: "no-such-lake", args: [], folder: "." }, "");
  await expect(missing.verify(PROBLEM, PROOF)).rejects.toThrow(LeanError);
  await expect(missing.ready()).rejects.toThrow("no-such-lake");
  await expect(session().ready()).rejects.toThrow("does not judge a known proof as it must");
});
