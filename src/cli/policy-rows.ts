/** Prompts from rows of data: questions with what their rewards need, or theorems to prove. */
import { hashUnit } from "../data/hash.ts";
import type { RowSource } from "../data/rows/node-rows.ts";
import { type PromptStyle, proofPrompt } from "../prove/text/prompts.ts";
import { rowTask } from "../prove/train/proof-reward.ts";
import type { PromptSource } from "../runs/policy/prompts.ts";
import { FormatError } from "../tensor/errors.ts";
import { rowKey } from "../train/policy/key.ts";

/** @param key the field with the right answer @throws FormatError naming file, line and field */
export async function* questions(
  rows: RowSource,
  key: string | undefined,
  signal?: AbortSignal,
): AsyncGenerator<PromptSource> {
  for await (const { row, where, hash } of rows.read("prompt", { signal })) {
    const { prompt, tools, fields } = row;
    const found = rowKey(fields, key);
    if (key !== undefined && found === null) {
      throw new FormatError("the field of the key is no text and no number", {
        ...{ where, name: key, expected: "what is right", found: JSON.stringify(fields[key]) ?? "nothing" },
      });
    }
    yield { prompt, ...(tools && { tools }), key: found, row: fields, where, hash };
  }
}

/** Theorems as a prover is asked for their proofs, unless a row brings its own prompt. @throws FormatError */
export async function* theorems(
  rows: RowSource,
  style: PromptStyle,
  signal?: AbortSignal,
): AsyncGenerator<PromptSource> {
  for await (const { row, where } of rows.read("fields", { signal })) {
    const { fields } = row;
    const task = rowTask(fields, where);
    const prompt =
      typeof fields.prompt === "string" && fields.prompt !== ""
        ? fields.prompt
        : proofPrompt(task, { style });
    yield { prompt, plain: true, key: null, row: fields, where, hash: hashUnit(task.statement) };
  }
}
