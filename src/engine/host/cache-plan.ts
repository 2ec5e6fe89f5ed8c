/** How many tokens an engine's host reads and keeps: what was asked for, against the model and the machine's memory. */
import { ConfigError } from "../../tensor/errors.ts";
import { formatBytes, formatCount } from "../../text/units.ts";

/** Cached tokens if neither they nor the context are given. */
const CACHE_TOKENS = 32_768;
/** Of the memory that is free once the weights are loaded, what caches may take: passes need some too. */
const SHARE = 0.8;

export interface CacheWishes {
  /** Most tokens of prompt and output together; default: the model's. */
  readonly context?: number;
  /** Tokens of all caches together. */
  readonly cacheTokens?: number;
}

/** Bytes of a machine's memory, and how many of them are free. */
export interface MachineMemory {
  readonly total: number;
  readonly free: number;
}

export interface CacheLimits {
  /** Positions that the model was made for. */
  readonly maxPositions: number;
  /** Bytes that a token takes in the caches. */
  readonly tokenBytes: number;
  /** Of the machine, with the weights loaded; null: not known, so that it limits nothing. */
  readonly memory: MachineMemory | null;
}

export interface CachePlan {
  readonly context: number;
  readonly cacheTokens: number;
  /** What differs from what one would expect, in one line; null: nothing. */
  readonly notice: string | null;
}

const where = "serve";

function checkCount(name: string, value: number | undefined): void {
  if (value === undefined || (Number.isSafeInteger(value) && value >= 1)) return;
  throw new ConfigError("invalid number of tokens", {
    where,
    name,
    expected: "an integer, 1 or more",
    found: value,
  });
}

/** @throws ConfigError if the wishes contradict each other, the model, or the machine */
export function planCaches({ context, cacheTokens }: CacheWishes, limits: CacheLimits): CachePlan {
  const { maxPositions, tokenBytes, memory } = limits;
  const { total: totalBytes, free: freeBytes } = memory ?? {
    total: Number.POSITIVE_INFINITY,
    free: Number.POSITIVE_INFINITY,
  };
  checkCount("context", context);
  checkCount("cacheTokens", cacheTokens);
  if (context !== undefined && context > maxPositions) {
    throw new ConfigError("the context exceeds the model's limit", {
      where,
      name: "context",
      expected: `at most max_position_embeddings = ${maxPositions} tokens`,
      found: context,
    });
  }
  if (context !== undefined && cacheTokens !== undefined && cacheTokens < context) {
    throw new ConfigError("the KV cache is smaller than the context", {
      where,
      name: "cacheTokens",
      expected: `at least context = ${context} tokens`,
      found: cacheTokens,
      hint: "Raise cacheTokens, or lower the context.",
    });
  }
  const asked = cacheTokens ?? context;
  if (asked !== undefined && asked * tokenBytes > totalBytes) {
    throw new ConfigError("the KV cache exceeds this machine's memory", {
      where,
      name: cacheTokens === undefined ? "context" : "cacheTokens",
      expected: `at most ${Math.floor(totalBytes / tokenBytes)} tokens (${formatBytes(totalBytes)})`,
      found: `${asked} tokens (${formatBytes(asked * tokenBytes)})`,
      hint: "Lower it, or store the caches in bf16 (cacheDtype).",
    });
  }
  const wanted = cacheTokens ?? Math.max(CACHE_TOKENS, context ?? 0);
  const room = Math.max(1, Math.floor((freeBytes * SHARE) / tokenBytes));
  // What was asked for by number stays; what was not is fitted to the machine.
  const tokens = cacheTokens ?? Math.max(context ?? 1, Math.min(wanted, room));
  const plan = { context: Math.min(context ?? maxPositions, tokens), cacheTokens: tokens };
  if (tokens > room) {
    const need = `caches of ${formatCount(tokens)} tokens take ${formatBytes(tokens * tokenBytes)} when full`;
    return { ...plan, notice: `warning: ${need}; ${formatBytes(freeBytes)} of memory is free` };
  }
  if (tokens >= wanted) return { ...plan, notice: null };
  const limited = `caches limited to ${formatCount(tokens)} tokens (${formatBytes(tokens * tokenBytes)}) by free memory`;
  return { ...plan, notice: `${limited}; context ${formatCount(plan.context)} tokens` };
}
