/** `deepseek-ts completion`: writes a script that lets a shell complete commands, options and files. */
import { Argument, Command } from "commander";
import { completionScript, SHELLS, type Shell } from "../completion.ts";
import { flowing } from "../help.ts";

const help = `
Examples:
  source <(deepseek-ts completion bash)   in ~/.bashrc
  source <(deepseek-ts completion zsh)   in ~/.zshrc, after compinit
  deepseek-ts completion fish > ~/.config/fish/completions/deepseek-ts.fish`;

/** @param program gives the program whose commands are completed */
export function completionCommand(program: () => Command): Command {
  return new Command("completion")
    .summary("print a completion script for bash, zsh or fish")
    .description("Prints a shell script that completes commands, options, option values, files and folders.")
    .addArgument(new Argument("<shell>", "the shell").choices(SHELLS))
    .addHelpText("after", flowing(help))
    .action((shell: Shell) => {
      process.stdout.write(completionScript(shell, program()));
    });
}
