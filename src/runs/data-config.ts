/** The `data` part of a run's configuration: which text a run learns from, and the checks of its values. */
import { ALL_FILTERS, type FilterSwitches } from "../data/filters.ts";
import { EXTENSION_PRESETS, type ExtensionPreset } from "../data/select.ts";
import {
  checkKeys,
  checkNumber,
  checkSection,
  nearestName,
  type Place,
  refuseValue,
} from "../tensor/check-value.ts";

export interface DataConfig {
  /** Files to learn from: a preset or a list of extensions. */
  readonly extensions: ExtensionPreset | readonly string[];
  /** Files and folders, relative to the folder given, that are read although a rule would leave them out. */
  readonly include: readonly string[];
  /** Enter `node_modules` folders below the folder given. */
  readonly includeNodeModules: boolean;
  /** Content rules to switch off, for example `{ lineLength: false }`; the others apply. */
  readonly filters: Partial<FilterSwitches>;
  /**
   * Largest file that is read; null: 4 MiB, but plain text (txt, md, ..) and a file that is named itself of any size.
   */
  readonly maxFileBytes: number | null;
  /** Stop selecting after this many bytes of text; null for all. */
  readonly maxBytes: number | null;
  /** Remove exact and near duplicates of at least this Jaccard similarity; null keeps them. */
  readonly nearDuplicates: number | null;
  /** Share of the text that is held out for evaluation. */
  readonly heldOut: number;
  /**
   * Seed of the choice of files, of what is held out and of the tokenizer's sample; null: the run's seed. One value for runs of
   * several seeds gives them the same tokenizer and the same held-out text, so that their losses can be compared.
   */
  readonly splitSeed: number | null;
  /** Share of documents turned into fill-in-the-middle examples. */
  readonly fimRate: number;
  /** The tokenizer learns from at most this many bytes of the training part, an even sample of its files. */
  readonly tokenizerBytes: number;
}

/** @throws ConfigError naming the setting that no run can have */
export function checkData(place: Place, value: unknown): asserts value is DataConfig {
  const { fields, at } = checkSection(place, "data", value);
  const { extensions, include, includeNodeModules, filters, nearDuplicates } = fields;
  const wanted = `${EXTENSION_PRESETS.join(", ")}, or a list such as ["md", "txt"]`;
  if (typeof extensions === "string") {
    if (!EXTENSION_PRESETS.includes(extensions as ExtensionPreset)) {
      const near = nearestName(extensions, EXTENSION_PRESETS);
      const hint = near ? `Did you mean ${near}?` : `For one extension: ["${extensions}"].`;
      refuseValue(at, "extensions", wanted, extensions, hint);
    }
  } else if (!Array.isArray(extensions) || extensions.length === 0) {
    refuseValue(at, "extensions", wanted, extensions);
  } else {
    for (const [i, one] of extensions.entries()) {
      if (typeof one !== "string" || !/^\.?[^./\\\s]\S*$/.test(one)) {
        refuseValue(at, `extensions[${i}]`, 'an extension such as "md"', one);
      }
    }
  }
  if (!Array.isArray(include)) refuseValue(at, "include", 'a list of paths such as [".github"]', include);
  for (const [i, path] of include.entries()) {
    if (typeof path !== "string" || path.trim() === "") refuseValue(at, `include[${i}]`, "a path", path);
  }
  if (typeof includeNodeModules !== "boolean") {
    refuseValue(at, "includeNodeModules", "true or false", includeNodeModules);
  }
  const rules = checkSection(at, "filters", filters);
  checkKeys(rules.at, rules.fields, Object.keys(ALL_FILTERS), "filter");
  for (const [rule, on] of Object.entries(rules.fields)) {
    if (typeof on !== "boolean") refuseValue(rules.at, rule, "true or false", on);
  }
  for (const name of ["maxFileBytes", "maxBytes"]) {
    if (fields[name] !== null) checkNumber(at, name, fields[name], { integer: true, min: 1 });
  }
  if (nearDuplicates !== null) checkNumber(at, "nearDuplicates", nearDuplicates, { above: 0, max: 1 });
  checkNumber(at, "heldOut", fields.heldOut, { above: 0, below: 1 });
  if (fields.splitSeed !== null) checkNumber(at, "splitSeed", fields.splitSeed, { integer: true });
  checkNumber(at, "fimRate", fields.fimRate, { min: 0, max: 1 });
  checkNumber(at, "tokenizerBytes", fields.tokenizerBytes, { integer: true, min: 1 });
}
