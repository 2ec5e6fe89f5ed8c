/** What `deepseek-ts prove` is to do in Lean files, as their text tells it, before a model or a Lean is opened. */
import { readTextFile } from "../files/text-file.ts";
import { type FilePlan, planFile } from "../prove/fill/plan.ts";
import { ConfigError } from "../tensor/errors.ts";

/** A file with its plan. */
export interface PlannedFile extends Pick<FilePlan, "units" | "left"> {
  readonly path: string;
}

/** @param only names of theorems to work on @throws ConfigError for a name that none of the files has a `sorry` in, FileError */
export async function planFiles(
  paths: readonly string[],
  only: readonly string[] | undefined,
): Promise<PlannedFile[]> {
  const plans: PlannedFile[] = [];
  const names = new Set<string>();
  for (const path of paths) {
    const plan = planFile(await readTextFile(path), only);
    for (const { declaration } of plan.sorries) {
      if (declaration !== null && declaration.name !== "") names.add(declaration.name);
    }
    plans.push({ path, ...plan });
  }
  for (const name of only ?? []) {
    if (names.has(name)) continue;
    throw new ConfigError("no sorry in a theorem of this name", {
      ...{ where: paths.join(", "), name: "--theorem", expected: [...names], found: name },
      hint: "Names are those that stand in the file, without the namespace around them.",
    });
  }
  return plans;
}
