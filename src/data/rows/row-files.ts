/** Which files of a folder or of a data set on the hub hold its rows: by format, split and subset, as their names tell. */
import { ConfigError } from "../../tensor/errors.ts";

const FORMATS = /\.(jsonl|ndjson|json|parquet)$/i;
/** JSON that describes a data set and holds none of its rows. */
const DESCRIPTIONS = /(^|\/)(dataset_infos?|dataset_dict|state)\.json$/i;

const SPLITS: Readonly<Record<string, readonly string[]>> = {
  train: ["train", "training"],
  validation: ["validation", "valid", "val", "dev"],
  test: ["test", "testing", "eval", "evaluation"],
};

export interface FileFilter {
  /** Which split to read: `train` (default), `validation`, `test`, or a name as files have it, such as `train_sft`. */
  readonly split?: string;
  /** Folder of the one configuration to read. */
  readonly subset?: string;
}

/** Whether the name of a file says that rows are in it. */
export const isRowFile = (path: string) => FORMATS.test(path);

const nameOf = (path: string) => path.split("/").at(-1)!;

/** A file's name without format and number of its part: `train_sft` of `train_sft-00000-of-00003.parquet`. */
const stemOf = (path: string) =>
  nameOf(path)
    .replace(FORMATS, "")
    .replace(/-\d{5}-of-\d{5}$/, "");

/** The split that words of a path name; null if none does. */
function splitOf(path: string): string | null {
  const words = path.toLowerCase().split(/[^a-z]+/);
  return Object.keys(SPLITS).find((split) => SPLITS[split].some((word) => words.includes(word))) ?? null;
}

const folderOf = (path: string) => path.split("/").slice(0, -1).join("/");

/**
 * The files to read, sorted. `isOne` says that all belong to one data set, as on the hub: then files of several subsets or
 * splits are refused rather than run together. @throws ConfigError if none fits, or a choice is left
 */
export function chooseRowFiles(
  where: string,
  paths: readonly string[],
  { split, subset }: FileFilter = {},
  isOne = false,
): string[] {
  const inner = (path: string) => path.split("/").every((part) => !part.startsWith("."));
  const all = paths.filter((path) => isRowFile(path) && inner(path) && !DESCRIPTIONS.test(path)).sort();
  const within = subset === undefined ? all : all.filter((path) => path.startsWith(`${subset}/`));
  const wanted = split ?? "train";
  const exact = within.filter((path) => stemOf(path) === split);
  const classed = within.filter((path) => splitOf(path) === wanted);
  // Where no name says anything of splits, all is there to train on.
  const unnamed = split === undefined && within.every((path) => splitOf(path) === null);
  const chosen = exact.length > 0 ? exact : unnamed ? within : classed;
  if (chosen.length === 0) {
    throw new ConfigError("no files with rows", {
      where,
      expected: `${subset === undefined ? "" : `in ${subset}/: `}.jsonl, .json (lines) or .parquet files of the split ${wanted}`,
      found: all.length > 0 ? all.slice(0, 12) : paths.slice(0, 12),
      hint:
        all.length > 0 ? "Choose with --split and --subset." : "Other formats have to be converted first.",
    });
  }
  if (!isOne || unnamed) return chosen;
  const refuse = (what: string, option: string, found: readonly string[]): never => {
    throw new ConfigError(`the data set has several ${what}`, {
      where,
      expected: `one of them, by ${option}`,
      found: found.slice(0, 12),
    });
  };
  const folders = [...new Set(chosen.map(folderOf))];
  if (folders.length > 1) refuse("subsets", "--subset", folders);
  const stems = [...new Set(chosen.map((path) => stemOf(path).replace(/[-_.]?\d+$/, "")))];
  if (stems.length > 1) refuse("splits of this kind", "--split", stems);
  return chosen;
}
