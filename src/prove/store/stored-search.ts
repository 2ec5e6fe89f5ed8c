/**
 * A search whose every completed generation is kept before it is told: killed at any moment, it goes on behind the last one, and
 * what was lost is written again from the same seed.
 */
import { ConfigError } from "../../tensor/errors.ts";
import type { Attempt } from "../search/attempt.ts";
import { type ProofTask, type SearchEvent, type SearchTools, search } from "../search/search.ts";
import { searchIdentity } from "../search/search-identity.ts";
import type { SearchOptions } from "../search/search-options.ts";
import { CheckedLean, sha256 } from "./checked-lean.ts";
import type { NewProof } from "./proof.ts";
import type { ProofStore } from "./store.ts";

/** Another process completes generations of the same search: what it kept is in the store, so that the search can go on behind it. */
export class SearchMeetingError extends ConfigError {
  override name = "SearchMeetingError";
}

export interface StoredSearchOptions extends Omit<SearchOptions, "log"> {
  /** Begins anew, whatever is kept of the same search. */
  readonly fresh?: boolean;
  /** Which side of a statement is proved (`statement`). */
  readonly side?: NewProof["side"];
}

/** Names a problem by all that prompts and verifier read of it. */
export function taskHash({ header, informalPrefix, statement, problem }: ProofTask): string {
  const { preamble, trustedPreamble, imports } = problem;
  const verified = [problem.statement, preamble ?? "", trustedPreamble ?? false, imports ?? []];
  return sha256(JSON.stringify([header ?? null, informalPrefix ?? "", statement, ...verified]));
}

/** What is kept of the same search, in the order of its completion. @throws ConfigError as `storedSearch` */
export function storedAttempts(
  store: ProofStore,
  task: ProofTask,
  tools: SearchTools,
  options: Omit<SearchOptions, "log"> = {},
): readonly Attempt[] {
  const { id } = store.beginSearch(taskHash(task), searchIdentity(tools, options), options.seed ?? 0);
  return store.attempts(id).map(({ event }) => event as Attempt);
}

/**
 * Searches as `search` does, and keeps generations, proofs and answers of the verifier in the store. What is kept of the same
 * search is counted and not told again, except for its proofs. A search that has ended tells its end.
 * @throws ConfigError if an unfinished search of this problem has other settings
 * @throws SearchMeetingError if another process goes on with it as well
 * @throws as `search`
 */
export async function* storedSearch(
  store: ProofStore,
  task: ProofTask,
  { generator, lean }: SearchTools,
  { fresh = false, side = "statement", ...options }: StoredSearchOptions = {},
): AsyncGenerator<SearchEvent, void, undefined> {
  const tools = { generator, lean: lean instanceof CheckedLean ? lean : new CheckedLean(lean, store) };
  const identity = searchIdentity(tools, options);
  const { id } = store.beginSearch(taskHash(task), identity, options.seed ?? 0, { fresh });
  const log = store.attempts(id).map(({ event }) => event as Attempt);
  let completed = log.length;
  let proved = false;
  for await (const event of search(task, tools, { ...options, log })) {
    if (event.type === "sample") {
      completed++;
      const { type: _, ...attempt } = event;
      const { tree, seq, proof, tokens, axioms } = attempt;
      const found: NewProof | undefined =
        proof === null
          ? undefined
          : {
              ...{ side, text: proof, textSha256: sha256(proof), tokens, axioms },
              ...{
                model: generator.model,
                lean: lean.version,
                search: identity.search as string,
                cost: completed,
              },
            };
      if (!store.completeAttempt(id, { tree, seq, event: attempt }, found)) {
        throw new SearchMeetingError("another process goes on with this search", {
          where: store.path,
          found: `tree ${tree}, generation ${seq} is kept already`,
          hint: "Wait for the other process, or search with another store.",
        });
      }
    }
    proved ||= event.type === "proved";
    yield event;
  }
  store.endSearch(id, proved ? "proved" : "exhausted");
}
