/** Goes on with a search in a toy world until it ends or is killed: `node testing-search.ts STORE OPTIONS`, one line a generation. */
import { writeSync } from "node:fs";
import type { SearchOptions } from "../search/search-options.ts";
import { corridorTools, toyTask } from "../search/testing-world.ts";
import { ProofStore } from "./store.ts";
import { storedSearch } from "./stored-search.ts";

const [path, options] = process.argv.slice(2);
using store = await ProofStore.open(path);
const wait = () => new Promise<void>((resolve) => setTimeout(resolve, 1 + (performance.now() % 3)));
const given = JSON.parse(options) as SearchOptions;
for await (const event of storedSearch(store, toyTask(), corridorTools(wait), given)) {
  if (event.type === "sample") writeSync(1, `${event.tree}/${event.seq}\n`);
}
