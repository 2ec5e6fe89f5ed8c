/** A sweep that is over in seconds, for tests. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type ScaleSettings, scaleSettings } from "./settings.ts";

/** Settings of four models below 45 thousand FLOPs a token at three budgets. */
export function tinySettings(more: object = {}): ScaleSettings {
  const json = {
    run: {
      vocabSize: 300,
      data: { heldOut: 0.2, nearDuplicates: null },
      training: { sequenceLength: 16, evaluateSequences: 50 },
    },
    seeds: [1, 2],
    ladder: [8, 16].flatMap((width) => [1, 2].map((layers) => ({ width, layers }))),
    budgets: [4e7, 8e7, 1.6e8],
    sizesPerBudget: 4,
    expected: { coefficient: 2.5, exponent: 0.52 },
    warmupSteps: 5,
    ...more,
  };
  return scaleSettings(json, "scale.json");
}

/** A folder of text with something to learn. */
export function writeTexts(folder: string): void {
  mkdirSync(folder, { recursive: true });
  for (let i = 0; i < 40; i++) {
    const lines = Array.from({ length: 60 }, (_, n) => {
      const word = "abcdefghij".slice(n % 7, (n % 7) + 3);
      return `export const name_${i}_${n} = call(${(i * 7 + n * 13) % 101}, "${word}");`;
    });
    writeFileSync(join(folder, `file-${i}.ts`), lines.join("\n"));
  }
}
