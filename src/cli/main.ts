#!/usr/bin/env node
/** The command line: one file per command in commands/. Exit status 0, 1 for an error, 2 for wrong usage. */
import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { checkParityCommand } from "./commands/check-parity.ts";
import { completeCommand } from "./commands/complete.ts";
import { demoCommand } from "./commands/demo.ts";
import { fillCommand } from "./commands/fill.ts";
import { inspectCommand } from "./commands/inspect.ts";
import { trainCommand } from "./commands/train.ts";
import { endWithReader, errorText } from "./report-error.ts";

const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
  version: string;
};

const examples = `
Examples:
  deepseek-ts demo                                  train a small model in two minutes and use it
  deepseek-ts train src --seconds 600               train on your own folder
  deepseek-ts complete runs/demo-1 "export "        continue a text
  deepseek-ts COMMAND --help                        options and examples of a command

Exit status: 0 success, 1 error, 2 wrong usage, 130 stopped by Ctrl-C. DEBUG=1 shows where an error came from.`;

const program = new Command("deepseek-ts")
  .description("The DeepSeek model family in TypeScript: train, complete, fill in, compare, inspect.")
  .version(version)
  .addHelpText("after", examples);
const commands = [
  demoCommand(),
  trainCommand(),
  completeCommand(),
  fillCommand(),
  checkParityCommand(),
  inspectCommand(),
];
for (const command of commands) program.addCommand(command);
for (const command of [program, ...commands]) command.exitOverride().showHelpAfterError(false);

endWithReader(process.stdout);
endWithReader(process.stderr);
try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    // Commander has written its message; asked-for help and version are no error.
    process.exitCode = error.exitCode === 0 ? 0 : 2;
  } else {
    process.stderr.write(`${errorText(error, process.env.DEBUG === "1")}\n`);
    process.exitCode = 1;
  }
}
