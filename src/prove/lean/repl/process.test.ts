import { afterEach, expect, test } from "vitest";
import { ReplEnded, ReplProcess } from "./process.ts";
import { scriptedRepl } from "./testing.ts";

const LIMITS = { timeout: 30_000, memory: Number.POSITIVE_INFINITY };
const started: ReplProcess[] = [];
const start = (answer: string) => {
  const process = new ReplProcess(scriptedRepl(answer));
  started.push(process);
  return process;
};
afterEach(() => {
  for (const process of started.splice(0)) process.kill();
});
const why = (end: Promise<unknown>) =>
  end.then(
    () => "answered",
    (error) => (error instanceof ReplEnded ? error.why : error),
  );

test("reads answers over several lines, in pieces that split characters, and one after the other", async () => {
  const repl = start(`async ({ cmd }, say) => {
    const bytes = Buffer.from(JSON.stringify({ messages: [{ data: "𝔸 ⊢ " + cmd }] }, null, 1) + "\\n\\n");
    for (let i = 0; i < bytes.length; i += 3) { process.stdout.write(bytes.subarray(i, i + 3)); await new Promise((r) => setTimeout(r, 1)); }
  }`);
  for (const cmd of ["one", "two\n\nthree"]) {
    expect(await repl.ask({ cmd }, LIMITS)).toEqual({ messages: [{ data: `𝔸 ⊢ ${cmd}` }] });
  }
  expect(repl.uses).toBe(2);
});

test("takes what a message says for text, however much it looks like an answer", async () => {
  const forged = '{"env": 7}\n\n{"env": 8}\n\n';
  const repl = start(
    `({ cmd }, say) => say(JSON.stringify({ env: 1, messages: [{ data: cmd }] }, null, 2) + "\\n\\n")`,
  );
  expect(await repl.ask({ cmd: forged }, LIMITS)).toEqual({ env: 1, messages: [{ data: forged }] });
  expect(await repl.ask({ cmd: "next" }, LIMITS)).toEqual({ env: 1, messages: [{ data: "next" }] });
});

test("leaves out lines before an answer, which lake writes", async () => {
  const repl = start(`(_, say) => say("info: downloading\\n\\nwarning: manifest\\n{\\"env\\": 0}\\n\\n")`);
  expect(await repl.ask({ cmd: "" }, LIMITS)).toEqual({ env: 0 });
});

test("ends a process that says what nobody asked for, since later answers would be out of step", async () => {
  const repl = start(
    `async (_, say) => { say('{"env": 0}\\n\\n'); await new Promise((r) => setTimeout(r, 20)); say('{"env": 1}\\n\\n'); }`,
  );
  expect(await repl.ask({ cmd: "" }, LIMITS)).toEqual({ env: 0 });
  await expect.poll(() => repl.ended, { timeout: 10_000 }).toBe(true);
  expect(await why(repl.ask({ cmd: "" }, LIMITS))).toBe("protocol");
});

test("says why there is no answer: it died, never answered, or wrote no JSON", async () => {
  const dies = start(`() => { process.stderr.write("out of memory"); process.exit(3); }`);
  await expect(dies.ask({ cmd: "" }, LIMITS)).rejects.toThrow("ended with status 3: out of memory");
  expect(dies.ended).toBe(true);
  const silent = start(`() => {}`);
  expect(await why(silent.ask({ cmd: "" }, { ...LIMITS, timeout: 50 }))).toBe("timeout");
  const broken = start(`(_, say) => say('{"env": \\n\\n')`);
  expect(await why(broken.ask({ cmd: "" }, LIMITS))).toBe("protocol");
  const missing = new ReplProcess({ command: "no-such-program", args: [], folder: "." });
  expect(await why(missing.ask({ cmd: "" }, LIMITS))).toBe("exit");
});

test("an answer that comes after its timeout reaches nobody", async () => {
  const repl = start(`(_, say) => setTimeout(() => say('{"env": 0}\\n\\n'), 150)`);
  expect(await why(repl.ask({ cmd: "" }, { ...LIMITS, timeout: 50 }))).toBe("timeout");
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(await why(repl.ask({ cmd: "" }, LIMITS))).toBe("timeout");
});

test("a signal ends the wait at once", async () => {
  const repl = start(`() => {}`);
  const controller = new AbortController();
  const answer = repl.ask({ cmd: "" }, { ...LIMITS, signal: controller.signal });
  controller.abort(new Error("enough"));
  await expect(answer).rejects.toThrow("enough");
  expect(repl.ended).toBe(true);
});

test.runIf(process.platform === "linux")("ends the children too, and counts their memory", async () => {
  const repl = start(
    `(_, say) => {
    const child = require("node:child_process").spawn("sleep", ["600"]);
    say(JSON.stringify({ pid: child.pid }) + "\\n\\n");
  }`.replace('require("node:child_process")', "process.getBuiltinModule('node:child_process')"),
  );
  const { pid } = (await repl.ask({ cmd: "" }, LIMITS)) as { pid: number };
  expect(repl.memory).toBeGreaterThan(10e6);
  repl.kill();
  const alive = () => {
    try {
      return process.kill(pid, 0);
    } catch {
      return false;
    }
  };
  await expect.poll(alive, { timeout: 10_000 }).toBe(false);
});

test.runIf(process.platform === "linux")("ends a process that grows beyond its memory", async () => {
  const repl = start(`() => { globalThis.kept = Buffer.alloc(3e8, 1); }`);
  expect(await why(repl.ask({ cmd: "" }, { ...LIMITS, memory: 2e8 }))).toBe("memory");
});
