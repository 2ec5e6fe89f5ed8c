/** The `data` part of a run's configuration: which text a run learns from, and the checks of its values. */
import { ALL_FILTERS, type FilterSwitches } from "../data/filters.ts";
import { EXTENSION_PRESETS, type ExtensionPreset } from "../data/select.ts";
import { ConfigError } from "../tensor/errors.ts";

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
  /** Share of documents turned into fill-in-the-middle examples. */
  readonly fimRate: number;
  /** The tokenizer learns from at most this many bytes of the training part, an even sample of its files. */
  readonly tokenizerBytes: number;
}

/** Settings that null switches off or leaves to the program. */
export const dataNulls = ["data.maxFileBytes", "data.maxBytes", "data.nearDuplicates"] as const;

const isStrings = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((item) => typeof item === "string" && item.trim() !== "");
const isCount = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 1;
const isShare = (value: unknown): value is number => typeof value === "number" && value >= 0 && value <= 1;

/** Refuses values that no run can have. @throws ConfigError naming the setting */
export function checkData(data: DataConfig, where: string): void {
  const check = (name: keyof DataConfig, valid: boolean, expected: string) => {
    if (valid) return;
    throw new ConfigError("out of range", {
      where,
      name: `data.${name}`,
      expected,
      found: JSON.stringify(data[name]),
    });
  };
  const { extensions, include, maxFileBytes, maxBytes, nearDuplicates, heldOut, fimRate } = data;
  const presets = EXTENSION_PRESETS.join(", ");
  const known = typeof extensions === "string" && EXTENSION_PRESETS.includes(extensions);
  const listed = isStrings(extensions) && extensions.length > 0;
  check("extensions", known || listed, `${presets}, or a list such as ["md", "txt"]`);
  check("include", isStrings(include), 'a list of paths such as [".github/workflows"]');
  for (const name of Object.keys(data.filters)) {
    check("filters", Object.hasOwn(ALL_FILTERS, name), Object.keys(ALL_FILTERS).join(", "));
  }
  check("maxFileBytes", maxFileBytes === null || isCount(maxFileBytes), "an integer, 1 or more, or null");
  check("maxBytes", maxBytes === null || isCount(maxBytes), "an integer, 1 or more, or null");
  const near = nearDuplicates === null || (isShare(nearDuplicates) && nearDuplicates > 0);
  check("nearDuplicates", near, "above 0, at most 1, or null");
  check("heldOut", isShare(heldOut) && heldOut > 0 && heldOut < 1, "between 0 and 1");
  check("fimRate", isShare(fimRate), "from 0 to 1");
  check("tokenizerBytes", isCount(data.tokenizerBytes), "an integer, 1 or more");
}
