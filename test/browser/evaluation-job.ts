/** What the browser test asks of an evaluation on both sides, Node and Chromium. The package comes as an argument. */
import type { DeepseekPackage } from "./ten-steps.ts";

export type EvaluatePackage = typeof import("../../src/evaluate/index.ts");

const ROWS = [
  { context: "the of and to in is that for it:", choices: ["as was", "with", "on be by"], gold: 1 },
  { context: "with on be by at from this have:", choices: ["the", "of and"], gold: 0 },
];
const TEXTS = [{ text: "the of and to in is that for it as was. ".repeat(20) }, { text: "Grüße, 你好." }];

/** Values of each row by metric, of choices, texts and answers, with the model of a folder's files. */
export async function evaluationReport(
  { loadFolder, memoryFolder, createCpuDevice }: DeepseekPackage,
  { evaluate, taskRow }: EvaluatePackage,
  files: ReadonlyMap<string, Uint8Array>,
): Promise<readonly unknown[]> {
  await using device = await createCpuDevice({ threads: 1 });
  const { model, tokenizer } = await loadFolder(memoryFolder(new Map(files), "model"), { device });
  using _model = model;
  const rows = (list: readonly object[]) => list.map((row) => taskRow(row, "row"));
  const answers = ROWS.map(({ context }) => ({ prompt: context, answer: "x" }));
  const judged = evaluate(
    { model, tokenizer: tokenizer! },
    [
      { name: "choices", form: "choices", rows: rows(ROWS) },
      { name: "texts", form: "text", rows: rows(TEXTS) },
      { name: "answers", form: "answer", rows: rows(answers) },
    ],
    {
      ...{ shots: 1, maxLength: 100, maxTokens: 5, samples: 3, stop: [] },
      judge: { reward: (samples) => samples.map(({ completion }) => completion.length) },
    },
  );
  return (await judged).tasks.map(({ values }) => values);
}
