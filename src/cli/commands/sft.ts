/** `deepseek-ts sft`: fine-tunes a language model on conversations, or on prompts with their answers. */
import { Command, Option } from "commander";
import { flowing } from "../help.ts";
import { type TunedDefaults, type TunedFlags, withTuned } from "../tuned-options.ts";
import { runTuned } from "../tuned-session.ts";
import { MODEL_ARGUMENT } from "./open-model.ts";

interface SftFlags extends TunedFlags {
  readonly learn?: "answers" | "all";
}

const defaults: TunedDefaults = { epochs: 3, batch: 8, rateFactor: 1, units: "packed rows" };

const examples = `
A row is a line of JSON, or a row of a Parquet file:
  {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]}
  {"prompt": "2 + 2 =", "completion": " 4"}
Conversations may hold a system message, tools with their calls, and reasoning_content. The model's chat template decides
what is learned: answers with their end tokens. Rows are packed into sequences and do not see each other.

Examples:
  deepseek-ts sft deepseek-ai/deepseek-coder-1.3b-base --data conversations.jsonl --template coder
  deepseek-ts sft runs/llm-small-1 --data my-folder --template llm --epochs 2 --out runs/chat
  deepseek-ts sft ./my-model --data HuggingFaceH4/ultrachat_200k --split train_sft --length 1024 --steps 500
  deepseek-ts sft ./my-model --data chats.jsonl --lora rank=16,targets=q_proj,v_proj,base=q4     adapters over 4-bit weights
  deepseek-ts sft --resume runs/chat`;

export function sftCommand(): Command {
  const command = new Command("sft")
    .summary("fine-tune a language model on conversations")
    .description(
      "Fine-tunes a language model (all its weights, or adapters with --lora) on conversations or on prompts with answers, and writes a model in the " +
        "Hugging Face layout, or an adapter in PEFT's. Everything goes into one run folder: settings, tokens, metrics.jsonl, checkpoints, model/. Ctrl-C " +
        "saves and exits with status 130; a run continued by --resume is bit-identical to one that was never interrupted.",
    )
    .argument("[model]", MODEL_ARGUMENT);
  return withTuned(command, defaults)
    .addOption(
      new Option(
        "--learn <what>",
        "what is learned: answers with their end tokens, or all (default: answers)",
      ).choices(["answers", "all"]),
    )
    .addHelpText("after", flowing(examples))
    .action(async (model: string | undefined, flags: SftFlags) => {
      await runTuned(command, model, flags, defaults, ({ common }, { learn }) => ({
        kind: "sft",
        ...common,
        learn: learn ?? "answers",
      }));
    });
}
