/** What `deepseek-ts prove` is to do in Lean files, as their text tells it, before a model or a Lean is opened. */
import { FileError } from "../files/file-error.ts";
import { readTextFile } from "../files/text-file.ts";
import { type FilePlan, planFile } from "../prove/fill/plan.ts";
import { ConfigError, FormatError } from "../tensor/errors.ts";

/** A file with its plan. */
export interface PlannedFile extends Pick<FilePlan, "units" | "left"> {
  readonly path: string;
}

/** A file that nothing can be done in, and why. */
export interface FailedFile {
  readonly path: string;
  readonly error: unknown;
}

/** Whether an error is one file's, so that others can be worked on all the same. */
export const isFilesFault = (error: unknown): boolean =>
  error instanceof FileError || error instanceof FormatError;

/**
 * @param only names of theorems to work on
 * @throws ConfigError for a name that none of the files has a `sorry` in, where all of them can be read
 */
export async function planFiles(
  paths: readonly string[],
  only: readonly string[] | undefined,
): Promise<{ readonly plans: readonly PlannedFile[]; readonly failed: readonly FailedFile[] }> {
  const plans: PlannedFile[] = [];
  const failed: FailedFile[] = [];
  const names = new Set<string>();
  for (const path of paths) {
    try {
      const plan = planFile(await readTextFile(path), only);
      for (const { declaration } of plan.sorries) {
        if (declaration !== null && declaration.name !== "") names.add(declaration.name);
      }
      plans.push({ path, ...plan });
    } catch (error) {
      if (!isFilesFault(error)) throw error;
      failed.push({ path, error });
    }
  }
  for (const name of failed.length > 0 ? [] : (only ?? [])) {
    if (names.has(name)) continue;
    throw new ConfigError("no sorry in a theorem of this name", {
      ...{ where: paths.join(", "), name: "--theorem", expected: [...names], found: name },
      hint: "Names are those that stand in the file, without the namespace around them.",
    });
  }
  return { plans, failed };
}
