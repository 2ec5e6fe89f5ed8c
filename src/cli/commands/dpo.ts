/** `deepseek-ts dpo`: teaches a language model which of two answers is preferred. */
import { Command, Option } from "commander";
import { PREFERENCE_LOSSES } from "../../tensor/ops/preference-terms.ts";
import type { PreferenceOptions } from "../../train/objectives/preference.ts";
import { flowing } from "../help.ts";
import { type TunedDefaults, type TunedFlags, withTuned } from "../tuned-options.ts";
import { runTuned } from "../tuned-session.ts";
import { MODEL_ARGUMENT } from "./open-model.ts";
import { notNegative, numberThat, positiveNumber } from "./options.ts";

interface DpoFlags extends TunedFlags {
  readonly loss?: PreferenceOptions["loss"];
  readonly beta?: number;
  readonly labelSmoothing?: number;
  readonly normalize?: boolean;
  readonly sft?: number;
  readonly sftAverage?: "token" | "completion";
}

const defaults: TunedDefaults = { epochs: 1, batch: 16, rateFactor: 0.1, units: "pairs" };

const examples = `
A row is a line of JSON, or a row of a Parquet file; each text may be a list of messages instead:
  {"prompt": "2 + 2 =", "chosen": " 4", "rejected": " 5"}
  {"chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}], "rejected": [..]}
The reference is the model as it is now: its log-probabilities are computed once, before the first step, and kept with the
run. Shown are accuracy (the preferred answer has the larger reward), rewards of both answers and their margin.

Examples:
  deepseek-ts dpo runs/sft-1 --data pairs.jsonl
  deepseek-ts dpo runs/sft-1 --data trl-lib/ultrafeedback_binarized --beta 0.2 --sft 1 --steps 300
  deepseek-ts dpo ./my-model --data pairs --loss ipo --out runs/preferred
  deepseek-ts dpo --resume runs/preferred`;

const smoothing = numberThat("a number from 0 to below 0.5", (n) => n >= 0 && n < 0.5);

export function dpoCommand(): Command {
  const command = new Command("dpo")
    .summary("teach a language model which of two answers is preferred")
    .description(
      "Trains a language model (all its weights, or adapters with --lora) on pairs of answers (direct preference optimization) and writes a model in the " +
        "Hugging Face layout, or an adapter in PEFT's. Run folder, Ctrl-C and --resume are as for `deepseek-ts sft`.",
    )
    .argument("[model]", MODEL_ARGUMENT);
  return withTuned(command, defaults)
    .addOption(
      new Option("--loss <name>", "loss of a pair (default: sigmoid)").choices([...PREFERENCE_LOSSES]),
    )
    .option(
      "--beta <b>",
      "how near the model stays to the reference: the larger, the nearer (default: 0.1)",
      positiveNumber,
    )
    .option(
      "--label-smoothing <e>",
      "share of pairs taken for labeled the wrong way round (default: 0)",
      smoothing,
    )
    .option("--normalize", "divide log-probabilities of an answer by its length (default: for ipo)")
    .option("--no-normalize", "sum log-probabilities of an answer, also for ipo")
    .option(
      "--sft <w>",
      "weight of the likelihood of preferred answers, which keeps them probable (default: 0)",
      notNegative,
    )
    .addOption(
      new Option(
        "--sft-average <what>",
        "what that is averaged over: all tokens, or tokens of an answer and then answers (default: token)",
      ).choices(["token", "completion"]),
    )
    .addHelpText("after", flowing(examples))
    .action(async (model: string | undefined, flags: DpoFlags) => {
      await runTuned(command, model, flags, defaults, ({ common }, asked) => {
        const { loss, beta, labelSmoothing, normalize, sft, sftAverage } = asked;
        const named = { loss, beta, labelSmoothing, normalize, sftWeight: sft, sftAverage };
        const given = Object.entries(named).filter(([, value]) => value !== undefined);
        return { kind: "dpo", ...common, preference: Object.fromEntries(given) };
      });
    });
}
