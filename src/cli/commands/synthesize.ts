/** `deepseek-ts synthesize`: problems in words become verified proofs, and the prover learns from them, round after round. */
import { Command, InvalidArgumentError, Option } from "commander";
import { readTextFile } from "../../files/text-file.ts";
import { readProblems } from "../../prove/formats/problems.ts";
import type { OpenLeanOptions } from "../../prove/lean/open.ts";
import { funnelText } from "../../prove/pipeline/funnel.ts";
import { defaultProver } from "../../prove/prover/settings.ts";
import { type SynthesisEvent, synthesize } from "../../prove/synthesis/synthesize.ts";
import type { ProofMode } from "../../prove/text/prompts.ts";
import { PROOF_FORMS, type ProofForm } from "../../prove/train/forms.ts";
import { modelPath } from "../../runs/model-path.ts";
import { plural } from "../../text/units.ts";
import { flowing } from "../help.ts";
import { listenForInterrupt } from "../interrupt.ts";
import { chosenLean, type LeanFlags, openChosenLean, orNoLean, withLean } from "../lean-session.ts";
import { ProgressLine } from "../progress-line.ts";
import { hubFlags, type ModelFlags, noticeOnStderr, withModel } from "./open-model.ts";
import {
  naturalNumber,
  openDevice,
  positiveInteger,
  positiveNumber,
  secondsLimit,
  withThreads,
} from "./options.ts";
import { type SamplingFlags, withSampling } from "./prover-sampling.ts";

interface Flags extends ModelFlags, LeanFlags, SamplingFlags {
  readonly out: string;
  readonly model?: string;
  readonly rounds: number;
  readonly perStatement: number;
  readonly perVacuity?: number;
  readonly translations: number;
  readonly negation: "universal" | "same-context" | "off";
  readonly grading: boolean;
  readonly mode: ProofMode;
  readonly batch: number;
  readonly timeout: number;
  readonly heartbeats: number;
  readonly forms: readonly ProofForm[];
  readonly epochs: number;
  readonly learningRate: number;
  readonly batchRows: number;
  readonly seed: number;
  readonly resume?: boolean;
  readonly json?: boolean;
  readonly threads?: number;
}

const help = `
A line of PROBLEMS.jsonl has "informal" (or "problem"): words that say what is to be shown; it may have "answer", "preamble" (Lean
commands that the statement builds on), "name", and "truth" (true, false or vacuous), which only the printed funnel reads.

A round: the model translates each problem; Lean takes the statement or not; duplicates go; the model grades it; its
hypotheses are tried for a contradiction; the statement and its negation are proved side by side, up to K samples each. Then
the model of the first round is fine-tuned on all that was proved, and the next round begins with it.

DIR holds statements.jsonl, proofs.jsonl (deepseek-ts verify reads it), round-1, round-2 .. (models), and the state of it all.

Examples:
  deepseek-ts synthesize problems.jsonl --out runs/synth --rounds 3 --per-statement 8 --no-grading
  deepseek-ts synthesize problems.jsonl --out runs/synth --rounds 4 --per-statement 8 --no-grading --resume
  deepseek-ts synthesize problems.jsonl --out runs/v1 --rounds 2 --per-statement 32 --negation same-context --model my-prover
  deepseek-ts verify runs/synth/proofs.jsonl && deepseek-ts prove Foo.lean --model runs/synth/round-3

Exit status: 0 all rounds are done, 1 error, 2 usage error, 3 Lean cannot run, 130 interrupted (--resume goes on).`;

const proofForms = (text: string): ProofForm[] => {
  const forms = text.split(",");
  const wrong = forms.filter((form) => !(PROOF_FORMS as readonly string[]).includes(form));
  if (wrong.length > 0) throw new InvalidArgumentError(`Expected some of ${PROOF_FORMS.join(",")}.`);
  return forms as ProofForm[];
};

export function synthesizeCommand(): Command {
  const command = new Command("synthesize")
    .summary("make verified proofs of problems in words, and train on them")
    .description(
      "DeepSeek-Prover V1: rounds of translation, filters, and proofs of statements and their negations, each round with a prover " +
        "that was fine-tuned on everything proved before. Real Lean checks all.",
    )
    .argument("<problems>", "problems in words, JSON lines")
    .requiredOption("--out <dir>", "folder of results and state")
    .option(
      "--model <model>",
      "prover that begins: a folder or a name on the hub (default: the small prover of the package)",
    )
    .option("--rounds <n>", "rounds", positiveInteger, 1)
    .option("--per-statement <k>", "samples of each side of a statement", positiveInteger, 8)
    .addOption(
      new Option(
        "--negation <form>",
        "what refutes a statement: ¬ ∀ over its context, ¬ in the same context as the paper has it, or nothing",
      )
        .choices(["universal", "same-context", "off"])
        .default("universal"),
    )
    .option(
      "--per-vacuity <k>",
      "samples that try for a contradiction of the hypotheses (default: half of --per-statement; 0: none)",
      naturalNumber,
    )
    .option("--translations <n>", "translations of a problem in a round", positiveInteger, 1)
    .option("--no-grading", "do not let the model grade statements (the small prover has not learned to)")
    .addOption(
      new Option("--mode <mode>", "proofs with explanations, or without")
        .choices(["cot", "non-cot"])
        .default("non-cot"),
    );
  withSampling(command)
    .option("--batch <n>", "generations at the same time", positiveInteger, 16)
    .option("--timeout <seconds>", "wall-clock limit of a check", secondsLimit, 60)
    .option("--heartbeats <n>", "Lean's own limit of a check", positiveInteger, 200_000)
    .addOption(
      new Option("--forms <list>", `forms of training examples: ${PROOF_FORMS.join(",")}`)
        .argParser(proofForms)
        .default(["whole"], "whole"),
    )
    .option("--epochs <n>", "passes over what was proved", positiveInteger, 3)
    .option("--learning-rate <x>", "of the fine-tuning", positiveNumber, 1e-4)
    .option("--batch-rows <n>", "rows of one update of the fine-tuning", positiveInteger, 8)
    .option("--seed <n>", "seed of all random choices", naturalNumber, 0)
    .option("--resume", "go on with what the folder holds")
    .option("--json", "one JSON object a line");
  return withThreads(withModel(withLean(command)))
    .addHelpText("after", flowing(help))
    .action(async (path: string, flags: Flags) => {
      const choice = chosenLean(command, flags);
      await orNoLean(async () => {
        process.exitCode = await run(path, choice, flags);
      });
    });
}

