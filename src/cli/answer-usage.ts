/** Token counts of an answer, as JSON output has them. */
import type { Reply } from "../engine/conversation.ts";

export function usageOf({ stats }: Pick<Reply, "stats">) {
  const { promptTokens, imageTokens, cachedTokens, generatedTokens } = stats;
  return { promptTokens, imageTokens, cachedTokens, generatedTokens };
}
