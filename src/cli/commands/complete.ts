/** `deepseek-ts complete`: continues a text. */
import { Command } from "commander";
import { ConfigError } from "../../tensor/errors.ts";
import { flowing } from "../help.ts";
import { type GenerationFlags, textOptions, withGeneration, writeOut } from "./generation.ts";
import { MODEL_ARGUMENT, openModel } from "./open-model.ts";
import { openDevice, readStdin, usageError } from "./options.ts";

const examples = `
Examples:
  deepseek-ts complete runs/demo-1 "export function "
  deepseek-ts complete ./DeepSeek-V2-Lite "The capital of France is" --bos --temperature 0.7 --top-p 0.95
  head -20 src/server.ts | deepseek-ts complete runs/demo-1 - --max-tokens 100 --stop "\\n\\n" --stats
  deepseek-ts complete runs/demo-1 "class " --speculative --stats`;

export function completeCommand(): Command {
  const command = new Command("complete")
    .summary("continue a text with a model")
    .description("Continues a text. Generated text is streamed to standard output, without the prompt.")
    .argument("<model>", MODEL_ARGUMENT)
    .argument("[prompt]", "text to continue; if absent or -, read from standard input");
  return withGeneration(command)
    .addHelpText("after", flowing(examples))
    .action(async (path: string, argument: string | undefined, flags: GenerationFlags) => {
      if (argument === undefined && process.stdin.isTTY) usageError(command, "no prompt given");
      const prompt = argument === undefined || argument === "-" ? await readStdin() : argument;
      await using device = await openDevice(flags);
      const { model, tokenizer } = await openModel(path, device, flags);
      using _model = model;
      if (prompt === "" && !flags.bos && tokenizer.prefixIds.length === 0) {
        throw new ConfigError("the prompt is empty", {
          where: "complete",
          hint: "Pass some text, or --bos to start with the beginning-of-text token.",
        });
      }
      // One more for a beginning-of-text token.
      const length = tokenizer.encode(prompt).length + 1;
      const options = textOptions(flags, model, length);
      await writeOut(model, tokenizer, { prompt, options }, flags);
    });
}
