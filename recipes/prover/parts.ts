/** What arms of the prover's recipe are made of: its vocabulary, Lean behind a store of answers, training, models that write. */
import { mkdir } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { nodeFolderSink } from "../../src/checkpoint/node-files.ts";
import { saveCheckpoint } from "../../src/checkpoint/save.ts";
import { tiledConfigText, tiledEntries } from "../../src/checkpoint/tiles.ts";
import { Engine } from "../../src/engine/engine.ts";
import { type CausalLM, createModel } from "../../src/models/causal-lm.ts";
import { EngineGenerator } from "../../src/prove/engine-generator.ts";
import type { LeanSession } from "../../src/prove/lean/session.ts";
import { openWasmLean } from "../../src/prove/lean/wasm/open.ts";
import type { TextGenerator } from "../../src/prove/search/generator.ts";
import { CheckedLean } from "../../src/prove/store/checked-lean.ts";
import { ProofStore } from "../../src/prove/store/store.ts";
import type { Tokenizer } from "../../src/tokenizer/tokenizer.ts";
import { trainedTokenizerConfig } from "../../src/tokenizer/train-bpe.ts";
import { nextTokenLoss } from "../../src/train/objectives/next-token.ts";
import type { ArmContext, ArmOutcome } from "../shared/program.ts";
import { newestStep } from "../shared/ready.ts";
import { runStage, type StageContext, StageStopped, stageDone } from "../shared/stage.ts";
import { lengthOf, schedule } from "../shared/start.ts";
import { ExampleBatches } from "./batches.ts";
import { type ProofCuts, scriptedCuts } from "./cuts.ts";
import { type ExampleSource, example, type Mixture } from "./examples.ts";
import { CONTEXT, loadProver, PROVER_CONFIG, proverModel, proverTokenizer } from "./model.ts";

/** Most tokens of an answer. */
export const MAX_TOKENS = 384;
/** Sequences that a model writes together. */
export const TOGETHER = 16;
export const SAMPLING = { maxTokens: MAX_TOKENS, temperature: 1, topP: 0.95 } as const;
export const SHORT = { style: "short" } as const;

const BATCH = 20;
/** Updates of a stage that only has to run. */
const FEW_STEPS = 12;
/** Scripted proofs whose states are looked at. */
const [CUTS, FEW_CUTS] = [800, 40];

/** A signal that is aborted soon after a stage would stop, with what a stage throws then. */
export function stoppable(
  { stopped }: Pick<StageContext, "stopped">,
  what: string,
): Disposable & { readonly signal: AbortSignal } {
  const controller = new AbortController();
  const look = () => {
    if (stopped()) controller.abort(new StageStopped(`${what}: stopped, what was found out is kept`));
  };
  look();
  const timer = setInterval(look, 200);
  return { signal: controller.signal, [Symbol.dispose]: () => clearInterval(timer) };
}

export interface Training {
  /** Of the stage; those of the same name and length in one folder are one. */
  readonly name: string;
  readonly mixture: Mixture;
  /** What examples are made of; asked for unless the stage is done. */
  readonly proofs: () => Promise<Pick<ExampleSource, "cuts" | "found">>;
  /** Folder of weights to begin with (default: none, from the seed). */
  readonly from?: string;
  readonly peak: number;
}

export interface Trained {
  /** Folder of the weights. */
  readonly step: string;
  readonly stages: ArmOutcome["stages"];
}

/** A model that writes proofs. */
export interface Writer extends AsyncDisposable {
  readonly model: CausalLM;
  readonly engine: Engine;
  readonly tokenizer: Tokenizer;
  readonly generator: TextGenerator;
}

/** Folder of the whole run, which arms and seeds share. */
const rootOf = ({ shared }: Pick<ArmContext, "shared">): string => dirname(shared.folder);

/** What arms and seeds of a run share, each made at its first use. */
export class Parts implements AsyncDisposable {
  readonly #vocabulary = proverTokenizer();
  #lean: Promise<{ readonly lean: CheckedLean; readonly store: ProofStore }> | null = null;
  #cuts: Promise<readonly ProofCuts[]> | null = null;

