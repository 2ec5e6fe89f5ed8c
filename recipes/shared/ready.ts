/** What arms of a seed share is made once: found in the repository, in the folder of a run before, or among what this run made. */
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { savedSteps, stepFolder } from "../../src/train/state.ts";
import type { ArmContext } from "./program.ts";

const COMMITTED = join(import.meta.dirname, "..", "start");

/** Folder of the newest step of a stage. */
export async function newestStep(folder: string): Promise<string> {
  const step = savedSteps(await readdir(folder)).at(-1);
  return join(folder, stepFolder(step!));
}

/** Folder of the weights that come with the repository: those of seed 1. */
export function committedPart(name: string, { seed }: Pick<ArmContext, "seed">): string | null {
  const folder = join(COMMITTED, name);
  return seed === 1 && existsSync(join(folder, "model.safetensors")) ? folder : null;
}

const ready = new Map<string, Promise<string>>();

/** What `make` gave for this name before in this process, or gives now. */
export function once({ shared }: ArmContext, name: string, make: () => Promise<string>): Promise<string> {
  const key = join(shared.folder, name);
  const found = ready.get(key) ?? make();
  ready.set(key, found);
  return found;
}

/** The context to make a part in: where time is short and the repository does not have it, a few steps have to do. */
export const makingIn = (context: ArmContext, name: string, short: boolean): ArmContext =>
  short && committedPart(name, context) === null ? { ...context, small: true } : context;
