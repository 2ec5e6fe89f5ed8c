/** How provers are asked: the options that proving and synthesis have in common. */
import { type Command, Option } from "commander";
import type { PromptStyle } from "../../prove/text/prompts.ts";
import { notNegative, numberThat, positiveInteger } from "./options.ts";

export interface SamplingFlags {
  readonly style?: PromptStyle;
  readonly temperature: number;
  readonly topP: number;
  readonly maxTokens?: number;
}

/** Adds `--style`, `--temperature`, `--top-p` and `--max-tokens`. */
export function withSampling(command: Command): Command {
  return command
    .addOption(
      new Option(
        "--style <style>",
        "prompts of the released provers, or of small ones (default: the model's)",
      ).choices(["official", "short"]),
    )
    .option("--temperature <t>", "sampling temperature", notNegative, 1)
    .option(
      "--top-p <p>",
      "nucleus sampling",
      numberThat("a number above 0, at most 1", (n) => n > 0 && n <= 1),
      0.95,
    )
    .option(
      "--max-tokens <n>",
      "most tokens of one generation (default: 2048, or the model's)",
      positiveInteger,
    );
}
