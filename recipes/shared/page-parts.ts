/** What pages and pictures of all recipes' results have alike. */
import type { ArmResult } from "./results.ts";

/** A list of arms with what they are. */
export const armsSection = (arms: Readonly<Record<string, string>>): string =>
  `## Arms\n\n${Object.entries(arms)
    .map(([name, text]) => `- \`${name}\`: ${text}`)
    .join("\n")}`;

/** What was run, by whom and when. @param digits of minutes @param first stands before the table */
export function runsSection(results: readonly ArmResult[], digits: number, first: string): string {
  if (results.length === 0) return "";
  const rows = results.map(({ arm, seed, stages, commit, machine, date }) => {
    const each = Object.entries(stages).map(
      ([name, { steps, minutes }]) => `${name} ${steps} (${minutes.toFixed(digits)})`,
    );
    return `| ${arm} | ${seed} | ${each.join(", ")} | ${commit.slice(0, 8)} | ${machine} | ${date} |`;
  });
  return `## Runs\n\n${first}\n\n| arm | seed | stages | commit | machine | date |\n|---|---|---|---|---|---|\n${rows.join("\n")}`;
}

/** Runs of the table that nobody made yet, and the first of them; null if there are none. */
export function missingRuns(
  results: readonly ArmResult[],
  arms: readonly string[],
  seeds: readonly number[],
): { readonly text: string; readonly first: string } | null {
  const missing = arms.flatMap((arm) =>
    seeds
      .filter((seed) => !results.some((each) => each.arm === arm && each.seed === seed))
      .map((seed) => `${arm} of seed ${seed}`),
  );
  if (missing.length === 0) return null;
  return {
    text: `${missing.length} of ${arms.length * seeds.length} runs are missing.`,
    first: missing[0],
  };
}

/** A picture of these parts. */
export const svgPicture = (title: string, width: number, height: number, parts: readonly string[]): string =>
  `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="11"><title>${title}</title><rect width="100%" height="100%" fill="#fff"/>${parts.join("")}</svg>\n`;
