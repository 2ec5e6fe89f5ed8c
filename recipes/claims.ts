/**
 * The table of all claims at the head of README.md, from the pages of the recipes' results:
 *
 *     node recipes/claims.ts
 */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** Where claims stand, in the order of the papers. */
const PAGES = [
  ["schedule", "RESULTS.md"],
  ["infilling", "RESULTS.md"],
  ["experts", "RESULTS.md"],
  ["balance", "RESULTS.md"],
  ["multi-token", "RESULTS.md"],
  ["format", "RESULTS.md"],
  ["countdown", "RESULTS.md"],
  ["addition", "RESULTS.md"],
  ["precision", "RESULTS.md"],
  ["attention", "RESULTS.md"],
  ["repository", "RESULTS.md"],
  ["context", "RESULTS.md"],
  ["scaling", "README.md"],
  ["vl", "RESULTS.md"],
  ["vl2", "RESULTS.md"],
  ["janus", "RESULTS.md"],
  ["janusflow", "RESULTS.md"],
  ["prover", "RESULTS.md"],
] as const;

const [BEGIN, END] = ["<!-- claims -->", "<!-- end of claims -->"];

interface Claim {
  readonly recipe: string;
  readonly page: string;
  readonly text: string;
  /** The paper's figure. */
  readonly paper: string;
  readonly measure: string;
  readonly verdict: string;
}

/** The rows of the table whose first column is `claim`. @throws Error if there is none */
function claimsOf(recipe: string, page: string, text: string): Claim[] {
  const lines = text.split("\n");
  const cellsOf = (line: string) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim());
  const head = lines.findIndex((line) => cellsOf(line)[0] === "claim");
  if (head < 0) throw new Error(`${recipe}/${page}: no table with a column "claim"`);
  const names = cellsOf(lines[head]);
  const rows: Claim[] = [];
  for (const line of lines.slice(head + 2)) {
    if (!line.startsWith("|")) break;
    const row = Object.fromEntries(cellsOf(line).map((cell, i) => [names[i], cell]));
    const verdict = row.verdict.replace(/^not decided:.*/, "not decided");
    const measure = row.arms === undefined ? (row.here ?? "") : `${row.arms}: ${row.measure}`;
    rows.push({ recipe, page, text: row.claim, paper: row.paper ?? "–", measure, verdict });
  }
  return rows;
}

/** README.md with the table as the pages have it now. @param folder of the recipes */
export async function withClaims(folder: string): Promise<string> {
  const readme = await readFile(join(folder, "README.md"), "utf8");
  const [begin, end] = [readme.indexOf(BEGIN), readme.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`README.md: expected ${BEGIN} and ${END}`);
  const pages = PAGES.map(async ([recipe, page]) =>
    claimsOf(recipe, page, await readFile(join(folder, recipe, page), "utf8")),
  );
  const claims = (await Promise.all(pages)).flat();
  const rows = claims.map(
    ({ recipe, page, text, paper, measure, verdict }) =>
      `| [\`${recipe}\`](${recipe}/${page}) | ${text} | ${paper} | ${measure} | ${verdict} |`,
  );
  const decided = claims.filter(({ verdict }) => verdict !== "not decided").length;
  const table = [
    `${decided} of ${claims.length} claims are decided.`,
    "",
    "| recipe | claim | paper | measured by | verdict |",
    "|---|---|---|---|---|",
    ...rows,
  ];
  return `${readme.slice(0, begin)}${BEGIN}\n\n${table.join("\n")}\n\n${readme.slice(end)}`;
}

if (import.meta.main) {
  await writeFile(join(import.meta.dirname, "README.md"), await withClaims(import.meta.dirname));
}
