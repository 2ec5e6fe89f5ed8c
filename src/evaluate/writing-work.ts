/** Rows that are judged by what the model writes: answers, and middles between two texts. */
import { ConfigError } from "../tensor/errors.ts";
import { Random } from "../tensor/random.ts";
import { TOKEN } from "../tokenizer/families.ts";
import { fimPrompt } from "../tokenizer/fim.ts";
import { rowKey } from "../train/policy/key.ts";
import { passAtK } from "../train/policy/pass-at-k.ts";
import { rewardsOf } from "../train/policy/rewards.ts";
import { editSimilarity } from "./edit-similarity.ts";
import type { MetricValue } from "./metrics.ts";
import { type PromptReader, type ReadPrompt, readPrompt, type Shot } from "./prompts.ts";
import { type Written, write } from "./requests.ts";
import type { AnswerRow, InfillRow } from "./rows.ts";
import type { EvaluationJudge, Work, WorkResult, WorkSettings } from "./work.ts";

/** Behind it stands the answer of a model that thinks first. */
const THOUGHT_END = "</think>";

/** What of a text is compared with answers. */
function compared(text: string): string {
  const at = text.lastIndexOf(THOUGHT_END);
  return (at < 0 ? text : text.slice(at + THOUGHT_END.length)).trim();
}

const JUDGE_SECONDS = 300;

interface Verdicts {
  /** Texts that have one, and those of them that passed. */
  readonly known: number;
  readonly right: number;
  readonly values: Readonly<Record<string, MetricValue>>;
  readonly counts: NonNullable<WorkResult["counts"]>;
}

async function judged(
  { reward, passReward = 1, seconds = JUDGE_SECONDS, key }: EvaluationJudge,
  row: AnswerRow,
  read: ReadPrompt,
  written: readonly Written[],
  signal: AbortSignal,
): Promise<Verdicts> {
  const samples = written.map(({ text, ids, truncated }) => ({
    ...{ prompt: read.text, completion: text, key: rowKey(row.fields, key), row: row.fields, truncated },
    ...{ promptIds: read.ids, completionIds: ids },
  }));
  const { rewards, timedOut } = await rewardsOf(reward, samples, { seconds, signal });
  const known = rewards.filter((each) => each !== null);
  const sum = known.reduce((a, b) => a + b, 0);
  const unjudged = rewards.length - known.length;
  return {
    known: known.length,
    right: known.filter((each) => each >= passReward).length,
    values: { reward: known.length === 0 ? 0 : sum / known.length },
    counts: { ...(unjudged > 0 && { unjudged }), ...(timedOut && { timedOut: 1 }) },
  };
}

function matched(row: AnswerRow, written: readonly Written[]): Verdicts {
  const answers = new Set(row.answers.map((answer) => answer.trim()));
  const right = written.filter(({ text }) => answers.has(compared(text))).length;
  return { known: written.length, right, values: { exact_match: right / written.length }, counts: {} };
}

/** Answers to a question, several if so many samples are asked for. @throws ConfigError */
export function answerWork(
  row: AnswerRow,
  shots: readonly Shot[],
  number: number,
  { reader, maxLength, writing, samples, ks, judge, judgeInTurn, seed, log }: WorkSettings,
): Work {
  const read = readPrompt(reader, row.prompt, shots);
  const { maxTokens } = writing.answer;
  const room = maxLength - maxTokens;
  const isShort = read.ids.length > room;
  const prompt = isShort ? read.ids.slice(read.ids.length - room) : read.ids;
  if (prompt.length === 0) {
    throw new ConfigError("a prompt without tokens", { where: "evaluate", hint: "Set bos." });
  }
  return {
    prompt,
    further: 0,
    longest: prompt.length + maxTokens,
    requests: samples,
    async run(engine, signal) {
      const random = new Random(seed, number);
      const written = await Promise.all(
        Array.from({ length: samples }, () =>
          write(engine, reader.tokenizer, prompt, writing.answer, { seed: random.u32(), signal }),
        ),
      );
      const { known, right, values, counts } =
        judge === null
          ? matched(row, written)
          : await judgeInTurn(() => judged(judge, row, read, written, signal));
      const passed = (k: number) => (known === 0 ? 0 : passAtK(known, right, Math.min(k, known)));
      return {
        values: { ...values, ...Object.fromEntries(ks.map((k) => [`pass@${k}`, passed(k)])) },
        counts: { ...counts, ...(isShort && { shortened: samples }) },
        ...(log && { log: writtenLog(row.answers.join("\n"), read.text, writing.answer, written) }),
      };
    },
  };
}

function writtenLog(
  target: string,
  read: string,
  { stop, maxTokens, temperature }: WorkSettings["writing"]["answer"],
  written: readonly Written[],
): NonNullable<WorkResult["log"]> {
  const how = { until: stop, max_gen_toks: maxTokens, temperature, do_sample: temperature > 0 };
  return { target, requests: [[read, how]], answers: [written.map(({ text }) => text)] };
}

/** A prompt for the middle, without the beginning of a prefix that does not fit. @throws ConfigError */
function infillPrompt({ tokenizer, settings: { bos } }: PromptReader, row: InfillRow, room: number) {
  const ids = fimPrompt(tokenizer, row.prefix, row.suffix, bos === undefined ? {} : { bos });
  const over = ids.length - room;
  if (over <= 0) return { ids, isShort: false };
  const { fimBegin, fimHole } = tokenizer.specialIds;
  const start = ids.indexOf(fimBegin!) + 1;
  if (over > ids.indexOf(fimHole!) - start) {
    throw new ConfigError("the suffix leaves no room for the middle", {
      ...{ where: "evaluate", expected: `at most ${room} tokens around the hole`, found: ids.length },
    });
  }
  return { ids: [...ids.slice(0, start), ...ids.slice(start + over)], isShort: true };
}

const asText = ({ prefix, suffix }: InfillRow) =>
  `${TOKEN.fimBegin}${prefix}${TOKEN.fimHole}${suffix}${TOKEN.fimEnd}`;

/** The middle between two texts, which must be the row's to the letter. @throws ConfigError */
export function infillWork(
  row: InfillRow,
  number: number,
  { reader, maxLength, writing: { infill }, seed, log }: WorkSettings,
): Work {
  const { ids: prompt, isShort } = infillPrompt(reader, row, maxLength - infill.maxTokens);
  return {
    prompt,
    further: 0,
    longest: prompt.length + infill.maxTokens,
    requests: 1,
    async run(engine, signal) {
      const random = new Random(seed, number);
      const written = await write(engine, reader.tokenizer, prompt, infill, { seed: random.u32(), signal });
      return {
        values: {
          exact_match: written.text === row.middle ? 1 : 0,
          edit_similarity: editSimilarity(written.text, row.middle),
          stopped: written.truncated ? 0 : 1,
        },
        ...(isShort && { counts: { shortened: 1 } }),
        ...(log && { log: writtenLog(row.middle, asText(row), infill, [written]) }),
      };
    },
  };
}