async function run(path: string, choice: OpenLeanOptions, flags: Flags): Promise<number> {
  const problems = readProblems(await readTextFile(path), path);
  using interrupt = listenForInterrupt(() => process.stderr.write("stopping; --resume goes on …\n"));
  const { signal } = interrupt;
  const { negation, temperature, topP, maxTokens, timeout, heartbeats, dtype, model, ...rest } = flags;
  const start = await modelPath(model ?? defaultProver());
  const line = new ProgressLine(process.stderr, 0);
  const report = new Report(flags.json ?? false, line);
  try {
    await using lean = await openChosenLean(choice, flags, line, signal);
    await using device = await openDevice(flags);
    const events = synthesize({
      ...{ out: rest.out, rounds: rest.rounds, perStatement: rest.perStatement, perVacuity: rest.perVacuity },
      ...{ translations: rest.translations, grading: rest.grading, mode: rest.mode, style: rest.style },
      ...{ batch: rest.batch, forms: rest.forms, epochs: rest.epochs, learningRate: rest.learningRate },
      ...{ batchRows: rest.batchRows, seed: rest.seed, resume: rest.resume },
      ...{ problems, model: start, lean, signal, onNotice: line.note },
      negation: negation === "same-context" ? "sameContext" : negation,
      sampling: { temperature, topP, ...(maxTokens !== undefined && { maxTokens }) },
      check: { timeout: timeout * 1000, heartbeats },
      load: { ...hubFlags(flags), dtype, device, onProgress: line.update, onNotice: noticeOnStderr },
    });
    for await (const event of events) report.tell(event);
    report.end(rest.out, rest.rounds);
    return 0;
  } catch (error) {
    if (signal.aborted) return interrupt.exitCode;
    throw error;
  } finally {
    line.clear();
  }
}

/** What is told: a line that moves, the funnel after each round, or every event as JSON. */
class Report {
  readonly #json: boolean;
  readonly #line: ProgressLine;
  /** Outcomes of the stage that runs. */
  #counts = new Map<string, number>();
  #stage = "";
  #of = 1;

  constructor(json: boolean, line: ProgressLine) {
    this.#json = json;
    this.#line = line;
  }

  #say(value: object): void {
    if (this.#json) process.stdout.write(`${JSON.stringify(value)}\n`);
  }

  tell(event: SynthesisEvent): void {
    if (event.type === "stage") this.#stageEnd(event);
    else if (event.type === "funnel") this.#funnel(event);
    else {
      this.#say(event);
      this.#step(event);
    }
  }

  #stageEnd({
    stage,
    outcome,
    inRound,
    statement,
    detail,
    spent,
  }: SynthesisEvent & { readonly type: "stage" }): void {
    if (stage !== this.#stage) {
      this.#stage = stage;
      this.#counts = new Map();
    }
    this.#counts.set(outcome, (this.#counts.get(outcome) ?? 0) + 1);
    const counts = [...this.#counts].map(([name, count]) => `${count} ${name}`).join(", ");
    this.#line.tell(`round ${inRound} of ${this.#of}, ${stage}: ${counts}`);
    const { id, problem } = statement;
    this.#say({
      ...{ type: "stage", round: inRound, stage, outcome, detail, statement: id, source: problem.source },
      ...(spent !== undefined && { spent }),
    });
  }

  #funnel({ round, funnel }: SynthesisEvent & { readonly type: "funnel" }): void {
    this.#line.clear();
    if (this.#json) this.#say({ type: "funnel", round, ...funnel });
    else process.stdout.write(`after round ${round}\n${funnelText(funnel)}\n`);
  }

  #step(event: Exclude<SynthesisEvent, { readonly type: "stage" | "funnel" }>): void {
    const { type, round } = event;
    if (type === "round") {
      this.#of = event.of;
      this.#line.note(`round ${round} of ${event.of} with ${event.model}`);
    } else if (type === "lessons") {
      this.#line.note(`round ${round}: ${plural(event.texts, "example")} to learn from`);
    } else if (type === "model") {
      this.#line.note(`round ${round}: the model is in ${event.path}`);
    } else {
      const at = `step ${event.step} of ${event.steps}, loss ${event.loss.toFixed(3)}`;
      this.#line.tell(`round ${round} of ${this.#of}, training: ${at}`);
    }
  }

  end(out: string, rounds: number): void {
    this.#line.clear();
    if (!this.#json)
      process.stderr.write(`${plural(rounds, "round")} done: ${out}/proofs.jsonl, ${out}/statements.jsonl\n`);
  }
}
