/** The module behind the reward `code`: the share of a row's tests that a program passes. See `program-sandbox.ts`. */
import * as nodeModule from "node:module";
import { programTests } from "../../train/policy/named-rewards.ts";
import { ProgramSandbox } from "./program-sandbox.ts";
import type { ModuleSample } from "./reward-module.ts";

const sandbox = new ProgramSandbox();

// This thread runs nothing else, and each would say anew that Node's removal of types is experimental.
process.removeAllListeners("warning");

/** The last fenced block of code; without one everything. */
function programOf(completion: string): string {
  const blocks = [...completion.matchAll(/^[ \t]*```[^\n`]*\n([\s\S]*?)^[ \t]*```/gm)];
  return blocks.at(-1)?.[1] ?? completion;
}

/** A program without its types, where this Node can take them out and they are all that is between it and JavaScript. */
function withoutTypes(program: string): string {
  if (!("stripTypeScriptTypes" in nodeModule)) return program;
  try {
    return nodeModule.stripTypeScriptTypes(program);
  } catch {
    return program;
  }
}

export default async function shares(samples: readonly ModuleSample[]): Promise<number[]> {
  const found: number[] = [];
  for (const { completion, row } of samples) {
    const { tests, before } = programTests("row", row);
    const passed = await sandbox.passed(withoutTypes(before + programOf(completion)), tests);
    found.push(passed.filter(Boolean).length / tests.length);
  }
  return found;
}
