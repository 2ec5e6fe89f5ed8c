/** Settings of conversations in tests. */
import type { ChatSettings } from "./chat-settings.ts";

/** Greedy, with a fixed seed. */
export const greedySettings: ChatSettings = {
  temperature: 0,
  topP: 1,
  topK: 0,
  minP: 0,
  repetitionPenalty: 1,
  maxTokens: null,
  seed: 7,
  thinking: null,
  stop: [],
  speculative: false,
};
