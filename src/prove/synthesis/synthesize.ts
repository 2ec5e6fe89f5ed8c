/**
 * DeepSeek-Prover V1 (arXiv 2405.14333) from end to end: rounds of problems in words → statements → filters → proofs of statements
 * and negations, and between rounds the start model fine-tuned on everything that was proved. All state is in one folder:
 *
 *     synthesis.sqlite  statements.jsonl  proofs.jsonl  round-1/ (a model)  round-2/ ..
 *
 * Killed at any moment, the same call goes on: a sample that was checked is kept, one that was not is drawn again from its seed.
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { codeOf, explained } from "../../files/file-error.ts";
import { clearAbandonedIn, replaceOwnFile } from "../../files/owned.ts";
import { someOf } from "../../files/place.ts";
import { tryLock } from "../../files/process-lock.ts";
import { makeFolders } from "../../files/temporary.ts";
import { type LoadOptions, locateModel } from "../../pretrained/node-load.ts";
import { checkNumber } from "../../tensor/check-value.ts";
import { ConfigError } from "../../tensor/errors.ts";
import type { WordProblem } from "../formats/problems.ts";
import type { CheckOptions, LeanSession } from "../lean/session.ts";
import { type Funnel, funnelOf } from "../pipeline/funnel.ts";
import { type RoundEvent, runRound } from "../pipeline/round.ts";
import type { Sampling } from "../pipeline/sides.ts";
import { createProver, type Prover } from "../prover/prover.ts";
import type { ProverSettings } from "../prover/settings.ts";
import { CheckedLean, sha256 } from "../store/checked-lean.ts";
import { ProofStore } from "../store/store.ts";
import type { PromptStyle, ProofMode } from "../text/prompts.ts";
import type { NegationForm } from "../text/statements.ts";
import type { ProofForm } from "../train/forms.ts";
import { type FineTuneStep, type FineTuning, fineTune } from "./fine-tune.ts";
import { lessonTexts } from "./lessons.ts";
import { proofLines, statementLines } from "./outputs.ts";

export interface SynthesisOptions extends FineTuning {
  /** Folder of all state and results, made if it is missing. */
  readonly out: string;
  readonly problems: readonly WordProblem[];
  /** A folder, or a name on the hub: the model of the first round, and the one that every fine-tuning begins with. */
  readonly model: string;
  /** Stays the caller's. */
  readonly lean: LeanSession;
  readonly rounds: number;
  /** Proofs sampled of each side of a statement. */
  readonly perStatement: number;
  /** Default `universal`. */
  readonly negation?: NegationForm | "off";
  /** Proofs of the contradiction of its hypotheses that are sampled of a statement (default: half of `perStatement`). */
  readonly perVacuity?: number;
  /** Translations of each problem that has no statement left from earlier rounds (default 1). */
  readonly translations?: number;
  /** Whether the model grades statements (default true). */
  readonly grading?: boolean;
  /** Default: the model's own. */
  readonly style?: PromptStyle;
  /** Default `non-cot`. */
  readonly mode?: ProofMode;
  /** What is left out is as searches have it. */
  readonly sampling?: Partial<Sampling>;
  readonly check?: Pick<CheckOptions, "timeout" | "heartbeats">;
  /** Forms of training examples (default: `whole`). */
  readonly forms?: readonly ProofForm[];
  /** Most proofs of one side of a statement that are learned, the shortest first (default 4). */
  readonly proofsPerStatement?: number;
  /** Prompts of one generation (default 16). */
  readonly batch?: number;
  /** Default 0. */
  readonly seed?: number;
  /** Whether the folder may hold an unfinished synthesis of the same settings, which goes on. */
  readonly resume?: boolean;
  readonly load?: LoadOptions;
  readonly signal?: AbortSignal;
  readonly onNotice?: (text: string) => void;
}

/** Rounds count from 1. */
export type SynthesisEvent =
  | { readonly type: "round"; readonly round: number; readonly of: number; readonly model: string }
  | ({ readonly type: "stage"; readonly inRound: number } & RoundEvent)
  | { readonly type: "funnel"; readonly round: number; readonly funnel: Funnel }
  | { readonly type: "lessons"; readonly round: number; readonly texts: number }
  | ({ readonly type: "step"; readonly round: number } & FineTuneStep)
  | { readonly type: "model"; readonly round: number; readonly path: string };

