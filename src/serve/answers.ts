/** What answers of both interfaces share: ids, usage, reading a job's news into whole choices. */

import type { GenerationReader } from "../engine/host/generation-job.ts";
import {
  type InsideEntry,
  type InsideFigures,
  type InsidePicture,
  insideBytes,
} from "../engine/host/inside.ts";
import type { ChoiceUsage, FinishReason, GroundedPhrase, TokenEntry } from "../engine/host/protocol.ts";
import { freshId } from "../text/ids.ts";
import { invalidRequest } from "./errors.ts";

/** What identifies an answer, the same in all its chunks. */
export interface AnswerHead {
  readonly id: string;
  /** Unix time in seconds. */
  readonly created: number;
  readonly model: string;
  readonly fingerprint: string;
}

/** @param prefix of the id, with what sets it apart */
export function answerHead(prefix: string, model: string, fingerprint: string): AnswerHead {
  return {
    id: freshId(prefix),
    created: Math.floor(Date.now() / 1000),
    model,
    fingerprint,
  };
}

/** Token counts of a request: each of its prompts once, the output of all choices. */
export function usageBody(usages: readonly ChoiceUsage[], choicesPerPrompt: number): Record<string, unknown> {
  let [prompt, cached, images, completion, reasoning] = [0, 0, 0, 0, 0];
  usages.forEach((usage, choice) => {
    completion += usage.completionTokens;
    reasoning += usage.reasoningTokens;
    if (choice % choicesPerPrompt !== 0) return;
    prompt += usage.promptTokens;
    cached += usage.cachedTokens;
    images += usage.imageTokens;
  });
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: cached, image_tokens: images },
    completion_tokens_details: { reasoning_tokens: reasoning },
  };
}

/** A phrase with its boxes, as clients get them: corners in pixels, and in thousandths of the image's sides. */
export interface PhraseBody {
  readonly label: string;
  readonly image: number;
  readonly boxes: {
    readonly x1: number;
    readonly y1: number;
    readonly x2: number;
    readonly y2: number;
    readonly numbers: readonly number[];
    readonly flags?: readonly string[];
  }[];
}

export const phraseBody = ({ label, image, boxes }: GroundedPhrase): PhraseBody => ({
  label,
  image,
  boxes: boxes.map(({ box: [x1, y1, x2, y2], numbers, flags }) => ({
    ...{ x1, y1, x2, y2, numbers },
    ...(flags.length === 0 ? {} : { flags }),
  })),
});

export interface WholeToolCall {
  id: string;
  name: string;
  arguments: string;
}

/** A choice with everything that came of it. */
export interface WholeChoice {
  content: string;
  reasoning: string;
  toolCalls: WholeToolCall[];
  grounding: GroundedPhrase[];
  logprobs: TokenEntry[];
  inside: InsideEntry[];
  pictures?: readonly InsidePicture[];
  figures?: InsideFigures;
  reason: FinishReason;
  usage: ChoiceUsage;
}

const nothing: ChoiceUsage = {
  promptTokens: 0,
  cachedTokens: 0,
  imageTokens: 0,
  completionTokens: 0,
  reasoningTokens: 0,
};

/** Bytes of the inside of an answer that is told in one piece: some 36,000 tokens of DeepSeek-V2-Lite. As JSON they double. */
const MOST_INSIDE = 32 * 2 ** 20;

/** Reads a generation to its end. @throws RequestError if it fails, JobCanceledError, ApiError if its inside is too large */
export async function collect(stream: GenerationReader): Promise<WholeChoice[]> {
  const choices = Array.from(
    { length: stream.choices },
    (): WholeChoice => ({
      content: "",
      reasoning: "",
      toolCalls: [],
      grounding: [],
      logprobs: [],
      inside: [],
      reason: "stop",
      usage: nothing,
    }),
  );
  let bytes = 0;
  for await (const event of stream) {
    if (event.type === "finished") {
      const { reason, usage, figures } = event;
      Object.assign(choices[event.choice], { reason, usage, ...(figures ? { figures } : {}) });
      continue;
    }
    const {
      choice,
      content = "",
      reasoning = "",
      toolCalls = [],
      grounding = [],
      logprobs = [],
      inside = [],
      pictures,
    } = event.delta;
    const whole = choices[choice];
    whole.content += content;
    whole.reasoning += reasoning;
    whole.grounding.push(...grounding);
    whole.logprobs.push(...logprobs);
    whole.inside.push(...inside);
    if (inside.length > 0) bytes += insideBytes(inside);
    if (bytes > MOST_INSIDE) {
      throw invalidRequest(
        `'inside' has ${bytes} bytes after ${whole.inside.length} tokens, more than the ${MOST_INSIDE} of an answer in one piece; ` +
          "set 'stream': true, or a smaller 'max_tokens'.",
        "inside",
        "answer_too_large",
      );
    }
    if (pictures !== undefined) whole.pictures = pictures;
    for (const part of toolCalls) {
      whole.toolCalls[part.index] ??= { id: "", name: "", arguments: "" };
      const call = whole.toolCalls[part.index];
      call.id += part.id ?? "";
      call.name += part.name ?? "";
      call.arguments += part.arguments ?? "";
    }
  }
  return choices;
}
