/** What a model is, by its configuration alone: its system, how many parameters it has, what it needs while it is open. Node only. */
import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { weightLayouts } from "../../checkpoint/folder.ts";
import { openGgufFiles } from "../../checkpoint/gguf/reader.ts";
import { nodeFolder } from "../../checkpoint/node-files.ts";
import { parseJsonObject } from "../../checkpoint/strict-json.ts";
import { readTextFile } from "../../files/text-file.ts";
import { PROVER_FILE } from "../../prove/prover/settings.ts";
import { configFacts, ggufFacts, type ModelFacts, neededBytes, UNKNOWN } from "./config-facts.ts";

/** Bytes of a `config.json` that is looked at. */
const MOST_CONFIG = 4 * 2 ** 20;

/** Facts by path, with the time of the file that they are from. */
const known = new Map<string, { readonly changed: number; readonly facts: ModelFacts }>();
const MOST_KNOWN = 1000;

async function remembered(file: string, read: () => Promise<ModelFacts>): Promise<ModelFacts> {
  const changed = await stat(file).then(
    ({ mtimeMs }) => mtimeMs,
    () => null,
  );
  if (changed === null) return UNKNOWN;
  const before = known.get(file);
  if (before?.changed === changed) return before.facts;
  const facts = await read().catch(() => UNKNOWN);
  if (known.size >= MOST_KNOWN) known.clear();
  known.set(file, { changed, facts });
  return facts;
}

/** Of a model's folder or GGUF file; what cannot be read has no facts. */
export async function modelFacts(path: string): Promise<ModelFacts> {
  if (/\.gguf$/i.test(path)) {
    return await remembered(path, async () => {
      const file = await openGgufFiles(nodeFolder(dirname(path)), basename(path));
      try {
        return ggufFacts(file);
      } finally {
        await file.close();
      }
    });
  }
  const file = join(path, "config.json");
  return await remembered(file, async () => {
    if ((await stat(file)).size > MOST_CONFIG) return UNKNOWN;
    const facts = configFacts(parseJsonObject(await readTextFile(file), file));
    const proves = (await readdir(path)).includes(PROVER_FILE);
    return proves && facts.system !== null ? { ...facts, system: "DeepSeek-Prover" } : facts;
  });
}

/** Bytes of the files of weights in a folder, or of a GGUF file. */
export async function weightFileBytes(path: string): Promise<number> {
  if (/\.gguf$/i.test(path)) return (await stat(path)).size;
  const names = (await readdir(path)).filter((name) => weightLayouts.some(({ files }) => files.test(name)));
  let sum = 0;
  for (const name of names) sum += (await stat(join(path, name))).size;
  return sum;
}

/** Bytes that an open model needs: its weights, one pass, and the cache of its context. */
export async function bytesNeeded(
  path: string,
  options: { readonly dtype?: string; readonly context?: number },
): Promise<number> {
  return neededBytes(await modelFacts(path), await weightFileBytes(path), options);
}