const STORE = "synthesis.sqlite";
const LOCK = "synthesis.lock";
/** None for a folder that is not there. @throws FileError for what is no folder, or cannot be read */
const namesIn = (folder: string): Promise<string[]> =>
  explained(folder, "read", () => readdir(folder)).catch((error) => {
    if (codeOf(error) === "ENOENT") return [];
    throw error;
  });

/** The model of a round, from 1; a folder that exists is a round that is over. */
const roundName = (round: number) => `round-${round}`;

/**
 * @throws ConfigError for a folder with something else, or with a synthesis of other settings, by name
 * @throws the signal's reason
 */
export async function* synthesize(options: SynthesisOptions): AsyncGenerator<SynthesisEvent> {
  const { out, problems, rounds, signal } = options;
  checkOptions(options);
  await checkModel(options);
  const before = (await namesIn(out)).filter((name) => name !== LOCK);
  if (before.length > 0 && !before.includes(STORE)) {
    throw new ConfigError("the folder holds something else than a synthesis", {
      ...{ where: out, found: someOf(before) },
      hint: "Choose another folder, or empty it.",
    });
  }
  await makeFolders(out);
  const taken = await tryLock(join(out, LOCK));
  if (!("held" in taken)) {
    throw new ConfigError("another process works in this folder", {
      ...{ where: out, found: `process ${taken.owner.pid ?? "unknown"}` },
      hint: "Let it finish or stop it; the same command then goes on.",
    });
  }
  try {
    await clearAbandonedIn(out);
    using store = await ProofStore.open(join(out, STORE));
    const lean = new CheckedLean(options.lean, store);
    begin(store, options);
    store.transaction(() => {
      for (const { source, informal, preamble, truth } of problems) {
        const hash = sha256(JSON.stringify([informal, preamble]));
        const { id } = store.pipeline.addProblem({ source, informal, preamble }, hash);
        if (truth !== undefined) store.pipeline.setTruth(id, truth);
      }
    });
    let model = options.model;
    for (let round = 1; round <= rounds; round++) {
      const folder = join(out, roundName(round));
      if (!(await namesIn(out)).includes(roundName(round))) {
        signal?.throwIfAborted();
        yield { type: "round", round, of: rounds, model };
        yield* oneRound(round, model, folder, store, lean, options);
        yield { type: "model", round, path: folder };
      }
      model = folder;
    }
    await writeOutputs(store, options);
  } finally {
    await taken.held.release();
  }
}

async function* oneRound(
  round: number,
  model: string,
  folder: string,
  store: ProofStore,
  lean: LeanSession,
  options: SynthesisOptions,
): AsyncGenerator<SynthesisEvent> {
  const { out, load = {}, batch = 16, style, signal, onNotice } = options;
  let contextTokens: number;
  let settings: ProverSettings;
  {
    await using prover = await createProver({
      ...{ model, lean, store, style, parallel: batch },
      load: { ...load, signal },
    });
    contextTokens = prover.contextTokens;
    ({ settings } = prover);
    for await (const event of runRound(
      { generator: prover.generator, lean, store },
      roundOptions(prover, round, options),
    ))
      yield { type: "stage", inRound: round, ...event };
  }
  await writeOutputs(store, options);
  yield { type: "funnel", round, funnel: funnelOf(store) };
  const texts = await lessonTexts(store, lean, {
    ...{ prompt: { mode: options.mode, style: settings.style }, negation: formOf(options), signal },
    ...{ forms: options.forms ?? ["whole"], perStatement: options.proofsPerStatement ?? 4 },
  });
  yield { type: "lessons", round, texts: texts.length };
  if (texts.length === 0) {
    throw new ConfigError("nothing was proved, so there is nothing to learn from", {
      ...{ where: out, name: `round ${round}`, expected: "at least one proof" },
      hint: "Begin with a model that translates and proves a little, or give it more samples: --per-statement.",
    });
  }
  const job = {
    ...{ start: options.model, load, texts, settings, contextTokens, seed: options.seed ?? 0, folder },
    ...{ states: join(out, `training-${round}`), signal, onNotice },
  };
  for await (const step of fineTune(job, options)) yield { type: "step", round, ...step };
}

function roundOptions(prover: Prover, round: number, options: SynthesisOptions) {
  const { perStatement, perVacuity, translations, negation = "universal", grading, check } = options;
  const { batch = 16, seed = 0, mode, sampling, signal } = options;
  const { maxTokens } = prover.searchOptions({ maxTokens: sampling?.maxTokens });
  return {
    ...{ round: round - 1, seed, perStatement, perVacuity, translations, negation, grading, check, batch },
    prompt: { mode, style: prover.settings.style },
    sampling: { temperature: 1, topP: 0.95, ...sampling, maxTokens: maxTokens! },
    signal,
  };
}

