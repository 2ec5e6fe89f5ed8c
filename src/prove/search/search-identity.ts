/** What decides the results of a search: a log continues only a search of the same identity. */
import { hashHex } from "../../data/hash.ts";
import type { SearchTools } from "./search.ts";
import { type SearchOptions, searchSettings } from "./search-options.ts";

/**
 * Settings with model and verifier, as plain JSON. Not the seed, which stores keep apart, and not what only decides when to stop
 * waiting: the wall-clock limit. `parallel` counts in rounds alone.
 */
export function searchIdentity(
  tools: SearchTools,
  options: SearchOptions = {},
): Record<string, string | number | boolean | null> {
  const all = searchSettings(options, tools.lean.slots);
  const { log: _log, signal: _signal, seed: _seed, timeout: _timeout, batch: _batch, ...rest } = all;
  const { parallel, shots, ...settings } = rest;
  const rounds = settings.order === "rounds" || parallel === 1;
  return {
    model: tools.generator.model,
    lean: tools.lean.version,
    ...settings,
    order: rounds ? "rounds" : "arrival",
    ...(rounds ? { parallel } : {}),
    ...(shots?.length ? { shots: hashHex(JSON.stringify(shots)) } : {}),
  };
}
