/** The cases of `test/fixtures/align`: fine-tuning, preferences and rewards, by the name in `meta.json`. */
import type { FileTree } from "../../checkpoint/byte-source.ts";
import { FormatError } from "../../tensor/errors.ts";
import type { Device } from "../../tensor/tensor.ts";
import type { ParityOutput } from "../comparison.ts";
import { AlignCase } from "./align-case.ts";
import { compareAdvantages, compareGrpo, compareKlAndClip } from "./policies.ts";
import { compareDpo, compareDpoSteps } from "./preferences.ts";
import { compareChatSpans, comparePacking, compareSftPacked } from "./rows.ts";

const PREFIX = "align/";

const comparisons: Readonly<Record<string, (run: AlignCase) => Promise<void>>> = {
  dpo: compareDpo,
  "dpo-steps": compareDpoSteps,
  grpo: compareGrpo,
  "sft-packed": compareSftPacked,
  advantages: compareAdvantages,
  "kl-and-clip": compareKlAndClip,
  packing: comparePacking,
  "chat-spans": compareChatSpans,
};

/** Whether a case is one of alignment, some of which hold no model. */
export async function isAlignCase(tree: FileTree): Promise<boolean> {
  if (!(await tree.has("meta.json"))) return false;
  const { case: name } = JSON.parse(await tree.readText("meta.json")) as { case?: unknown };
  return typeof name === "string" && name.startsWith(PREFIX);
}

/** Runs a case and compares everything that it holds. @throws FormatError for a case of another name */
export async function compareAlign(
  tree: FileTree,
  device: Device,
): Promise<{ readonly name: string; readonly outputs: readonly ParityOutput[] }> {
  const run = await AlignCase.open(tree, device);
  try {
    const compare = comparisons[run.name.slice(PREFIX.length)];
    if (compare === undefined) {
      throw new FormatError("unknown case", {
        ...{
          where: tree.name,
          name: run.name,
          expected: Object.keys(comparisons).map((name) => PREFIX + name),
        },
      });
    }
    await compare(run);
    return { name: run.name, outputs: run.comparison.outputs };
  } finally {
    await run.close();
  }
}
