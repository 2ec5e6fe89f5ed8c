/** Commands with a Lean of one's own: a project folder whose `lake` and REPL are programs of the test, and a server. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startKimina } from "../../src/prove/lean/testing-kimina.ts";
import { embeddedRepl } from "../../src/prove/lean/testing-repl.ts";
import { prepareLean } from "../../src/prove/lean/wasm/prepare.ts";
import { commandsIn } from "../command-process.ts";
import { cache, LIMIT, missing } from "./embedded-lean.ts";

const work = mkdtempSync(join(tmpdir(), "deepseek-ts-own-lean-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));

function write(path: string, text: string): void {
  mkdirSync(dirname(join(work, path)), { recursive: true });
  writeFileSync(join(work, path), text);
}
function writeProgram(path: string, text: string): void {
  write(path, `#!/bin/sh\n${text}\n`);
  chmodSync(join(work, path), 0o755);
}

const env = {
  PATH: `${join(work, "bin")}${delimiter}${process.env.PATH}`,
  DEEPSEEK_TS_CACHE: join(work, "no-cache"),
};
const { run } = commandsIn(work, env);
const parsed = (out: string) =>
  out
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

// `lake` and the REPL are shell scripts here.
describe.skipIf(missing !== null || process.platform === "win32")(`commands ${missing ?? ""}`, () => {
  const proofs = [
    {
      name: "right",
      statement: "theorem t (n : Nat) : n + 0 = n := sorry",
      proof: "theorem t (n : Nat) : n + 0 = n := rfl",
    },
    { name: "left out", statement: "theorem t : 1 = 2 := sorry", proof: "theorem t : 1 = 2 := sorry" },
  ];
  const verdicts = [
    { name: "right", verdict: "proved" },
    { name: "left out", verdict: "sorry" },
  ];

  beforeAll(async () => {
    const { command, args } = embeddedRepl(await prepareLean({ cache }));
    const quoted = [command, ...args].map((word) => `'${word}'`).join(" ");
    // Like lake, it starts the program as a child and waits for it.
    writeProgram("bin/lake", '[ "$1" = env ] || exit 9\nshift\n"$@"');
    writeProgram("repl/.lake/build/bin/repl", `exec ${quoted}`);
    write("mine/lean-toolchain", "leanprover/lean4:v4.28.0\n");
    write(
      "mine/lake-manifest.json",
      JSON.stringify({ packages: [{ name: "batteries", rev: "54bb04c3119f24fd" }] }),
    );
    write("proofs.jsonl", proofs.map((proof) => `${JSON.stringify(proof)}\n`).join(""));
  }, 20 * LIMIT);

  it("verify with a project uses its Lean", { timeout: 20 * LIMIT }, async () => {
    const flags = ["--project", "mine", "--parallel", "1", "--timeout", "120", "--json"];
    const { code, out, err } = await run("verify", "proofs.jsonl", ...flags);
    expect([code, err]).toEqual([1, ""]);
    expect(parsed(out)).toEqual(verdicts.map((line) => expect.objectContaining(line)));
  });

  it("prover doctor tells the project's Lean and libraries, and that it works", {
    timeout: 20 * LIMIT,
  }, async () => {
    const { code, out } = await run("prover", "doctor", "--project", "mine", "--parallel", "1", "--json");
    expect([code, parsed(out)[0]]).toEqual([
      0,
      expect.objectContaining({
        toolchain: "leanprover/lean4:v4.28.0",
        lean: "leanprover/lean4:v4.28.0 batteries@54bb04c3119f",
      }),
    ]);
  });

  it("verify with a Kimina server asks it, with the key of the environment", {
    timeout: 20 * LIMIT,
  }, async () => {
    await using server = await startKimina(embeddedRepl(await prepareLean({ cache })), "secret");
    const flags = ["--lean", `kimina=${server.url}`, "--parallel", "1", "--timeout", "120", "--json"];
    const own = commandsIn(work, { ...env, LEAN_SERVER_API_KEY: "secret" });
    const { code, out, err } = await own.run("verify", "proofs.jsonl", ...flags);
    expect([code, err]).toEqual([1, ""]);
    expect(parsed(out)).toEqual(verdicts.map((line) => expect.objectContaining(line)));
    const refused = await run("verify", "proofs.jsonl", ...flags);
    expect([refused.code, refused.err]).toEqual([3, expect.stringContaining("LEAN_SERVER_API_KEY")]);
  });

  it("says what is missing in a project", { timeout: LIMIT }, async () => {
    write("bare/sub/lean-toolchain", "leanprover/lean4:v4.9.0\n");
    const { code, err } = await run("prover", "doctor", "--project", "bare/sub");
    expect([code, err]).toEqual([3, expect.stringMatching(/REPL is missing.*git clone/s)]);
  });
});
