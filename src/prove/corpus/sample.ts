/** Statements of the corpus `corelean`: each a function of seed, split, family, level and index, so that none is stored. */
import { WorldRandom } from "../../data/world/generator.ts";
import { ConfigError } from "../../tensor/errors.ts";
import { FAMILIES, family as familyOf } from "./families.ts";
import type { Draft, Level } from "./family.ts";
import { type CorpusSplit, type Novelty, type Place, placeOf } from "./split.ts";
import { proofText, statementText, thoughtText } from "./theorem.ts";
import { tell } from "./wording.ts";

/** What every proof of the corpus is checked after. */
export const CORPUS_HEADER = "set_option autoImplicit false\nset_option maxHeartbeats 200000\n";

export interface CorpusItem {
  readonly family: string;
  readonly level: Level;
  /** Definitions that the statement builds on; mostly empty. */
  readonly preamble: string;
  /** `theorem t .. := by` and a newline. */
  readonly statement: string;
  readonly informal: string;
  /** Number of the wording's template within the family. */
  readonly wording: number;
  readonly split: CorpusSplit;
  readonly novelty: Novelty;
  /**
   * The scripted proof that training may see; null for level 3, for conjunctions of three and more, and for half of `exist`
   * and `refute`: what a model has to find itself.
   */
  readonly proof: string | null;
  /** The same proof with a plan and a comment for each step. */
  readonly thoughts: string | null;
}

export interface CorpusQuery {
  readonly seed: number;
  readonly split: CorpusSplit;
  readonly family: string;
  readonly level: Level;
  /** Only items of this novelty. */
  readonly novelty?: Novelty;
  /** Wordings that training never shows (default: for validation and test). */
  readonly heldOutWording?: boolean;
}

/** An item with the proof behind it, whether training may see it or not: for checks of the corpus itself. */
export interface CheckedItem {
  readonly item: CorpusItem;
  readonly draft: Draft;
  /** Always a proof, or null where none was scripted. */
  readonly reference: string | null;
}

const SPLITS: readonly CorpusSplit[] = ["train", "valid", "test"];
/** Draws for one index; a level whose templates all lie in other splits has no items in this one. */
const TRIES = 120;
/** Characters of preamble, statement and proof with thoughts, so that all fit 512 tokens with states between them. */
export const LONGEST_STATEMENT = 420;
export const LONGEST_PROOF = 900;

/** The item, or null where this split has none of the family's level (its templates are few). */
export function drawItem(query: CorpusQuery, index: number): CheckedItem | null {
  const family = familyOf(query.family);
  const stream = 64 + 8 * FAMILIES.indexOf(family) + query.level + 512 * SPLITS.indexOf(query.split);
  const random = new WorldRandom(query.seed, stream, index);
  for (let i = 0; i < TRIES; i++) {
    const draft = family.draw(random, family.levels[query.level]);
    const found = accept(query, draft);
    if (found === null) continue;
    const wording = tell(random, family.name, draft, query.heldOutWording ?? query.split !== "train");
    return finish(query, draft, found, wording, random);
  }
  return null;
}

function accept(query: CorpusQuery, draft: Draft): Place | null {
  if (!fits(draft)) return null;
  const place = placeOf(draft.preamble ?? "", statementText(draft.theorem));
  if (place.split !== query.split) return null;
  return query.novelty !== undefined && place.novelty !== query.novelty ? null : place;
}

/** Whether a draft is small enough for a model of 512 tokens. */
export function fits(draft: Draft): boolean {
  const statement = (draft.preamble?.length ?? 0) + statementText(draft.theorem).length;
  const proof = draft.script === null ? 0 : proofText(draft.script).length;
  return statement <= LONGEST_STATEMENT && proof <= LONGEST_PROOF;
}

function finish(
  { family, level }: CorpusQuery,
  draft: Draft,
  place: Place,
  wording: { text: string; template: number },
  random: WorldRandom,
): CheckedItem {
  const reference = draft.script && proofText(draft.script);
  const half = (family === "exist" || family === "refute") && random.int(2) === 0;
  const withheld = level === 3 || (draft.parts ?? 1) >= 3 || half;
  const item: CorpusItem = {
    family,
    level,
    preamble: draft.preamble ?? "",
    statement: statementText(draft.theorem),
    informal: wording.text,
    wording: wording.template,
    split: place.split,
    novelty: place.novelty,
    proof: withheld ? null : reference,
    thoughts: withheld || draft.script === null ? null : thoughtText(draft.script),
  };
  return { item, draft, reference };
}

export interface CorpusOptions {
  readonly seed?: number;
  readonly split?: CorpusSplit;
  /** Families to draw from (default: all). */
  readonly families?: readonly string[];
  /** Weights of the levels (default 20, 25, 55: about 40 % of statements then have a scripted proof). */
  readonly levels?: readonly [number, number, number];
}

/**
 * Item `index` of the mixture of all families: any machine gives the same one.
 * @throws ConfigError for families that do not exist, weights that are no whole numbers, or a split without such items
 */
export function corpusItem(options: CorpusOptions, index: number): CorpusItem {
  const { seed = 1, split = "train", families = FAMILIES.map(({ name }) => name) } = options;
  const weights = options.levels ?? [20, 25, 55];
  const total = weights.reduce((a, b) => a + b, 0);
  if (
    !weights.every((w) => Number.isInteger(w) && w >= 0) ||
    total < 1 ||
    total > 1e6 ||
    families.length === 0
  ) {
    throw new ConfigError("cannot draw from these", {
      where: "corpusItem",
      found: { levels: weights, families },
    });
  }
  const random = new WorldRandom(seed, 32 + SPLITS.indexOf(split), index);
  for (let i = 0; i < 40; i++) {
    const family = random.pick(families);
    const at = random.int(total);
    const level = at < weights[0] ? 1 : at < weights[0] + weights[1] ? 2 : 3;
    const found = drawItem({ seed, split, family, level }, index);
    if (found) return found.item;
  }
  throw new ConfigError("this split has no items of these families and levels", {
    where: "corpusItem",
    found: split,
  });
}