/** The form of negations in the store; `off` has none. */
const formOf = ({ negation = "universal" }: SynthesisOptions): NegationForm =>
  negation === "off" ? "universal" : negation;

async function writeOutputs(store: ProofStore, options: SynthesisOptions): Promise<void> {
  await replaceOwnFile(join(options.out, "statements.jsonl"), statementLines(store));
  await replaceOwnFile(join(options.out, "proofs.jsonl"), proofLines(store, formOf(options)));
}

/** What decides the results; more rounds of the same go on. */
function settingsOf(options: SynthesisOptions): Record<string, unknown> {
  const { model, lean, problems, perStatement, seed = 0, negation = "universal" } = options;
  const { perVacuity, translations = 1, grading = true, mode = "non-cot", style, sampling, forms } = options;
  const { epochs, learningRate, batchRows, rowTokens, proofsPerStatement, check } = options;
  const known = problems.map(({ informal, preamble }) => [informal, preamble]);
  return {
    ...{ model, lean: lean.version, problems: sha256(JSON.stringify(known)), perStatement, seed, negation },
    ...{ perVacuity, translations, grading, mode, style, forms, epochs, learningRate, batchRows, rowTokens },
    ...{ proofsPerStatement, heartbeats: check?.heartbeats, ...sampling },
  };
}

/** @throws ConfigError if the store holds a synthesis that this one does not go on with */
function begin(store: ProofStore, options: SynthesisOptions): void {
  const wanted = JSON.parse(JSON.stringify(settingsOf(options))) as Record<string, unknown>;
  store.transaction(() => {
    const kept = store.setting("synthesis") as Record<string, unknown> | null;
    if (kept === null) return store.setSetting("synthesis", wanted);
    if (!options.resume) {
      throw new ConfigError("the folder holds a synthesis", {
        where: options.out,
        hint: "Go on with it by --resume, or choose another folder.",
      });
    }
    const names = [...new Set([...Object.keys(kept), ...Object.keys(wanted)])];
    const different = names.filter((name) => JSON.stringify(kept[name]) !== JSON.stringify(wanted[name]));
    if (different.length === 0) return;
    const list = (of: Record<string, unknown>) =>
      different.map((name) => `${name} ${JSON.stringify(of[name]) ?? "left out"}`).join(", ");
    throw new ConfigError("the synthesis in the folder has other settings", {
      ...{ where: options.out, expected: list(kept), found: list(wanted) },
      hint: "Go on with the settings that are expected, or choose another folder.",
    });
  });
}

/** Faults of the model are told before anything is written and anything large is read. @throws ConfigError, HubError */
async function checkModel({ model, load = {} }: SynthesisOptions): Promise<void> {
  const { gguf } = await locateModel(model, { ...load, download: false });
  if (gguf === null) return;
  throw new ConfigError("a GGUF file cannot be fine-tuned", {
    where: model,
    expected: "a folder with config.json and safetensors, or a name on the hub",
  });
}

/** Numbers that there may be. @throws ConfigError for an option out of range, by name */
function checkOptions(options: SynthesisOptions): void {
  const where = "synthesize";
  const { problems } = options;
  const most = { rounds: 1000, perStatement: 100_000, translations: 1000, proofsPerStatement: 100_000 };
  const ofTraining = { batch: 4096, epochs: 1000, batchRows: 65_536, rowTokens: 1_048_576 };
  for (const [name, max] of Object.entries({ ...most, ...ofTraining })) {
    const value = options[name as keyof typeof most | keyof typeof ofTraining];
    if (value !== undefined) checkNumber({ where }, name, value, { integer: true, min: 1, max });
  }
  const { perVacuity, learningRate, seed } = options;
  if (perVacuity !== undefined)
    checkNumber({ where }, "perVacuity", perVacuity, { integer: true, min: 0, max: 100_000 });
  if (learningRate !== undefined) checkNumber({ where }, "learningRate", learningRate, { above: 0, max: 1 });
  if (seed !== undefined) checkNumber({ where }, "seed", seed, { integer: true, min: 0 });
  if (problems.length === 0) throw new ConfigError("no problems", { where, expected: "at least one" });
}
