/** Rows that are judged by how likely texts are: choices, and texts in windows. */
import { ConfigError } from "../tensor/errors.ts";
import { utf8Length } from "../text/utf8-length.ts";
import type { MetricValue } from "./metrics.ts";
import { type Continued, continued, openingToken, readPrompt, type Shot } from "./prompts.ts";
import { likelihood } from "./requests.ts";
import type { ChoiceRow, TextRow } from "./rows.ts";
import { rollingWindows, type Window } from "./windows.ts";
import type { Work, WorkSettings } from "./work.ts";

/** A prompt without what does not fit at its beginning. @throws ConfigError for a continuation that leaves no room */
function fitted(request: Continued, maxLength: number, where: string): Continued {
  const { prompt, continuation } = request;
  if (continuation.length === 0) {
    throw new ConfigError("a choice without tokens", { where, found: JSON.stringify(request.text) });
  }
  // The last token is scored, not read.
  const room = maxLength - continuation.length + 1;
  if (room < 1) {
    throw new ConfigError("a choice is longer than what the model reads", {
      ...{ where, expected: `at most ${maxLength} tokens`, found: continuation.length },
    });
  }
  return prompt.length <= room ? request : { ...request, prompt: prompt.slice(prompt.length - room) };
}

/** The first place of the largest value. */
function largest(values: readonly number[]): number {
  return values.reduce((best, value, i) => (value > values[best] ? i : best), 0);
}

/** The log-likelihood of each choice behind the context, which they read once. @throws ConfigError */
export function choiceWork(
  row: ChoiceRow,
  shots: readonly Shot[],
  { reader, maxLength, log }: WorkSettings,
  where: string,
): Work {
  const read = readPrompt(reader, row.context, shots);
  const whole = row.choices.map((choice) => continued(reader, read, choice));
  const requests = whole.map((request) => fitted(request, maxLength, where));
  const shortened = requests.filter(({ prompt }, i) => prompt !== whole[i].prompt).length;
  const lengths = requests.map(({ prompt, continuation }) => prompt.length + continuation.length);
  return {
    prompt: requests[0].prompt,
    further: requests.reduce((sum, { continuation }) => sum + continuation.length, 0),
    longest: Math.max(...lengths),
    requests: requests.length,
    async run(engine, signal) {
      const found = await Promise.all(
        requests.map((request) => likelihood(engine, request, { greedy: true, signal })),
      );
      const sums = found.map(({ logprob }) => logprob);
      // As Python counts the letters of a text.
      const normalized = sums.map((sum, i) => sum / Array.from(row.choices[i]).length);
      const right = (values: readonly number[]) => (row.gold.includes(largest(values)) ? 1 : 0);
      return {
        values: { acc: right(sums), acc_norm: right(normalized) },
        ...(shortened > 0 && { counts: { shortened } }),
        ...(log && {
          log: {
            target: row.gold.length === 1 ? String(row.gold[0]) : JSON.stringify(row.gold),
            requests: requests.map(({ text }) => [read.text, text] as const),
            answers: found.map(({ logprob, isGreedy }) => [logprob, isGreedy]),
          },
        }),
      };
    },
  };
}

/** Words as lm-evaluation-harness counts them: what stands between white space. */
const wordsIn = (text: string) => text.split(/\s+/).length;

/**
 * Windows of a text: how many there are, and the work of those from number `first` on; the last one has the text's words and bytes.
 * @throws ConfigError
 */
export function textWork(
  row: TextRow,
  first: number,
  { reader: { tokenizer }, windowLength, log }: WorkSettings,
): { readonly pieces: number; readonly works: Iterable<Work> } {
  const ids = tokenizer.encode(row.text, { addSpecialTokens: false, parseSpecial: false });
  const pieces = Math.ceil(ids.length / windowLength);
  const opening = openingToken(tokenizer);
  function* works() {
    let number = 0;
    for (const window of rollingWindows(ids, opening, windowLength)) {
      if (number++ >= first) yield windowWork(row, window, number === pieces, log);
    }
  }
  return { pieces, works: works() };
}

function windowWork(row: TextRow, window: Window, isLast: boolean, log: boolean): Work {
  const { prompt, continuation } = window;
  return {
    prompt,
    further: continuation.length,
    longest: prompt.length + continuation.length,
    requests: 1,
    async run(engine, signal) {
      const { logprob } = await likelihood(engine, window, { greedy: false, signal });
      const bytes: MetricValue = [logprob, isLast ? utf8Length(row.text) : 0];
      return {
        values: {
          word_perplexity: [logprob, isLast ? wordsIn(row.text) : 0],
          byte_perplexity: bytes,
          bits_per_byte: bytes,
        },
        ...(log && {
          log: { target: row.text, requests: [[row.text, null]], answers: [[logprob]] },
        }),
      };
    },
  };
}