  /** The embedded Lean; what it has answered before, in any run of this folder, it is not asked again. */
  async lean(context: ArmContext): Promise<LeanSession> {
    const open = async () => {
      const root = rootOf(context);
      await mkdir(root, { recursive: true });
      const store = await ProofStore.open(join(root, "checks.sqlite"));
      try {
        return {
          lean: new CheckedLean(await openWasmLean({ size: 1, onNotice: context.print }), store),
          store,
        };
      } catch (error) {
        store[Symbol.dispose]();
        throw error;
      }
    };
    this.#lean ??= open();
    return (await this.#lean).lean;
  }

  /** Scripted proofs with their states. @throws StageStopped */
  async cuts(context: ArmContext): Promise<readonly ProofCuts[]> {
    const { shared, small, print } = context;
    const lean = await this.lean(context);
    using stop = stoppable(shared, "states");
    this.#cuts ??= scriptedCuts(lean, small ? FEW_CUTS : CUTS, { signal: stop.signal, print });
    return await this.#cuts;
  }

  /** Trains a model for the minutes of the context, or finds it trained. @throws StageStopped */
  async train(
    context: ArmContext,
    place: StageContext,
    { name, mixture, proofs, from, peak }: Training,
  ): Promise<Trained> {
    const { device, seed, minutes } = context;
    const { tokenizer } = this.#vocabulary;
    const stage = `${name}-${minutes}`;
    const source = (await stageDone(place.folder, stage)) ? null : { seed, mixture, ...(await proofs()) };
    using model = proverModel(device, seed);
    if (from !== undefined) await loadProver(model, from);
    const { steps, seconds } = await runStage(
      {
        ...{ name: stage, model, config: { recipe: "prover", seed, mixture } },
        length: lengthOf(context, FEW_STEPS, minutes),
        batches: new ExampleBatches(tokenizer, (index) => example(source!, index)),
        objective: (language: CausalLM, { ids, targets, batch }, options) =>
          nextTokenLoss(language, { sequences: batch, ids, targets }, options),
        options: { batch: BATCH, ...schedule(peak) },
      },
      place,
    );
    const step = await newestStep(join(place.folder, stage));
    return { step, stages: { [name]: { steps, minutes: seconds / 60 } } };
  }

  /** Opens the weights of a folder for writing. */
  async writer(context: ArmContext, step: string): Promise<Writer> {
    const { tokenizer } = this.#vocabulary;
    const model = proverModel(context.device, context.seed);
    await loadProver(model, step);
    const engine = new Engine(model, { maxBatch: TOGETHER, maxQueue: 1024 });
    const generator = new EngineGenerator(engine, tokenizer, {
      model: `recipe-prover ${relative(rootOf(context), step)}`,
    });
    return {
      ...{ model, engine, tokenizer, generator },
      async [Symbol.asyncDispose]() {
        await engine[Symbol.asyncDispose]();
        model[Symbol.dispose]();
      },
    };
  }

  /** Writes a model that `deepseek-ts prove` opens, in 8 bits. */
  async keep({ device, print }: ArmContext, step: string, out: string): Promise<void> {
    const { json } = this.#vocabulary;
    using model = createModel(PROVER_CONFIG, device, { seed: 1, dtype: "q8" });
    await loadProver(model, step);
    const text = (value: unknown) => `${JSON.stringify(value, null, 1)}\n`;
    const settings = { ...SHORT, search: "sample", contextTokens: CONTEXT, maxTokens: MAX_TOKENS };
    await saveCheckpoint(await nodeFolderSink(out, { force: true }), tiledEntries(model), {
      config: tiledConfigText(model, text(PROVER_CONFIG)),
      files: {
        "tokenizer.json": text(json),
        "tokenizer_config.json": text(trainedTokenizerConfig(CONTEXT)),
        "prover.json": text(settings),
      },
    });
    print(`npx deepseek-ts prove examples/prove/basics.lean --model ${out}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const open = await this.#lean?.catch(() => null);
    if (!open) return;
    await open.lean[Symbol.asyncDispose]();
    open.store[Symbol.dispose]();
  }
}
