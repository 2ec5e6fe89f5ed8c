/**
 * The command line: every command with what help says of it in a line, and its program, one file for each in commands/, which is
 * loaded when it is asked for. All of them together take a second to load.
 */
import { Command } from "commander";
import { programOf, runProgram } from "./program.ts";

interface CommandEntry {
  readonly name: string;
  /** Its options and arguments, as help lists them. */
  readonly usage: string;
  readonly summary: string;
  /** @param program gives the program that it is part of */
  readonly load: (program: () => Command) => Promise<Command>;
}

/** In the order of help. What stands here beside the programs is what they say of themselves (`command-line.test.ts`). */
export const commands: readonly CommandEntry[] = [
  {
    name: "chat",
    usage: "[options] <model>",
    summary: "chat with a model",
    load: async () => (await import("./commands/chat.ts")).chatCommand(),
  },
  {
    name: "ask",
    usage: "[options] <model> [question]",
    summary: "ask a model one question, about pictures too",
    load: async () => (await import("./commands/ask.ts")).askCommand(),
  },
  {
    name: "ground",
    usage: "[options] <model> <file> [phrase]",
    summary: "find things in a picture: boxes",
    load: async () => (await import("./commands/ground.ts")).groundCommand(),
  },
  {
    name: "prove",
    usage: "[options] <file...>",
    summary: "fill the sorries of Lean files with verified proofs, or run a benchmark",
    load: async () => (await import("./commands/prove.ts")).proveCommand(),
  },
  {
    name: "draw",
    usage: "[options] <model> [prompt]",
    summary: "draw pictures of a prompt",
    load: async () => (await import("./commands/draw.ts")).drawCommand(),
  },
  {
    name: "serve",
    usage: "[options] <model>",
    summary: "serve a model through an OpenAI-compatible HTTP API",
    load: async () => (await import("./commands/serve.ts")).serveCommand(),
  },
  {
    name: "studio",
    usage: "[options] [model...]",
    summary: "chat, draw, train and prove from a page in the browser",
    load: async () => (await import("./commands/studio.ts")).studioCommand(),
  },
  {
    name: "complete",
    usage: "[options] <model> [prompt]",
    summary: "continue a text with a model",
    load: async () => (await import("./commands/complete.ts")).completeCommand(),
  },
  {
    name: "fill",
    usage: "[options] <model>",
    summary: "fill in the middle between two texts",
    load: async () => (await import("./commands/fill.ts")).fillCommand(),
  },
  {
    name: "download",
    usage: "[options] <name>",
    summary: "download a model from the Hugging Face hub",
    load: async () => (await import("./commands/download.ts")).downloadCommand(),
  },
  {
    name: "inspect",
    usage: "[options] <model>",
    summary: "show a model's architecture, size and memory needs",
    load: async () => (await import("./commands/inspect.ts")).inspectCommand(),
  },
  {
    name: "quantize",
    usage: "[options] <model> <out>",
    summary: "save a model with 4-bit or 8-bit weights",
    load: async () => (await import("./commands/quantize.ts")).quantizeCommand(),
  },
  {
    name: "convert",
    usage: "[options] <model> <out>",
    summary: "convert between GGUF, PyTorch files and safetensors",
    load: async () => (await import("./commands/convert.ts")).convertCommand(),
  },
  {
    name: "demo",
    usage: "[options] [folder]",
    summary: "train a small model on TypeScript found on this machine, and try it",
    load: async () => (await import("./commands/demo.ts")).demoCommand(),
  },
  {
    name: "train",
    usage: "[options] [folder]",
    summary: "train a model on a folder of text, or on pictures and conversations",
    load: async () => (await import("./commands/train.ts")).trainCommand(),
  },
  {
    name: "sft",
    usage: "[options] [model]",
    summary: "fine-tune a language model on conversations",
    load: async () => (await import("./commands/sft.ts")).sftCommand(),
  },
  {
    name: "dpo",
    usage: "[options] [model]",
    summary: "teach a language model which of two answers is preferred",
    load: async () => (await import("./commands/dpo.ts")).dpoCommand(),
  },
  {
    name: "grpo",
    usage: "[options] [model]",
    summary: "train a language model by rewards that can be checked",
    load: async () => (await import("./commands/grpo.ts")).grpoCommand(),
  },
  {
    name: "scale",
    usage: "[options] <action> <folder>",
    summary: "fit scaling laws and predict a larger run",
    load: async () => (await import("./commands/scale.ts")).scaleCommand(),
  },
  {
    name: "evaluate",
    usage: "[options] [model]",
    summary: "judge a model by tasks",
    load: async () => (await import("./commands/evaluate.ts")).evaluateCommand(),
  },
  {
    name: "synthesize",
    usage: "[options] <problems>",
    summary: "make verified proofs of problems in words, and train on them",
    load: async () => (await import("./commands/synthesize.ts")).synthesizeCommand(),
  },
  {
    name: "verify",
    usage: "[options] <file>",
    summary: "check Lean proofs",
    load: async () => (await import("./commands/verify.ts")).verifyCommand(),
  },
  {
    name: "prover",
    usage: "[options] <action> [folder]",
    summary: "find Lean and see whether it works, or write it for pages",
    load: async () => (await import("./commands/prover.ts")).proverCommand(),
  },
  {
    name: "prover-worker",
    usage: "[options] <kind>",
    summary: "do one kind of the jobs of prove --queue",
    load: async () => (await import("./commands/prover-worker.ts")).proverWorkerCommand(),
  },
  {
    name: "check-parity",
    usage: "[options] <folder>",
    summary: "compare a model with recorded reference outputs",
    load: async () => (await import("./commands/check-parity.ts")).checkParityCommand(),
  },
  {
    name: "bench",
    usage: "[options]",
    summary: "benchmark a released model's architecture on this machine",
    load: async () => (await import("./commands/bench.ts")).benchCommand(),
  },
  {
    name: "completion",
    usage: "<shell>",
    summary: "print a completion script for bash, zsh or fish",
    load: async (program) => (await import("./commands/completion.ts")).completionCommand(program),
  },
];

/** What stands in a program for a command that is not loaded: enough for help and for what was misspelled. */
function unloaded({ name, usage, summary }: CommandEntry): Command {
  const command = new Command(name).summary(summary);
  for (const word of usage.split(" ")) {
    if (word === "[options]") command.option("--options");
    else command.argument(word);
  }
  return command;
}

/** The program with the command that `argv` asks for; `completion` looks at all of them. */
export async function commandLine(argv: readonly string[]): Promise<Command> {
  const asked = argv.slice(2).find((word) => !word.startsWith("-") && word !== "help");
  const made: Command[] = [];
  const program = () => whole;
  for (const entry of commands) {
    const wanted = asked === entry.name || asked === "completion";
    made.push(wanted ? await entry.load(program) : unloaded(entry));
  }
  const whole = programOf(made);
  return whole;
}

/** Runs one command line and sets the exit status; standard output and standard error have all that it tells. */
export const runCommandLine = (argv: readonly string[] = process.argv): Promise<void> =>
  runProgram(commandLine, argv);
