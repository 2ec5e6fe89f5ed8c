/** The table of baselines: statements, how many have a new structure, and what each fixed script proves. */
import type { BenchmarkRow } from "../../src/prove/corpus/benchmark.ts";
import { FAMILIES } from "../../src/prove/corpus/families.ts";
import { LEVELS } from "../../src/prove/corpus/family.ts";
import { parseStatement } from "../../src/prove/text/statements.ts";
import { codeTokens, nesting } from "../../src/prove/text/tokens.ts";

const BASELINES = ["B1", "B2", "B3", "B4"] as const;

/** Theorems that a statement joins by ∧ outside brackets. */
export function parts(statement: string): number {
  let depth = 0;
  let count = 1;
  for (const token of codeTokens(parseStatement(statement).conclusion)) {
    depth += nesting(token);
    if (depth === 0 && token.text === "∧") count++;
  }
  return count;
}

/** B5, the corpus' own scripts: levels 1 and 2, and no conjunction of three theorems or more. */
export const scripted = ({ level, family, formal_statement }: BenchmarkRow): boolean =>
  level < 3 && !(family === "conj" && parts(formal_statement) >= 3);

/** Markdown, one row a family and one for all. */
export function baselineTable(rows: readonly BenchmarkRow[]): string {
  const families = [...new Set(rows.map(({ family }) => family))];
  const head = ["family", "n", "new structure", ...BASELINES, "automation", "B5"];
  const count = (some: readonly BenchmarkRow[], of: (row: BenchmarkRow) => boolean) =>
    String(some.filter(of).length);
  const line = (name: string, some: readonly BenchmarkRow[]) => [
    name,
    String(some.length),
    count(some, ({ novelty }) => novelty === "structure"),
    ...BASELINES.map((each) => count(some, ({ automation }) => automation.includes(each))),
    count(some, ({ automation }) => automation.length > 0),
    count(some, scripted),
  ];
  const body = families.map((family) =>
    line(
      family,
      rows.filter((row) => row.family === family),
    ),
  );
  const automated = rows.filter(({ automation }) => automation.length > 0).length;
  const share = `${((100 * automated) / Math.max(1, rows.length)).toFixed(1)}%`;
  const table = [head, head.map(() => "---"), ...body, line("**all**", rows)];
  return `${table.map((cells) => `| ${cells.join(" | ")} |`).join("\n")}\n\nFixed scripts together: ${share}.`;
}

/** The families with the dials of their levels, as Markdown. */
export function familyTable(): string {
  const lines = FAMILIES.map(({ name, about, levels }) => {
    const dials = Object.keys(levels[1]).map((dial) => {
      const values = LEVELS.map((level) => levels[level][dial]);
      return `${dial} ${new Set(values).size === 1 ? values[0] : values.join("/")}`;
    });
    return `| ${name} | ${about} | ${dials.join(", ")} |`;
  });
  return ["| family | about | dials at levels 1/2/3 |", "| --- | --- | --- |", ...lines].join("\n");
}
