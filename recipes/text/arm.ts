/** Trains one arm of a recipe on text, as a run that a kill leaves at its last saved state, and examines it. */
import { createHash } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { removeOwnFolder, replaceOwnFile } from "../../src/files/owned.ts";
import { mergeConfig, preset, type RunConfig } from "../../src/runs/config.ts";
import { createLinkedRun } from "../../src/runs/linked-run.ts";
import { prepareRun, type RunTexts, selectTexts } from "../../src/runs/preparation.ts";
import { Run } from "../../src/runs/run.ts";
import { RunStates } from "../../src/runs/states.ts";
import { corpus } from "../corpora.ts";
import type { ArmContext, ArmOutcome } from "../shared/program.ts";
import { CORES, coreSeconds, StageStopped } from "../shared/stage.ts";
import type { TextArm, TextRecipe } from "./declaration.ts";
import { lossGroups, scoreHeldOut } from "./held-out.ts";
import { inPieces } from "./pieces.ts";
import { repositoryTexts } from "./repository.ts";

/** Of the split, the tokenizer and the sample of files, whatever the seed of an arm. */
const SPLIT_SEED = 1;
/** Sequences of held-out text that are scored at most. */
const MOST_SEQUENCES = 2000;
const SMALL_SEQUENCES = 32;
/** `npm ci` brings it: the small form needs no network. */
const SMALL_CORPUS = "zod";
const PRINT_SECONDS = 30;

/** Steps of an arm whose `length` is 1. */
function stepsOf(recipe: TextRecipe, { small, full, minutes }: ArmContext, length: number): number {
  const timed = minutes * 60 * CORES * recipe.speed;
  const tokens = small ? recipe.small.tokens : full ? recipe.full.tokens : timed;
  return Math.max(2, Math.round(tokens / recipe.batch / length));
}

export function minutesOf(tokens: number, speed: number): number {
  return tokens / speed / 60 / CORES;
}

/** Every setting of an arm's run. */
export function armConfig(recipe: TextRecipe, arm: TextArm, context: ArmContext): RunConfig {
  const layers = [
    recipe.settings,
    context.small ? recipe.small.settings : context.full ? recipe.full.settings : {},
    arm.settings ?? {},
  ];
  const over = { seed: context.seed, data: { splitSeed: SPLIT_SEED } };
  const merged = [...layers, over].reduce((base, each) => mergeConfig(base, each), preset("llm-small"));
  const { sequenceLength } = merged.training;
  const steps = Math.round(stepsOf(recipe, context, sequenceLength) * (arm.length ?? 1));
  return mergeConfig(merged, {
    training: {
      ...{ steps, batch: { size: recipe.batch } },
      ...{
        evaluateEvery: steps,
        evaluateSequences: 1,
        saveEvery: Math.max(20, Math.ceil(steps / 6)),
        keep: 1,
      },
    },
  });
}

/** Folder of tokenizer and tokens, made once for all runs that read the same. */
async function prepareText(recipe: TextRecipe, arm: TextArm, config: RunConfig, context: ArmContext) {
  const { state, small, full, print, stages } = context;
  const name = small ? (recipe.small.corpus ?? SMALL_CORPUS) : full ? recipe.full.corpus : recipe.corpus;
  const found = await corpus(name);
  const { folder, manifest } = found;
  const { data, vocabSize } = config;
  const { order = "dependencies" } = arm;
  const held = recipe.heldOutProjects?.[name];
  // Only the transform of documents depends on the seed, and the order of projects and files.
  const seed = data.fimRate > 0 || held !== undefined ? config.seed : SPLIT_SEED;
  const settings = {
    ...{ hash: manifest.hash, data, vocabSize, seed, pieces: recipe.pieces ?? null },
    ...(held !== undefined && { held, order }),
  };
  const key = createHash("sha256").update(JSON.stringify(settings)).digest("hex").slice(0, 12);
  const out = join(state, `prepared-${key}`);
  if (existsSync(join(out, "run.json"))) return { out, manifest };
  const controller = new AbortController();
  const progress = () => {
    if (stages.stopped()) controller.abort(new StageStopped("stopped while text was prepared"));
  };
  const read = async (): Promise<RunTexts> => {
    if (held !== undefined) return await repositoryTexts(found, held, order, config.seed);
    const texts = await selectTexts(folder, { ...config, seed }, progress, controller.signal);
    return recipe.pieces === undefined ? texts : inPieces(texts, recipe.pieces);
  };
  const { trainTokens, heldOutTokens } = await prepareRun(
    await read(),
    out,
    { ...config, seed },
    progress,
    controller.signal,
  );
  print(`prepared ${trainTokens} tokens and ${heldOutTokens} held out, of ${manifest.name}`);
  return { out, manifest };
}

/** Seconds of two cores that a run has taken so far, kept beside it. */
async function secondsIn(path: string): Promise<number> {
  return existsSync(path) ? JSON.parse(await readFile(path, "utf8")) : 0;
}

