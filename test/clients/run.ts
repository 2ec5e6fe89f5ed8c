/**
 * Drives today's clients from npm against this server, and prints what each does: node test/clients/run.ts [WORD ..].
 * With words, only checks whose client or title holds one of them. Installs the clients beside this file at the first
 * run (1.2 GB); afterwards the network is closed if the system allows it, so that nothing but this server answers.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const here = import.meta.dirname;
const INSIDE = "DEEPSEEK_TS_CLIENTS_INSIDE";
const words = process.argv.slice(2);

function install(): void {
  if (existsSync(join(here, "node_modules", ".package-lock.json"))) return;
  // Not npm ci, which fails if optional packages of other platforms cannot be had; locked versions are kept. No
  // scripts: the programs of command lines are in their own packages.
  const { status } = spawnSync("npm", ["install", "--no-save", "--ignore-scripts"], {
    cwd: here,
    stdio: "inherit",
  });
  if (status !== 0) throw new Error("npm install failed in test/clients");
}

/** Runs this file again if only the loopback interface is there; whether that was possible. */
function closed(): number | null {
  const probe = spawnSync("unshare", ["-rn", "ip", "link", "set", "lo", "up"]);
  if (probe.status !== 0) return null;
  const inner = 'ip link set lo up && exec "$0" "$@"';
  const { status } = spawnSync(
    "unshare",
    ["-rn", "sh", "-c", inner, process.execPath, import.meta.filename, ...words],
    {
      env: { ...process.env, [INSIDE]: "1" },
      stdio: "inherit",
    },
  );
  return status ?? 1;
}

function version(client: string): string {
  return JSON.parse(readFileSync(join(here, "node_modules", client, "package.json"), "utf8")).version;
}

async function runChecks(): Promise<number> {
  const { Servers } = await import("./harness.ts");
  const files = ["./openai-clients.ts", "./ai-sdk.ts", "./langchain.ts", "./command-lines.ts"];
  const all = (await Promise.all(files.map((file) => import(file)))).flatMap((module) => module.checks);
  const checks = (all as import("./harness.ts").Check[]).filter(
    ({ client, what }) =>
      words.length === 0 || words.some((word) => client.includes(word) || what.includes(word)),
  );
  let failed = 0;
  await using servers = new Servers();
  for (const { client, protocol, what, run } of checks) {
    let problem: string | null = null;
    try {
      await run(servers.serve);
    } catch (error) {
      problem = error instanceof Error ? error.message : String(error);
    }
    problem ??= servers.problems.length > 0 ? `the server logged: ${servers.problems.join("; ")}` : null;
    servers.problems.length = 0;
    if (problem !== null) failed++;
    console.log(`${problem === null ? "pass" : "FAIL"}  ${client} ${version(client)}, ${protocol}: ${what}`);
    if (problem !== null) console.log(`      ${problem.slice(0, 2000).replaceAll("\n", "\n      ")}`);
  }
  console.log(`${checks.length - failed} of ${checks.length} pass`);
  return failed === 0 ? 0 : 1;
}

if (process.env[INSIDE] === undefined) {
  install();
  const status = closed();
  if (status !== null) process.exit(status);
  console.log("The network cannot be closed here; going on with it open.");
}
// Whoever asks another host is told that there is none.
Object.assign(process.env, { HTTP_PROXY: "http://127.0.0.1:1", HTTPS_PROXY: "http://127.0.0.1:1" });
Object.assign(process.env, { NO_PROXY: "127.0.0.1,localhost" });
// Clients leave timers and connections behind.
process.exit(await runChecks());
