/** All filters and tests by name. */
import type { Filter } from "./filter.ts";
import { sequenceFilters } from "./filters-sequence.ts";
import { textFilters } from "./filters-text.ts";
import { type Registry, TESTS } from "./tests.ts";

export const FILTERS: ReadonlyMap<string, Filter> = new Map(
  [...textFilters, ...sequenceFilters].flatMap(([names, filter]) =>
    names.split(" ").map((name) => [name, filter] as const),
  ),
);

export const REGISTRY: Registry = { filters: FILTERS, tests: TESTS };

export { TESTS };
