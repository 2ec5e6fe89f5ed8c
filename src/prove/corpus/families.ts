/** All families of the corpus, in the order of tables. Adding one means adding it here. */
import { ConfigError } from "../../tensor/errors.ts";
import { accum } from "./families/accumulators.ts";
import { bool } from "./families/boolean.ts";
import { bounded } from "./families/bounded.ts";
import { conj } from "./families/conjunctions.ts";
import { decomp } from "./families/decompositions.ts";
import { equ } from "./families/equations.ts";
import { funval } from "./families/functions.ts";
import { induct } from "./families/induction.ts";
import { ineq } from "./families/inequalities.ts";
import { ladder } from "./families/ladders.ts";
import { linint } from "./families/linear.ts";
import { list } from "./families/lists.ts";
import { prop, proprand } from "./families/logic.ts";
import { nested } from "./families/nested.ts";
import { onto } from "./families/onto.ts";
import { mod, nosol } from "./families/residues.ts";
import { ring } from "./families/ring.ts";
import { exist, refute } from "./families/witnesses.ts";
import { calc, rewrite } from "./families/words.ts";
import type { Family } from "./family.ts";

export const FAMILIES: readonly Family[] = [
  ...[linint, funval, ring, prop, proprand, rewrite, bool, equ, bounded, mod, nosol, ineq],
  ...[induct, list, exist, refute, conj, calc, ladder, nested, decomp, onto, accum],
];

/** @throws ConfigError for a name that is none */
export function family(name: string): Family {
  const found = FAMILIES.find((each) => each.name === name);
  if (found) return found;
  throw new ConfigError("no such family", {
    where: "corelean",
    expected: FAMILIES.map((each) => each.name),
    found: name,
  });
}

/** Their names, in the order of tables. */
export const CORPUS_FAMILIES: readonly string[] = FAMILIES.map(({ name }) => name);