const armFolder = ({ state, seed }: ArmContext, name: string) => join(state, `${name}-${seed}`);

/** Trains to the end, from where the arm stands. @returns the run, which the caller closes */
async function trained(recipe: TextRecipe, arm: TextArm, context: ArmContext) {
  const { device, stages, print } = context;
  const config = armConfig(recipe, arm, context);
  const folder = join(armFolder(context, arm.name), "run");
  const { out, manifest } = await prepareText(recipe, arm, config, context);
  if (!existsSync(join(folder, "run.json"))) {
    const links = { prepared: relative(folder, out) };
    const start = arm.after === undefined ? null : await endOf(recipe, arm.after, context);
    await createLinkedRun(
      folder,
      config,
      { ...links, ...(start !== null && { start: relative(folder, start) }) },
      manifest.name,
    );
  }
  const timing = join(folder, "..", "seconds.json");
  const before = await secondsIn(timing);
  const began = process.cpuUsage();
  const seconds = () => before + coreSeconds(began);
  const run = await Run.open(folder, device);
  try {
    // A recipe that was changed, or another form of it with the same state.
    if (!isDeepStrictEqual(run.config, config)) {
      throw new Error(
        `${folder} was begun with other settings than ${arm.name} has now: name another --state`,
      );
    }
    const from = run.trainer.step;
    if (from > 0 && !run.trainer.done) print(`${arm.name}-${context.seed}: goes on at step ${from}`);
    const controller = new AbortController();
    let printed = Number.NEGATIVE_INFINITY;
    const { finished, step } = await run.train(
      {
        onStep({ step, loss }) {
          if (stages.stopped()) controller.abort();
          if (seconds() - printed < PRINT_SECONDS) return;
          printed = seconds();
          print(
            `${arm.name}-${context.seed}: step ${step} of ${config.training.steps}, loss ${loss.toFixed(3)}`,
          );
        },
        onSave: () => writeFileSync(timing, JSON.stringify(seconds())),
      },
      controller.signal,
    );
    await replaceOwnFile(timing, JSON.stringify(seconds()));
    if (!finished) throw new StageStopped(`${arm.name}-${context.seed}: stopped and saved at step ${step}`);
    return { run, minutes: seconds() / 60, manifest, folder };
  } catch (error) {
    await run[Symbol.asyncDispose]();
    throw error;
  }
}

const statesOf = (folder: string) => new RunStates(join(folder, "checkpoints"));

const armOf = ({ arms }: TextRecipe, name: string): TextArm => arms.find((each) => each.name === name)!;

/** Steps that an arm found done by the one it goes on from. */
const stepsBefore = (recipe: TextRecipe, { after }: TextArm, context: ArmContext): number =>
  after === undefined ? 0 : armConfig(recipe, armOf(recipe, after), context).training.steps!;

/** Folder of the state at the end of an arm, which is trained if it was not. */
async function endOf(recipe: TextRecipe, name: string, context: ArmContext): Promise<string> {
  const { run, folder } = await trained(recipe, armOf(recipe, name), context);
  await run[Symbol.asyncDispose]();
  const states = statesOf(folder);
  return states.path((await states.steps()).at(-1)!);
}

/** Whether another arm of the recipe goes on from this one. */
const isContinued = ({ arms }: TextRecipe, name: string) => arms.some(({ after }) => after === name);

/** Trains and examines. @throws StageStopped */
export async function runArm(recipe: TextRecipe, arm: TextArm, context: ArmContext): Promise<ArmOutcome> {
  const { run, minutes, manifest, folder } = await trained(recipe, arm, context);
  const { small, seed } = context;
  await using _ = run;
  const heldOut = await scoreHeldOut(run, small ? SMALL_SEQUENCES : MOST_SEQUENCES);
  const loss = lossGroups(heldOut, run.tokenizer.specialIds.eos!);
  const outcome = {
    scores: {} as Record<string, ArmOutcome["scores"][string]>,
    figures: {
      ...{ loss: heldOut.loss, "bits per byte": heldOut.bitsPerByte, tokens: run.trainer.tokens },
    } as Record<string, number>,
    items: { loss } as Record<string, readonly number[]>,
  };
  for (const exam of recipe.exams) {
    const { scores, figures, items } = await exam({ run, heldOut, seed, small });
    Object.assign(outcome.scores, scores);
    Object.assign(outcome.figures, figures);
    Object.assign(outcome.items, items);
  }
  // Of thousands of runs only their figures stay, and what others go on from.
  if (!isContinued(recipe, arm.name)) {
    const states = statesOf(folder);
    for (const step of await states.steps()) await removeOwnFolder(states.path(step));
  }
  context.print(`${arm.name}-${seed}: loss ${heldOut.loss.toFixed(4)} nats a token`);
  return {
    ...outcome,
    stages: { train: { steps: run.trainer.step - stepsBefore(recipe, arm, context), minutes } },
    data: { corpus: manifest.name, hash: manifest.hash },
  };
}
