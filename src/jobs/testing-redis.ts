/** A Redis or Valkey of the test's own: nothing is kept, and it goes with the test. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createServer } from "node:net";
import { setTimeout as wait } from "node:timers/promises";

function installed(): string | null {
  for (const name of ["valkey-server", "redis-server"]) {
    try {
      execFileSync(name, ["--version"], { stdio: "ignore" });
      return name;
    } catch {}
  }
  return null;
}

/** The program that is there, or null. */
export const redisProgram = installed();

const freePort = () =>
  new Promise<number>((resolve, reject) => {
    const server = createServer().once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });

const answers = (port: number) =>
  import("node:net").then(
    ({ connect }) =>
      new Promise<boolean>((resolve) => {
        const socket = connect(port, "127.0.0.1", () => {
          socket.destroy();
          resolve(true);
        }).once("error", () => resolve(false));
      }),
  );

export async function startRedis(): Promise<
  { readonly url: string; readonly process: ChildProcess } & Disposable
> {
  const port = await freePort();
  const flags = ["--port", `${port}`, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
  const server = spawn(redisProgram!, flags, { stdio: "ignore" });
  while (!(await answers(port))) {
    if (server.exitCode !== null) throw new Error(`${redisProgram} ended with ${server.exitCode}`);
    await wait(20);
  }
  return {
    ...{ url: `redis://127.0.0.1:${port}`, process: server },
    [Symbol.dispose]: () => server.kill("SIGKILL"),
  };
}
