/** The command line that recipes share: which arms and seeds, how long, where the state is; results as they come. */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { appendFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { cpus } from "node:os";
import { join } from "node:path";
import { Command, CommanderError } from "commander";
import { replaceOwnFile } from "../../src/files/owned.ts";
import { createCpuDevice } from "../../src/tensor/cpu/backend.ts";
import type { Device } from "../../src/tensor/tensor.ts";
import type { RgbImage } from "../../src/vision/image/image.ts";
import { encodePng } from "../../src/vision/image/png-writer.ts";
import { type ArmResult, type RecipePage, resultsPage, resultsPicture } from "./results.ts";
import { checkResultsFolder } from "./results-folder.ts";
import type { Scores } from "./score.ts";
import { type StageContext, StageStopped } from "./stage.ts";

/** What an arm works with. */
export interface ArmContext {
  readonly device: Device;
  readonly seed: number;
  readonly small: boolean;
  /** Whether the long form is run. */
  readonly full: boolean;
  /** Folder of everything that is not results. */
  readonly state: string;
  /** Minutes of two cores for an arm's stages together, which they share as the recipe says; 0 where it counts steps. */
  readonly minutes: number;
  /** Folder of the arm's own stages. */
  readonly stages: StageContext;
  /** Folder of what arms of a seed share. */
  readonly shared: StageContext;
  readonly print: (line: string) => void;
}

export interface ArmOutcome {
  readonly scores: Scores;
  readonly stages: ArmResult["stages"];
  readonly figures?: ArmResult["figures"];
  readonly items?: ArmResult["items"];
  readonly data?: ArmResult["data"];
  /** Pictures by what they show. */
  readonly pictures?: Readonly<Record<string, RgbImage>>;
}

export interface Arm {
  readonly name: string;
  /** What it is, for the table. */
  readonly text: string;
  /** Minutes by default, where they are not those of the recipe. */
  readonly minutes?: number;
  /** Trains and examines. @throws StageStopped */
  run(context: ArmContext): Promise<ArmOutcome>;
}

export interface Recipe extends Omit<RecipePage, "arms" | "seeds" | "command"> {
  readonly name: string;
  /** Folder of the recipe, where its results are kept. */
  readonly folder: string;
  /** In the order in which they run. */
  readonly arms: readonly Arm[];
  /** Minutes of an arm by default; null where stages have numbers of steps: then `--minutes` is refused. */
  readonly minutes: number | null;
  /** Seeds of the table (1, 2, 3); where they are named, all of them run by default. */
  readonly seeds?: readonly number[];
  /** What `--full` runs: the same arms for longer. Its results stay with its state, as those of other minutes then do. */
  readonly full?: { readonly text: string; readonly minutes: number | null };
  /** RESULTS.md and the picture, where they are not tables of shares. */
  readonly report?: (
    page: RecipePage,
    results: readonly ArmResult[],
    picture: string,
  ) => { readonly page: string; readonly picture: string };
  /** What `--small` runs where no arm is named: a training short enough to wait for, which shows something. */
  readonly small?: Arm;
}

const SEEDS = [1, 2, 3];

function commitOf(folder: string): string {
  try {
    const git = (...args: string[]) => execFileSync("git", args, { cwd: folder, encoding: "utf8" }).trim();
    return `${git("rev-parse", "HEAD")}${git("status", "--porcelain", "--", "../../src") === "" ? "" : "+"}`;
  } catch {
    return "unknown";
  }
}

async function readResults(path: string): Promise<ArmResult[]> {
  if (!existsSync(path)) return [];
  const text = await readFile(path, "utf8");
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as ArmResult);
}

/** Writes pictures as `NAME.png` into `pictures/`. @returns where they are, from `folder` */
async function writePictures(
  folder: string,
  prefix: string,
  pictures: Readonly<Record<string, RgbImage>>,
): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  for (const [name, image] of Object.entries(pictures)) {
    const file = join("pictures", `${prefix}-${name.replaceAll(/[^\w.]+/g, "-")}.png`);
    await mkdir(join(folder, "pictures"), { recursive: true });
    await writeFile(join(folder, file), await encodePng(image));
    files[name] = file;
  }
  return files;
}

