/** RESULTS.md of a recipe whose claims are about seeds, and its picture: differences of each claim with their intervals. */
import { meanInterval } from "../../src/scaling/statistics.ts";
import { mean, standardDeviation } from "../../src/statistics/sample.ts";
import { armsSection, missingRuns, runsSection, svgPicture } from "../shared/page-parts.ts";
import type { ArmResult, RecipePage } from "../shared/results.ts";
import type { TextClaim } from "./declaration.ts";
import { measured, seedsOf, verdictOf } from "./verdicts.ts";

/** What a page of claims is made of. */
export interface ClaimsPage {
  readonly title: string;
  /** What a reader must know besides, in Markdown. */
  readonly notes: string;
  readonly arms: readonly { readonly name: string; readonly text: string }[];
  readonly claims: readonly TextClaim[];
  /** Columns of the table. */
  readonly measures: readonly string[];
  /** What `--full` does. */
  readonly longForm: string;
}

function cell(results: readonly ArmResult[], arm: string, measure: string): string {
  const own = results.filter((each) => each.arm === arm);
  const values = own.flatMap((each) => measured(each, measure) ?? []);
  if (values.length === 0) return "–";
  const share = own.some(({ scores }) => scores[measure] !== undefined);
  const show = (value: number) => (share ? (100 * value).toFixed(1) : value.toFixed(4));
  return values.length === 1 ? show(values[0]) : `${show(mean(values))} ± ${show(standardDeviation(values))}`;
}

function claimsTable(recipe: ClaimsPage, results: readonly ArmResult[], command: string): string {
  const rows = recipe.claims.map((claim) => {
    const { verdict, text } = verdictOf(results, claim, command);
    const arms = claim.with === undefined ? claim.arm : `${claim.arm} against ${claim.with}`;
    return `| ${claim.claim} | ${arms} | ${claim.measure} | ${claim.paper} | ${verdict}: ${text} |`;
  });
  return `## Claims\n\n| claim | arms | measure | paper | verdict |\n|---|---|---|---|---|\n${rows.join("\n")}`;
}

export function claimsPage(
  recipe: ClaimsPage,
  { command, seeds }: RecipePage,
  results: readonly ArmResult[],
  picture: string,
): string {
  const { arms, measures } = recipe;
  const rows = arms.map(({ name }) => {
    const own = results.filter((each) => each.arm === name).map(({ seed }) => seed);
    const cells = measures.map((measure) => cell(results, name, measure));
    return `| ${name} | ${own.length === 0 ? "not run" : own.join(", ")} | ${cells.join(" | ")} |`;
  });
  const missing = missingRuns(
    results,
    arms.map(({ name }) => name),
    seeds,
  );
  const hashes = [...new Set(results.flatMap(({ data }) => (data ? [`${data.corpus}, ${data.hash}`] : [])))];
  const text = hashes.length === 0 ? "" : `Text: ${hashes.join("; ")} (\`recipes/corpora.ts\`). `;
  const parts = [
    `# ${recipe.title}`,
    recipe.notes,
    "Differences are within seeds: arms of a seed share the order of the data, the split and, where shapes agree, their first weights. Losses are " +
      "compared relative to the second arm's, shares in points. Intervals are 95 %: Student's t over seeds, or of one seed's test items by bootstrap. A claim is reproduced if " +
      "the interval lies in what is claimed, contradicted if it lies outside, else not decided.",
    results.length > 0 ? `![${recipe.title}](${picture})` : "",
    claimsTable(recipe, results, command),
    armsSection(Object.fromEntries(arms.map(({ name, text: what }) => [name, what]))),
    `## Measures\n\nWritten by \`${command}\`. Means over seeds, with the standard deviation between them; shares in percent.\n\n| arm | seeds | ${measures.join(" | ")} |\n|---|---|${"---|".repeat(measures.length)}\n${rows.join("\n")}`,
    runsSection(results, 2, `${text}Updates, and minutes of two cores.`),
    missing === null
      ? ""
      : `## Not run\n\n${missing.text} \`${command}\` goes on with ${missing.first}; what is finished is not run again.`,
    `## The long form

\`${command} -- --full\` ${recipe.longForm}; its results stay with its state.`,
  ];
  return `${parts.filter((part) => part !== "").join("\n\n")}\n`;
}

/** A line for each claim that compares two arms: differences of all seeds, their mean and its interval, as parts or shares. */
export function claimsPicture(recipe: ClaimsPage, results: readonly ArmResult[]): string {
  const lines = recipe.claims.flatMap((claim) => {
    if (claim.with === undefined) return [];
    const { values, base } = seedsOf(results, claim);
    if (values.length === 0) return [];
    const share = results.some(({ scores }) => scores[claim.measure] !== undefined);
    const absolute = claim.absolute === true;
    const scaled = values.map((value) => (absolute ? value : (100 * value) / (share ? 1 : base)));
    const interval = scaled.length > 1 ? meanInterval(scaled) : null;
    return [{ claim, scaled, interval, unit: absolute ? "difference" : share ? "points" : "%" }];
  });
  const [left, width, step] = [330, 420, 44];
  const parts: string[] = [];
  lines.forEach(({ claim, scaled, interval, unit }, i) => {
    const y = 30 + i * step;
    // Each line has its own scale, with zero in the middle.
    const most = 1.15 * Math.max(1e-9, ...scaled.map(Math.abs), ...(interval ?? []).map(Math.abs));
    const x = (value: number) => left + (width * (value / most + 1)) / 2;
    parts.push(
      `<text x="8" y="${y - 2}">${claim.arm} − ${claim.with}</text><text x="8" y="${y + 12}" fill="#666">${claim.measure}, ${unit}</text>`,
      `<line x1="${left}" x2="${left + width}" y1="${y}" y2="${y}" stroke="#ddd"/><line x1="${x(0)}" x2="${x(0)}" y1="${y - 14}" y2="${y + 14}" stroke="#999"/>`,
    );
    if (claim.expects.kind === "same") {
      const edge = 100 * claim.expects.within;
      const [from, to] = [Math.max(left, x(-edge)), Math.min(left + width, x(edge))];
      parts.push(
        `<rect x="${from}" y="${y - 10}" width="${to - from}" height="20" fill="#3c8c4c" opacity="0.12"/>`,
      );
    }
    if (interval !== null) {
      parts.push(
        `<line x1="${x(interval[0])}" x2="${x(interval[1])}" y1="${y}" y2="${y}" stroke="#2f6fab" stroke-width="3"/>`,
      );
    }
    for (const value of scaled) parts.push(`<circle cx="${x(value)}" cy="${y}" r="3" fill="#c8702a"/>`);
    parts.push(
      `<text x="${left + width + 8}" y="${y + 4}">${mean(scaled).toFixed(2)}</text>`,
      `<text x="${left}" y="${y + 18}" fill="#999" font-size="9">${(-most).toFixed(2)}</text>`,
      `<text x="${left + width}" y="${y + 18}" fill="#999" font-size="9" text-anchor="end">${most.toFixed(2)}</text>`,
    );
  });
  const [w, h] = [left + width + 70, 30 + lines.length * step];
  return svgPicture(`${recipe.title}: differences within seeds`, w, h, parts);
}
