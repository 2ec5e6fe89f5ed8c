/** Results of a recipe: one JSON line for each arm and seed, a Markdown table, and a picture. What was not run is not decided. */
import { armsSection, missingRuns, runsSection, svgPicture } from "./page-parts.ts";
import { pairedText, pairsOf } from "./paired.ts";
import { type Count, interval, type Scores } from "./score.ts";

/** What one arm of one seed came to. */
export interface ArmResult {
  readonly arm: string;
  readonly seed: number;
  readonly scores: Scores;
  /**
   * Scores item by item, from 0 to 1, in the order of the test set: arms that answered the same items are compared item by item.
   */
  readonly items?: Readonly<Record<string, readonly number[]>>;
  /** What is no share of anything: decibels, counts. */
  readonly figures?: Readonly<Record<string, number>>;
  /** Pictures by what they show, as names of files beside the page. */
  readonly pictures?: Readonly<Record<string, string>>;
  /** Updates and minutes of two cores of each stage. */
  readonly stages: Readonly<Record<string, { readonly steps: number; readonly minutes: number }>>;
  /** The corpus that was learned, and the hash of its files. */
  readonly data?: { readonly corpus: string; readonly hash: string };
  readonly commit: string;
  readonly machine: string;
  readonly date: string;
}

/** Two arms and what is compared between them. */
export interface Comparison {
  readonly claim: string;
  /** The arm that the claim says is better, and the other. */
  readonly better: string;
  readonly worse: string;
  readonly measure: string;
}

export interface RecipePage {
  readonly title: string;
  readonly command: string;
  /** All arms by name, with what they are. */
  readonly arms: Readonly<Record<string, string>>;
  readonly comparisons: readonly Comparison[];
  /** Columns of the table. */
  readonly measures: readonly string[];
  /** Those that the picture shows (default: all). */
  readonly pictured?: readonly string[];
  readonly seeds: readonly number[];
  /** What a reader must know besides, in Markdown. */
  readonly notes: string;
}

const percent = (value: number) => (100 * value).toFixed(1);

/** Counts of all seeds together. */
export function pooled(results: readonly ArmResult[], arm: string, measure: string): Count | null {
  const counts = results.filter((each) => each.arm === arm).flatMap(({ scores }) => scores[measure] ?? []);
  if (counts.length === 0) return null;
  const sum = (key: keyof Count) => counts.reduce((total, each) => total + each[key], 0);
  return { right: sum("right"), of: sum("of") };
}

/** 95 % interval of the difference of two shares (Newcombe 1998, method 10). */
export function difference(a: Count, b: Count): readonly [number, number] {
  const [p, q] = [a.right / a.of, b.right / b.of];
  const [[l1, u1], [l2, u2]] = [interval(a), interval(b)];
  const lower = p - q - Math.hypot(p - l1, u2 - q);
  const upper = p - q + Math.hypot(u1 - p, q - l2);
  return [lower, upper];
}

function share(count: Count | null): string {
  if (count === null) return "–";
  const [low, high] = interval(count);
  return `${percent(count.right / count.of)} (${percent(low)}–${percent(high)})`;
}

const seedsOf = (results: readonly ArmResult[], arm: string) =>
  new Set(results.filter((each) => each.arm === arm).map(({ seed }) => seed)).size;

/** @param first seeds that stand behind one arm's share, `second` behind the other's */
function scopeOf(first: number, second: number): string {
  if (first === 1 && second === 1) return ", one seed: the interval is of the test samples only";
  return first === second ? `, ${first} seeds` : `, ${first} seeds and ${second}`;
}

function verdict(
  results: readonly ArmResult[],
  { better, worse, measure }: Comparison,
  command: string,
): string {
  const [a, b] = [pooled(results, better, measure), pooled(results, worse, measure)];
  if (a === null || b === null) {
    const missing = [better, worse].filter((_, i) => [a, b][i] === null);
    return `not decided: ${missing.map((arm) => `\`${command} -- --arm ${arm}\``).join(", ")} goes on`;
  }
  const pairs = pairsOf(results, better, worse, measure);
  const [low, high] = pairs?.interval ?? difference(a, b);
  const points = pairs?.difference ?? a.right / a.of - b.right / b.of;
  const how = pairs === null ? "" : `, ${pairedText(pairs)}`;
  const found = `difference ${percent(points)} points (${percent(low)} to ${percent(high)}${how})`;
  const scope = scopeOf(pairs?.seeds ?? seedsOf(results, better), pairs?.seeds ?? seedsOf(results, worse));
  if (low > 0) return `supported: ${found}${scope}`;
  if (high < 0) return `contradicted: ${found}${scope}`;
  return `no difference shown: ${found}${scope}`;
}

function figureSection(results: readonly ArmResult[]): string {
  const rows = results.flatMap(({ arm, seed, figures = {} }) =>
    Object.entries(figures).map(
      ([name, value]) => `| ${arm} | ${seed} | ${name} | ${value.toPrecision(4)} |`,
    ),
  );
  return rows.length > 0
    ? `## Figures\n\n| arm | seed | figure | value |\n|---|---|---|---|\n${rows.join("\n")}`
    : "";
}

