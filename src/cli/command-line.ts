/** The command line with all its commands: one file for each in commands/. */
import { askCommand } from "./commands/ask.ts";
import { benchCommand } from "./commands/bench.ts";
import { chatCommand } from "./commands/chat.ts";
import { checkParityCommand } from "./commands/check-parity.ts";
import { completeCommand } from "./commands/complete.ts";
import { completionCommand } from "./commands/completion.ts";
import { convertCommand } from "./commands/convert.ts";
import { demoCommand } from "./commands/demo.ts";
import { downloadCommand } from "./commands/download.ts";
import { dpoCommand } from "./commands/dpo.ts";
import { drawCommand } from "./commands/draw.ts";
import { evaluateCommand } from "./commands/evaluate.ts";
import { fillCommand } from "./commands/fill.ts";
import { groundCommand } from "./commands/ground.ts";
import { grpoCommand } from "./commands/grpo.ts";
import { inspectCommand } from "./commands/inspect.ts";
import { proveCommand } from "./commands/prove.ts";
import { proverCommand } from "./commands/prover.ts";
import { proverWorkerCommand } from "./commands/prover-worker.ts";
import { quantizeCommand } from "./commands/quantize.ts";
import { scaleCommand } from "./commands/scale.ts";
import { serveCommand } from "./commands/serve.ts";
import { sftCommand } from "./commands/sft.ts";
import { studioCommand } from "./commands/studio.ts";
import { synthesizeCommand } from "./commands/synthesize.ts";
import { trainCommand } from "./commands/train.ts";
import { verifyCommand } from "./commands/verify.ts";
import { programOf, runProgram } from "./program.ts";

const commandLine = () =>
  programOf((program) => [
    chatCommand(),
    askCommand(),
    groundCommand(),
    proveCommand(),
    drawCommand(),
    serveCommand(),
    studioCommand(),
    completeCommand(),
    fillCommand(),
    downloadCommand(),
    inspectCommand(),
    quantizeCommand(),
    convertCommand(),
    demoCommand(),
    trainCommand(),
    sftCommand(),
    dpoCommand(),
    grpoCommand(),
    scaleCommand(),
    evaluateCommand(),
    synthesizeCommand(),
    verifyCommand(),
    proverCommand(),
    proverWorkerCommand(),
    checkParityCommand(),
    benchCommand(),
    completionCommand(program),
  ]);

/** Runs one command line and sets the exit status; standard output and standard error have all that it tells. */
export const runCommandLine = (argv: readonly string[] = process.argv): Promise<void> =>
  runProgram(commandLine, argv);
