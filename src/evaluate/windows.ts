/**
 * Rolling windows over a text (lm-evaluation-harness, `get_rolling_token_windows` with a context of one token): each token is
 * predicted once, behind all tokens of its window and one before it; before the first one stands the token that opens a text.
 */

/** A part of a text: what is read before it, and what is predicted. */
export interface Window {
  readonly prompt: readonly number[];
  readonly continuation: readonly number[];
}

/**
 * Windows that read `length` tokens each, or all if there are fewer.
 * @param opening the token before the text
 */
export function* rollingWindows(
  tokens: readonly number[],
  opening: number,
  length: number,
): Generator<Window> {
  for (let begin = 0; begin < tokens.length; ) {
    const end = Math.min(tokens.length, begin + length);
    // Behind the first window, the last one reads as many earlier tokens again as make it full.
    const prompt = begin === 0 ? [opening] : tokens.slice(end - length - 1, begin);
    yield { prompt, continuation: tokens.slice(begin, end) };
    begin = end;
  }
}
