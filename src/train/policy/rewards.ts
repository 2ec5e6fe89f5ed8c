/**
 * Rewards that can be checked: a function from completions to numbers, called once for each group as soon as it is complete,
 * while others are still sampled.
 */
import { DeepseekError } from "../../tensor/errors.ts";

/** A completion as a reward sees it. */
export interface RewardSample<Row = unknown> {
  /** Texts; empty without `decode`. */
  readonly prompt: string;
  readonly completion: string;
  readonly key: string | null;
  readonly row: Row | null;
  readonly promptIds: readonly number[];
  /** With the end token, if it came. */
  readonly completionIds: readonly number[];
  /** Whether it was cut at the limit of tokens. */
  readonly truncated: boolean;
}

/**
 * One number for each completion of a group; null leaves it out of the step, where its judge failed. When `signal` is aborted
 * nobody waits for the answer any more.
 */
export type Reward<Row = unknown> = (
  samples: readonly RewardSample<Row>[],
  options: { readonly signal: AbortSignal },
) => readonly (number | null)[] | Promise<readonly (number | null)[]>;

export interface Rewarded {
  readonly rewards: readonly (number | null)[];
  /** Whether the time was over: all rewards are then 0. */
  readonly timedOut: boolean;
}

/** Characters of a prompt or a completion that an error shows. */
const SHOWN = 120;

const shown = (text: string) =>
  JSON.stringify(text.length <= SHOWN ? text : `${text.slice(0, SHOWN / 2)} .. ${text.slice(-SHOWN / 2)}`);

/** A sample as errors name it: what was asked and what was answered, cut if they are long. */
export const sampleText = ({ prompt, completion }: Pick<RewardSample, "prompt" | "completion">): string =>
  `prompt ${shown(prompt)}, completion ${shown(completion)}`;

/** What a promise gives, or `late` when the signal is aborted before. */
function untilAborted<T, L>(promise: Promise<T>, signal: AbortSignal, late: L): Promise<T | L> {
  return new Promise((resolve, reject) => {
    const stop = () => resolve(late);
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop);
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}

/**
 * The rewards of a group, zeros when `seconds` are over. @throws DeepseekError for what the function throws and for answers
 * that are not one finite number or null for each completion; the signal's reason if it is aborted
 */
export async function rewardsOf<Row>(
  reward: Reward<Row>,
  samples: readonly RewardSample<Row>[],
  { seconds, signal }: { readonly seconds: number; readonly signal: AbortSignal },
): Promise<Rewarded> {
  const where = "reward";
  signal.throwIfAborted();
  const over = new AbortController();
  const timer = setTimeout(
    () => over.abort(new Error(`no reward within ${seconds} seconds`)),
    1000 * seconds,
  );
  const either = AbortSignal.any([signal, over.signal]);
  try {
    const answer = await untilAborted(
      (async () => reward(samples, { signal: either }))(),
      either,
      null,
    ).catch((cause: unknown) => {
      // What is thrown because of the signal is no fault.
      if (either.aborted) return null;
      // It says already what is wrong.
      if (cause instanceof DeepseekError) throw cause;
      throw new DeepseekError("the reward function failed", {
        ...{ where, found: cause instanceof Error ? cause.message : cause, cause },
        hint:
          `The first of ${samples.length} samples: ${sampleText(samples[0])}. ` +
          "A completion that cannot be judged should get 0, or null to leave it out.",
      });
    });
    signal.throwIfAborted();
    if (answer === null) return { rewards: samples.map(() => 0), timedOut: true };
    const wrong = answer.findIndex((each) => each !== null && !Number.isFinite(each));
    if (answer.length !== samples.length || wrong >= 0) {
      throw new DeepseekError(
        "the reward function must answer with a finite number, or null, for each completion",
        {
          ...{ where, ...(wrong >= 0 && { name: `reward ${wrong}` }) },
          hint:
            wrong >= 0
              ? `It is of ${sampleText(samples[wrong])}.`
              : `The first is of ${sampleText(samples[0])}.`,
          ...{ expected: wrong >= 0 ? "a finite number or null" : `${samples.length} rewards` },
          found: wrong >= 0 ? answer[wrong] : answer.length,
        },
      );
    }
    return { rewards: answer, timedOut: false };
  } finally {
    clearTimeout(timer);
  }
}
