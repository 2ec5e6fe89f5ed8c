/** What tests compare of runs in stages: their logs and the tensors that they leave. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { openCheckpoint } from "../../checkpoint/folder.ts";
import { nodeFolder } from "../../checkpoint/node-files.ts";

/** The bytes of each tensor of a checkpoint, in base64. */
export async function tensorsOf(folder: string): Promise<Map<string, string>> {
  const checkpoint = await openCheckpoint(nodeFolder(folder));
  const found = new Map<string, string>();
  for (const name of checkpoint.names()) {
    found.set(name, Buffer.from(await checkpoint.readRaw(name)).toString("base64"));
  }
  await checkpoint.close();
  return found;
}

/** The lines of a run's log without what depends on the machine. */
export const logOf = (run: string) =>
  readFileSync(join(run, "metrics.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line))
    .map(({ speed: _, time: _time, ...rest }) => rest);
