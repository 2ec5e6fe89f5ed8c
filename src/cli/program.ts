/** The program around its commands: help, wrong usage, errors. Exit status 0, 1 for an error, 2 for wrong usage. */
import { Command, CommanderError } from "commander";
import { checkArguments } from "./arguments.ts";
import { flowing, helpWidth, optionText } from "./help.ts";
import { errorText } from "./report-error.ts";
import { version } from "./version.ts";

const examples = `
Examples:
  deepseek-ts chat deepseek-ai/DeepSeek-V2-Lite-Chat --dtype q4    chat with a model from the hub
  deepseek-ts ask deepseek-ai/deepseek-vl2-tiny --image a.png "What is this?"     ask about a picture
  deepseek-ts draw deepseek-ai/Janus-Pro-1B "a red cube"           draw pictures
  deepseek-ts prove Basic.lean                                     fill the sorries of a Lean file
  deepseek-ts serve ./model.gguf --port 8080                       OpenAI-compatible server
  deepseek-ts studio                                               all of it in the browser
  deepseek-ts quantize ./model ./model-q4 --report                 4-bit weights, with the loss in accuracy
  deepseek-ts demo                                                 train a small model in two minutes and try it
  deepseek-ts train src --seconds 600                              train on your own files
  deepseek-ts sft my-model --data chats.jsonl                      fine-tune a model on conversations
  deepseek-ts grpo my-model --data sums.jsonl --reward answer      train by a reward that can be checked
  deepseek-ts evaluate my-model --tasks quiz.jsonl                 judge a model by tasks of one's own
  deepseek-ts complete runs/demo-1 "export "                       continue a text
  deepseek-ts verify Basic.lean                                    check Lean proofs
  deepseek-ts COMMAND --help                                       show the options and examples of a command

Exit status: 0 success, 1 error, 2 usage error, 130 interrupted by Ctrl-C. DEBUG=1 prints the stack
trace of an error.`;

/** A program of these commands. */
export function programOf(commands: readonly Command[]): Command {
  const program = new Command("deepseek-ts")
    .description(
      "The DeepSeek model family in TypeScript: chat, ask, draw, serve, complete, quantize, convert, train, verify.",
    )
    .version(version)
    .addHelpText("after", flowing(examples));
  for (const command of commands) program.addCommand(command);
  for (const command of [program, ...commands]) {
    command
      .exitOverride()
      .showHelpAfterError(false)
      .configureHelp({ optionDescription: optionText })
      .configureOutput({
        getOutHelpWidth: () => helpWidth(process.stdout),
        getErrHelpWidth: () => helpWidth(process.stderr),
      });
  }
  return program;
}

/** Runs one command line and sets the exit status; standard output and standard error have all that it tells. */
export async function runProgram(
  program: (argv: readonly string[]) => Promise<Command>,
  argv: readonly string[],
): Promise<void> {
  try {
    checkArguments(argv);
    await (await program(argv)).parseAsync(argv);
  } catch (error) {
    if (error instanceof CommanderError) {
      // Commander has written its message; help and version were asked for and are not errors.
      process.exitCode = error.exitCode === 0 ? 0 : 2;
    } else {
      process.stderr.write(`${errorText(error, process.env.DEBUG === "1")}\n`);
      process.exitCode = 1;
    }
  }
}
