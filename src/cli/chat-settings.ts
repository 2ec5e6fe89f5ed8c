/** What can be set in a conversation at the terminal, and the figures that are shown of a reply. */
import type { Reply } from "../engine/conversation.ts";
import type { ReplyTask } from "../engine/reply-job.ts";
import { formatCount, formatPercent, formatRate, plural } from "../text/units.ts";

/** What `/set` changes. */
export interface ChatSettings {
  temperature: number;
  topP: number;
  topK: number;
  minP: number;
  repetitionPenalty: number;
  /** Null: as many as the context has room for. */
  maxTokens: number | null;
  seed: number;
  /** Null: the template's own default. */
  thinking: boolean | null;
  stop: readonly string[];
  speculative: boolean;
}

/** A setting by the name that the user types. */
export interface Setting {
  readonly key: keyof ChatSettings;
  readonly expected: string;
  /** The value, or undefined if the text is invalid. */
  readonly parse: (text: string) => number | boolean | null | undefined;
}

const number = (valid: (n: number) => boolean) => (text: string) => {
  const value = text === "" ? Number.NaN : Number(text);
  return Number.isFinite(value) && valid(value) ? value : undefined;
};
const natural = number((n) => Number.isSafeInteger(n) && n >= 0);

export const SETTINGS: Readonly<Record<string, Setting>> = {
  temperature: { key: "temperature", expected: "0 or more", parse: number((n) => n >= 0) },
  "top-p": { key: "topP", expected: "above 0", parse: number((n) => n > 0) },
  "top-k": { key: "topK", expected: "an integer, 0 or more", parse: natural },
  "min-p": { key: "minP", expected: "0 to 1", parse: number((n) => n >= 0 && n <= 1) },
  "repetition-penalty": { key: "repetitionPenalty", expected: "above 0", parse: number((n) => n > 0) },
  "max-tokens": {
    key: "maxTokens",
    expected: "an integer, 1 or more, or auto",
    parse: (text) => (text === "auto" ? null : natural(text) || undefined),
  },
  seed: { key: "seed", expected: "an integer, 0 or more", parse: natural },
  thinking: {
    key: "thinking",
    expected: "on, off or auto",
    parse: (text) => ({ on: true, off: false, auto: null })[text],
  },
};

/** A value as the user reads it. */
export const shown = (value: unknown) =>
  value === null ? "auto" : value === true ? "on" : value === false ? "off" : String(value);

/** One line of figures about a reply. */
export function replyStats({ stats }: Pick<Reply, "stats">): string {
  const { promptTokens, cachedTokens, generatedTokens, prefillMs, decodeMs } = stats;
  const reasoning = stats.reasoningTokens > 0 ? ` (${formatCount(stats.reasoningTokens)} reasoning)` : "";
  const parts = [
    `prompt: ${plural(promptTokens, "token")} (${formatCount(cachedTokens)} cached) ` +
      `at ${formatRate(promptTokens - cachedTokens, prefillMs / 1000)} tokens/s`,
    // The first token comes with the prompt.
    `output: ${plural(generatedTokens, "token")}${reasoning} ` +
      `at ${formatRate(Math.max(0, generatedTokens - 1), decodeMs / 1000)} tokens/s`,
  ];
  const reason = stats.stopString === null ? stats.stopReason : `stop ${JSON.stringify(stats.stopString)}`;
  parts.push(`finish reason: ${reason}`);
  const drafts = stats.speculative;
  if (drafts) {
    const rate = formatPercent(drafts.acceptanceRate);
    parts.push(`drafts accepted: ${drafts.accepted} of ${drafts.drafted} (${rate})`);
  }
  return parts.join(", ");
}

/** Settings as options of a reply; each reply of a conversation gets its own seed. */
export function replySettings(settings: ChatSettings, replies: number): ReplyTask["settings"] {
  const { maxTokens, thinking, seed, ...sampling } = settings;
  return {
    ...sampling,
    seed: seed + replies,
    ...(maxTokens !== null && { maxTokens }),
    ...(thinking !== null && { thinking }),
  };
}