const shortMinutes = (minutes: number) => `${Number(minutes.toPrecision(3))}`;
const minutesText = ({ minutes, arms }: Recipe) =>
  [
    shortMinutes(minutes ?? 0),
    ...arms.flatMap((arm) => (arm.minutes ? [`${arm.name}: ${arm.minutes}`] : [])),
  ].join(", ");

const MOST_THREADS = 64;
const threadsByDefault = () => Math.min(2, cpus().length);

function numbers(text: string): number[] {
  return text.split(",").map((part) => {
    const value = Number(part);
    if (Number.isSafeInteger(value) && value >= 1 && value <= 1000) return value;
    throw new Error(`--seed: expected whole numbers from 1 to 1000, found ${JSON.stringify(part)}`);
  });
}

interface Flags {
  readonly small?: boolean;
  readonly full?: boolean;
  readonly minutes?: string;
  readonly arm?: string;
  readonly seed?: string;
  readonly state?: string;
  readonly results?: string;
  readonly threads?: string;
  readonly list?: boolean;
  readonly report?: boolean;
}

/** Runs a recipe as the command line says. Exit status 0 when everything that was asked is there, 1 after an error, 130 when stopped. */
export async function runRecipe(recipe: Recipe, argv: readonly string[]): Promise<number> {
  const command = `npm run recipe:${recipe.name} --`;
  const program = new Command(`recipe:${recipe.name}`)
    .description(`${recipe.title}. Finished runs are kept and not repeated; a stopped one goes on.`)
    .option(
      "--small",
      recipe.small === undefined
        ? "a few steps of everything, to see that it runs (under 10 minutes); nothing is claimed"
        : `${recipe.small.text}; with --arm a few steps of these, to see that they run`,
    )
    .option("--arm <names>", "arms, separated by commas (default: all)")
    .option("--seed <numbers>", `seeds, separated by commas (default ${(recipe.seeds ?? [1]).join(",")})`)
    .option("--state <folder>", `stages and their checkpoints (default runs/recipe-${recipe.name})`)
    .option(
      "--results <folder>",
      "results, page and pictures (default: the recipe's own folder; of short forms, that of the state)",
    )
    .option(
      "--threads <n>",
      `threads of a run (default ${threadsByDefault()}); with 1 another recipe has the other core`,
    )
    .option("--list", "show arms and which runs are finished")
    .option("--report", "write the table and the picture of the results that are there, and run nothing")
    .addHelpText(
      "after",
      `\nExamples:\n  ${command} --small\n  ${command} --arm ${recipe.arms[0].name}\n  ${command} --seed 1,2,3\n  ${command} --arm ${recipe.arms[0].name} --results /tmp/pilot --state /tmp/pilot`,
    );
  if (recipe.minutes !== null) {
    const text = `minutes of two cores for the stages of an arm (default ${minutesText(recipe)})`;
    program.option("--minutes <n>", text);
  }
  if (recipe.full !== undefined) program.option("--full", recipe.full.text);
  program.exitOverride().parse(argv, { from: "user" });
  const flags = program.opts<Flags>();
  const small = flags.small === true;
  const asked = flags.minutes === undefined ? null : Number(flags.minutes);
  if (asked !== null && !(asked > 0 && asked <= 10_000)) {
    throw new Error(`--minutes: expected more than 0, at most 10000, found ${JSON.stringify(flags.minutes)}`);
  }
  const threads = flags.threads === undefined ? threadsByDefault() : Number(flags.threads);
  if (!(Number.isInteger(threads) && threads >= 1 && threads <= MOST_THREADS)) {
    throw new Error(`--threads: expected 1 to ${MOST_THREADS}, found ${JSON.stringify(flags.threads)}`);
  }
  const full = flags.full === true;
  if ([small, full, asked !== null].filter(Boolean).length > 1 && recipe.full !== undefined) {
    throw new Error("--small, --full and --minutes: expected one of them");
  }
  const seeds = flags.seed === undefined ? (recipe.seeds ?? [1]) : numbers(flags.seed);
  const short = small && flags.arm === undefined ? recipe.small : undefined;
  const known = short === undefined ? recipe.arms : [short];
  const names = flags.arm?.split(",") ?? known.map(({ name }) => name);
  const arms = names.map((name) => {
    const arm = known.find((each) => each.name === name);
    if (arm) return arm;
    throw new Error(
      `--arm: expected ${known.map((each) => each.name).join(", ")}, found ${JSON.stringify(name)}`,
    );
  });

  const form = small ? "-small" : full ? "-full" : asked !== null && recipe.full ? `-${asked}-minutes` : "";
  const state = flags.state ?? join("runs", `recipe-${recipe.name}${form}`);
  const target =
    flags.results ?? (small || (recipe.full !== undefined && form !== "") ? state : recipe.folder);
  const path = join(target, "results.jsonl");
  if (flags.results !== undefined) checkResultsFolder(target, "results.jsonl");
  const results = await readResults(path);
  const foreign = flags.results && results.find(({ arm }) => known.every(({ name }) => name !== arm));
  if (foreign) {
    throw new Error(
      `--results: ${path} holds the arm ${JSON.stringify(foreign.arm)}, which is not one of this recipe. Name another folder.`,
    );
  }
  const page: RecipePage = {
    ...recipe,
    command: `npm run recipe:${recipe.name}`,
    arms: Object.fromEntries(known.map(({ name, text }) => [name, text])),
    seeds: recipe.seeds ?? SEEDS,
  };
  const finished = (arm: string, seed: number) =>
    results.some((each) => each.arm === arm && each.seed === seed);
  if (flags.list) {
    for (const { name, text } of known) {
      const done = page.seeds.filter((seed) => finished(name, seed));
      console.log(`${name}: ${text}; finished: ${done.length > 0 ? `seed ${done.join(", ")}` : "none"}`);
    }
    return 0;
  }

  await mkdir(target, { recursive: true });
  const write = async () => {
    const picture = "results.svg";
    const made = recipe.report?.(page, results, picture) ?? {
      page: resultsPage(page, results, picture),
      picture: results.length > 0 ? resultsPicture(page, results) : "",
    };
    await replaceOwnFile(join(target, "RESULTS.md"), made.page);
    if (results.length > 0) await replaceOwnFile(join(target, picture), made.picture);
  };
  if (flags.report) {
    await write();
    console.log(join(target, "RESULTS.md"));
    return 0;
  }

  let stopped = false;
  const onSignal = () => {
    console.log("stops after this step and saves; the same command goes on");
    stopped = true;
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, onSignal);
  const machine = `${cpus()[0]?.model.trim() ?? "unknown processor"}, Node ${process.versions.node}`;
  const print = (line: string) => console.log(`${new Date().toISOString().slice(11, 19)} ${line}`);
  await using device = await createCpuDevice({ threads });
  for (const seed of seeds) {
    for (const arm of arms) {
      if (finished(arm.name, seed)) {
        print(`${arm.name}, seed ${seed}: finished before`);
        continue;
      }
      const context = (folder: string): StageContext => ({
        folder: join(state, folder),
        stopped: () => stopped,
        print: (line) => print(`${folder} ${line}`),
      });
      const stages = context(`${arm.name}-${seed}`);
      const shared = context(`shared-${seed}`);
      try {
        const minutes = asked ?? (full ? recipe.full!.minutes : (arm.minutes ?? recipe.minutes)) ?? 0;
        const { pictures, ...outcome } = await arm.run({
          device,
          seed,
          ...{ small, full, state, minutes },
          stages,
          shared,
          print,
        });
        const files = await writePictures(target, `${arm.name}-${seed}`, pictures ?? {});
        const date = new Date().toISOString().slice(0, 10);
        const result: ArmResult = {
          arm: arm.name,
          seed,
          ...outcome,
          ...(pictures && { pictures: files }),
          commit: commitOf(recipe.folder),
          machine,
          date,
        };
        results.push(result);
        await appendFile(path, `${JSON.stringify(result)}\n`);
        await write();
      } catch (error) {
        if (!(error instanceof StageStopped)) throw error;
        print(`${error.message}; the same command goes on`);
        await write();
        return 130;
      }
    }
  }
  await write();
  const line = {
    recipe: recipe.name,
    machine,
    commit: commitOf(recipe.folder),
    results: results.map(({ arm, seed }) => ({ arm, seed })),
  };
  console.log(JSON.stringify(line));
  print(`table and picture: ${join(target, "RESULTS.md")}`);
  return 0;
}

/** `runRecipe` as a program: an error ends it with one line. */
export async function runProgram(recipe: Recipe, argv: readonly string[]): Promise<number> {
  try {
    return await runRecipe(recipe, argv);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    console.error(`error: ${error instanceof Error ? error.message : String(error)}`);
    return 1;
  }
}
