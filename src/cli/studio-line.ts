/** The command line of `deepseek-ts studio` alone: its page is to be there at once, and needs none of what the other commands load. */
import { studioCommand } from "./commands/studio.ts";
import { programOf, runProgram } from "./program.ts";

export const runCommandLine = (argv: readonly string[] = process.argv): Promise<void> =>
  runProgram(() => programOf(() => [studioCommand()]), argv);
