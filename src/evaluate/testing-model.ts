/** A small random model with a tokenizer of bytes and some pairs, and its figures by plain passes, for tests of evaluations. */
import { rowsOfLogits } from "../engine/prompt-scores.ts";
import { smallV3 } from "../engine/testing.ts";
import { sampleTexts } from "../engine/testing-folder.ts";
import { logProbability } from "../engine/token-sampler.ts";
import type { CausalLM } from "../models/causal-lm.ts";
import type { Device } from "../tensor/tensor.ts";
import { loadTokenizer, type Tokenizer } from "../tokenizer/tokenizer.ts";
import { DEFAULT_SPECIAL_TOKENS, trainBpe, trainedTokenizerConfig } from "../tokenizer/train-bpe.ts";

export interface TestedModel extends Disposable {
  readonly model: CausalLM;
  readonly tokenizer: Tokenizer;
  /** Log-probabilities of all tokens but the first, each behind all before it, by one pass. */
  plainScores(ids: readonly number[]): Promise<number[]>;
}

export async function testedModel(device: Device, maxPositions = 128): Promise<TestedModel> {
  const json = await trainBpe(sampleTexts(60), { vocabSize: 330, specialTokens: DEFAULT_SPECIAL_TOKENS });
  const tokenizer = loadTokenizer(json, trainedTokenizerConfig(maxPositions));
  const { vocabSize } = tokenizer;
  const model = smallV3(device, { vocabulary: vocabSize + 6, maxPositions, layers: 1, mtpLayers: 0 });
  return {
    ...{ model, tokenizer },
    async plainScores(ids) {
      using output = device.inference(() => {
        const hidden = model.hidden(model.ids([ids]));
        return model.logits(hidden.view([ids.length, hidden.shape[2]]));
      });
      const rows = await rowsOfLogits(output);
      return ids.slice(1).map((id, i) => logProbability(rows[i], id, vocabSize));
    },
    [Symbol.dispose]: () => model[Symbol.dispose](),
  };
}
