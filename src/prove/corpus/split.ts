/**
 * Splits of the corpus by hash of the template key, the canonical form with `#` for numerals (spec of DeepSeek-Prover's corpus:
 * parameters new, structure new). A template is held out whole for validation or test; of the other templates a part of the
 * numerals is held out. So no template occurs with the same numerals in two splits.
 */
import { hashUnit } from "../../data/hash.ts";
import { canonicalForm } from "../text/canonical.ts";

export type CorpusSplit = "train" | "valid" | "test";
/** What is new to training: the numerals of a template that it has, or the template. */
export type Novelty = "none" | "parameters" | "structure";

export interface Place {
  readonly split: CorpusSplit;
  readonly novelty: Novelty;
  /** Canonical form of preamble and statement with `#` for numerals. */
  readonly template: string;
}

/** Shares of templates: training, then validation, the rest test. */
const TEMPLATES = { train: 0.65, valid: 0.75 };
/** Shares of the numerals of templates of training. */
const PARAMETERS = { train: 0.86, valid: 0.91 };

const NUMERAL = /(?<=^|[\s(⟨[])\d+(?=$|[\s)⟩\],])/g;

/** @throws FormatError for text that is no statement */
export function placeOf(preamble: string, statement: string): Place {
  const canonical = `${preamble.replace(/\s+/g, " ").trim()} | ${canonicalForm(statement)}`;
  const template = canonical.replace(NUMERAL, "#");
  const structure = hashUnit(template, 1);
  if (structure >= TEMPLATES.train) {
    return { split: structure < TEMPLATES.valid ? "valid" : "test", novelty: "structure", template };
  }
  const parameters = hashUnit(canonical, 2);
  if (parameters < PARAMETERS.train) return { split: "train", novelty: "none", template };
  return { split: parameters < PARAMETERS.valid ? "valid" : "test", novelty: "parameters", template };
}