function pictureSection(results: readonly ArmResult[]): string {
  const all = results.flatMap(({ arm, seed, pictures = {} }) =>
    Object.entries(pictures).map(([name, file]) => {
      const title = `${arm}, seed ${seed}: ${name}`;
      return `### ${title}\n\n![${title}](${file})`;
    }),
  );
  return all.length > 0 ? `## Pictures\n\n${all.join("\n\n")}` : "";
}

/** RESULTS.md. */
export function resultsPage(page: RecipePage, results: readonly ArmResult[], picture: string): string {
  const { arms, measures, command, seeds } = page;
  const missing = missingRuns(results, Object.keys(arms), seeds);
  const rows = Object.keys(arms).map((arm) => {
    const own = results.filter((each) => each.arm === arm);
    if (own.length === 0) return `| ${arm} | not decided |${" |".repeat(measures.length)}`;
    const cells = measures.map((measure) => share(pooled(results, arm, measure)));
    return `| ${arm} | ${own.map(({ seed }) => seed).join(", ")} | ${cells.join(" | ")} |`;
  });
  return `${[
    `# ${page.title}`,
    page.notes,
    `Shares in percent with 95 % intervals (Wilson) over the test samples. Written by \`${command}\`.`,
    results.length > 0 ? `![${page.title}](${picture})` : "",
    `## Claims\n\n| claim | arms | measure | verdict |\n|---|---|---|---|\n${page.comparisons
      .map((each) => {
        const { claim, better, worse, measure } = each;
        return `| ${claim} | ${better} over ${worse} | ${measure} | ${verdict(results, each, command)} |`;
      })
      .join("\n")}`,
    armsSection(arms),
    `## Scores\n\n| arm | seeds | ${measures.join(" | ")} |\n|---|---|${"---|".repeat(measures.length)}\n${rows.join("\n")}`,
    figureSection(results),
    pictureSection(results),
    runsSection(results, 1, "Updates of each stage, and its minutes of two cores."),
    missing === null
      ? ""
      : `## Not decided\n\n${missing.text} \`${command} -- --seed ${seeds.join(",")}\` goes on with the first, ${missing.first}; what is finished is not run again.`,
  ]
    .filter((part) => part !== "")
    .join("\n\n")}\n`;
}

const COLORS = ["#2f6fab", "#c8702a", "#3c8c4c", "#8c4f9f", "#777777", "#b03a48", "#268c8c", "#a08a1a"];

/** Bars with their intervals: groups of measures, a bar for each arm that has them. */
export function resultsPicture(page: RecipePage, results: readonly ArmResult[]): string {
  const arms = Object.keys(page.arms).filter((arm) => results.some((each) => each.arm === arm));
  const measures = page.pictured ?? page.measures;
  const [left, top, height, bar, gap] = [72, 16, 220, 14, 18];
  const group = arms.length * bar + gap;
  const width = left + measures.length * group + 12;
  const y = (value: number) => top + height * (1 - value);
  const parts: string[] = [];
  for (const value of [0, 0.25, 0.5, 0.75, 1]) {
    parts.push(`<line x1="${left}" x2="${width - 8}" y1="${y(value)}" y2="${y(value)}" stroke="#ccc"/>`);
    parts.push(`<text x="${left - 6}" y="${y(value) + 4}" text-anchor="end">${100 * value}</text>`);
  }
  measures.forEach((measure, m) => {
    const x0 = left + m * group + gap / 2;
    arms.forEach((arm, i) => {
      const count = pooled(results, arm, measure);
      if (count === null) return;
      const [x, value] = [x0 + i * bar, count.right / count.of];
      const [low, high] = interval(count);
      parts.push(
        `<rect x="${x + 1}" y="${y(value)}" width="${bar - 2}" height="${height * value}" fill="${COLORS[i % COLORS.length]}"/>`,
        `<line x1="${x + bar / 2}" x2="${x + bar / 2}" y1="${y(low)}" y2="${y(high)}" stroke="#222"/>`,
      );
    });
    const [x, at] = [x0 + (arms.length * bar) / 2, top + height + 14];
    parts.push(
      `<text x="${x}" y="${at}" text-anchor="end" transform="rotate(-32 ${x} ${at})">${measure}</text>`,
    );
  });
  arms.forEach((arm, i) => {
    const at = top + height + 104 + 16 * i;
    parts.push(
      `<rect x="${left}" y="${at - 9}" width="10" height="10" fill="${COLORS[i % COLORS.length]}"/>`,
    );
    parts.push(`<text x="${left + 16}" y="${at}">${arm}: ${page.arms[arm].replaceAll("<", "&lt;")}</text>`);
  });
  const total = top + height + 112 + 16 * arms.length;
  const full = Math.max(width, 640);
  return svgPicture(`${page.title}: scores`, full, total, parts);
}
