/** Small models, rows and runs for tests of post-training. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describeBase } from "./base-model.ts";
import type { DpoConfig, SftConfig, TunedConfig } from "./config.ts";
import { prepareTuned, type TunedTask } from "./preparation.ts";

/** Sums with right and wrong answers, every third conversation of two turns. */
export function writeSums(folder: string, count: number): { readonly chats: string; readonly pairs: string } {
  const chats: string[] = [];
  const pairs: string[] = [];
  for (let i = 0; i < count; i++) {
    const [a, b] = [i % 11, (i * 7) % 13];
    const asked = { role: "user", content: `add ${a} and ${b}` };
    const answer = (text: string) => ({ role: "assistant", content: text });
    const more = i % 3 === 0 ? [{ role: "user", content: "twice?" }, answer(`it is ${2 * (a + b)}`)] : [];
    chats.push(JSON.stringify({ messages: [asked, answer(`it is ${a + b}`), ...more] }));
    pairs.push(
      JSON.stringify({
        prompt: [asked],
        chosen: [answer(`it is ${a + b}`)],
        rejected: [answer(i % 2 === 0 ? "no" : `that was not by ${i % 4}`)],
      }),
    );
  }
  mkdirSync(folder, { recursive: true });
  const paths = { chats: join(folder, "chats.jsonl"), pairs: join(folder, "pairs.jsonl") };
  writeFileSync(paths.chats, chats.join("\n"));
  writeFileSync(paths.pairs, pairs.join("\n"));
  return paths;
}

/** Settings of a short run. */
export async function shortRun(model: string, data: string, kind: TunedConfig["kind"]): Promise<TunedTask> {
  const { base, files } = await describeBase({ name: "tiny", folder: model, gguf: null });
  const common = {
    ...{ seed: 3, model: base, data: { names: [data], heldOut: { share: 0.2, most: 8 } } },
    ...({ sequenceLength: 64, tokensAtOnce: 128, dtype: "F32", overlong: "cut" } as const),
    training: {
      ...{ steps: 12, seconds: null, batch: { size: 3 }, balanceAlpha: 0.001, keep: 3 },
      learningRate: { peak: 2e-3, warmupSteps: 2, shape: "cosine", finalFraction: 0.1 } as const,
      ...{ optimizer: { weightDecay: 0.1, clipNorm: 1 }, evaluateEvery: 4, saveEvery: 2 },
    },
  };
  const config: TunedConfig =
    kind === "sft"
      ? ({ kind: "sft", ...common, learn: "answers" } satisfies SftConfig)
      : ({ kind: "dpo", ...common, preference: { beta: 0.2, sftWeight: 0.1 } } satisfies DpoConfig);
  return { out: "", config, epochs: null, files, asked: { batch: 3 } };
}

/** Prepares such a run. */
export async function prepareShort(model: string, data: string, kind: TunedConfig["kind"], out: string) {
  return prepareTuned({ ...(await shortRun(model, data, kind)), out });
}
