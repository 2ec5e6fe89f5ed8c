/** `deepseek-ts evaluate`: judges a model by tasks, or compares two such evaluations. */
import { join, resolve } from "node:path";
import { Command } from "commander";
import { EVALUATION_FILE } from "../../evaluate/evaluation-folder.ts";
import { compareResults } from "../../evaluate/node-compare.ts";
import { type TaskSource, taskSource } from "../../evaluate/node-tasks.ts";
import type { EvaluationSettings } from "../../evaluate/settings.ts";
import { isTaken } from "../../files/temporary.ts";
import { ConfigError } from "../../tensor/errors.ts";
import { NAMED_REWARDS } from "../../train/policy/named-rewards.ts";
import { type AskedEvaluation, type AskedJudge, lasting, runEvaluation } from "../evaluation-session.ts";
import { comparisonTable } from "../evaluation-view.ts";
import { flowing } from "../help.ts";
import {
  COMMANDS_AT_ONCE,
  checkRewardUses,
  counts,
  needsLean,
  REWARD_USES,
  type RewardFlags,
  rewardSettings,
  withRewards,
} from "../policy-rewards.ts";
import { quote } from "../training-session.ts";
import { templateSource, withTemplateOption } from "../tuned-options.ts";
import { MODEL_ARGUMENT, type ModelFlags, withModel } from "./open-model.ts";
import {
  collect,
  given,
  naturalNumber,
  notNegative,
  numberThat,
  positiveInteger,
  usageError,
  withThreads,
} from "./options.ts";
import { checkFree, freeRunFolder } from "./train.ts";

interface EvaluateFlags extends ModelFlags, RewardFlags {
  readonly tasks?: readonly string[];
  readonly split?: string;
  readonly subset?: string;
  readonly extensions?: string;
  readonly key?: string;
  readonly shots?: number;
  readonly shotsFrom?: string;
  readonly limit?: number;
  readonly batchSize?: number;
  readonly maxLength?: number;
  readonly maxTokens?: number;
  readonly stop?: readonly string[];
  readonly samples?: number;
  readonly passAt?: readonly number[];
  readonly temperature?: number;
  readonly topP?: number;
  readonly seed?: number;
  readonly bos?: boolean;
  readonly applyChatTemplate?: boolean;
  readonly template?: string;
  readonly system?: string;
  readonly logSamples?: boolean;
  readonly out?: string;
  readonly resume?: string;
  readonly json?: boolean;
  readonly threads?: number;
}

const unescaped = (text: string) =>
  text.replace(/\\([nt\\])/g, (_, c: string) => (c === "n" ? "\n" : c === "t" ? "\t" : "\\"));

const examples = `
A task is a file of rows, by its name or as NAME=FILE, a folder or data set of such (rows:PATH), or a file or folder of text.
Rows are choices, judged by their likelihood (acc, acc_norm); answers, compared (exact_match) or judged by --reward (pass@k);
infills, compared (exact_match, edit_similarity); or texts (word_perplexity, byte_perplexity, bits_per_byte):
  {"context": "The capital of France is", "choices": ["Rome", "Paris"], "gold": 1}
  {"prompt": "2 + 2 =", "answer": "4"}
  {"prefix": "const a = ", "suffix": ";", "middle": "1"}
  {"text": "The quick brown fox .."}

Examples:
  deepseek-ts evaluate runs/demo-1 --tasks docs                                        bits per byte of a folder
  deepseek-ts evaluate my-model --tasks quiz.jsonl --shots 4 --log-samples
  deepseek-ts evaluate my-model --tasks quiz.jsonl,code=holes.jsonl --limit 200 --dtype q4
  deepseek-ts evaluate my-model --tasks sums.jsonl --reward answer --samples 16 --pass-at 1,4,16
  deepseek-ts evaluate my-model --tasks chats.jsonl --apply-chat-template --adapter runs/sft-1
  deepseek-ts evaluate --resume runs/evaluate-1
  deepseek-ts evaluate compare runs/evaluate-1 runs/evaluate-2

Results are written in the form of lm-evaluation-harness, with standard errors and intervals; compare pairs two of them
row by row. docs/evaluation.md tells how rows are read and figures made.`;

/** The parts of `--tasks`: with commas, unless a path has them. */
async function sources(command: Command, tasks: readonly string[]): Promise<TaskSource[]> {
  const found: TaskSource[] = [];
  for (const given of tasks) {
    const whole = await taskSource(given);
    const parts = whole.kind === "rows" && given.includes(",") ? given.split(",") : [given];
    for (const part of parts) {
      if (part.trim() === "") usageError(command, "--tasks with an empty name");
      found.push(part === given ? whole : await taskSource(part.trim()));
    }
  }
  return Promise.all(found.map(async (source) => ({ ...source, path: await lasting(source.path) })));
}

function judgeOf(command: Command, flags: EvaluateFlags): AskedJudge | undefined {
  const { reward, rewardCommand, rewardSeconds, rewardParallel, passReward, key } = flags;
  if (reward === undefined && rewardCommand === undefined) {
    checkRewardUses(command, flags, null, REWARD_USES);
    const others = { "--key": key, "--reward-seconds": rewardSeconds, "--pass-reward": passReward };
    const given = Object.entries({ ...others, "--reward-parallel": rewardParallel }).find(
      ([, value]) => value !== undefined,
    );
    if (given !== undefined) usageError(command, `${given[0]} needs --reward or --reward-command`);
    return undefined;
  }
  const settings = rewardSettings(flags);
  if (needsLean(settings)) usageError(command, "proofs are judged by: deepseek-ts prove BENCH.jsonl");
  checkRewardUses(command, flags, settings, REWARD_USES);
  return {
    reward: settings,
    parallel: rewardParallel ?? COMMANDS_AT_ONCE,
    ...(rewardSeconds !== undefined && { seconds: rewardSeconds }),
    ...(passReward !== undefined && { passReward }),
    ...(key !== undefined && { key }),
  };
}

async function askedOf(command: Command, model: string, flags: EvaluateFlags): Promise<AskedEvaluation> {
  const { shots, limit, batchSize, maxLength, maxTokens, stop, samples, passAt: ks, temperature } = flags;
  const { topP, seed, bos, system, dtype, adapter, revision, gguf, offline } = flags;
  const { split, subset, extensions, shotsFrom } = flags;
  const settings: EvaluationSettings = given({
    ...{ shots, limit, batchSize, maxLength, maxTokens, stop, samples, ks, temperature, topP, seed, bos },
    ...{ system, chat: flags.applyChatTemplate },
  });
  const template = await templateSource(flags.template);
  const judge = judgeOf(command, flags);
  return {
    model: await lasting(model),
    open: {
      dtype,
      ...given({
        adapter: adapter === undefined ? undefined : await lasting(adapter),
        revision,
        gguf,
        offline,
      }),
    },
    settings,
    rows: given({ split, subset, extensions: extensions?.split(",") }),
    ...(template !== undefined && { template }),
    ...(judge && { judge }),
    ...(shotsFrom !== undefined && { shotsFrom: resolve(shotsFrom) }),
  };
}

function compareCommand(parent: Command): Command {
  return new Command("compare")
    .summary("compare two evaluations row by row")
    .description(
      "Compares two results on the same rows: the difference of each figure with the interval that holds 95%, by drawing rows " +
        "again in pairs, and how many rows each model judged better.",
    )
    .argument(
      "<a>",
      "folder of an evaluation, or a results_*.json of lm-evaluation-harness with its samples beside it",
    )
    .argument("<b>", "the other one")
    .option("--json", "print the comparison as JSON")
    .action(async (a: string, b: string) => {
      // Options that both have are read as the parent's.
      const { json, ...others } = parent.opts<EvaluateFlags>();
      const other = Object.keys(others).find((name) => parent.getOptionValueSource(name) === "cli");
      if (other !== undefined) usageError(parent, `compare takes two results and --json; remove ${other}`);
      const compared = await compareResults(a, b);
      process.stdout.write(`${json ? JSON.stringify(compared, null, 2) : comparisonTable(compared)}\n`);
      const left = compared.reduce((most, { onlyA, onlyB }) => Math.max(most, onlyA + onlyB), 0);
      if (left > 0) process.stderr.write(`rows of only one of both are left out: ${left} at most\n`);
    });
}

export function evaluateCommand(): Command {
  const command = new Command("evaluate")
    .summary("judge a model by tasks")
    .description(
      "Judges a model by tasks: choices by their likelihood, answers and infills that it writes, texts by bits per byte. Everything " +
        "goes into one folder, results in the form of lm-evaluation-harness. Ctrl-C keeps what is finished and exits with status 130; an " +
        "evaluation continued by --resume gives the figures of one that was never interrupted.",
    )
    .argument("[model]", `${MODEL_ARGUMENT}; or compare, with two results`)
    .option("--tasks <list>", "tasks, with commas; may be given several times", collect)
    .option("--split <name>", "split to read where file names tell (default: train)")
    .option("--subset <folder>", "folder of the one configuration to read of a data set that has several")
    .option("--extensions <list>", "of the files of folders of text (default: all)")
    .option("--shots <n>", "examples before each question, drawn by --seed (default: 0)", naturalNumber)
    .option("--shots-from <file>", "rows that examples are drawn from (default: the task's own)")
    .option("--limit <n>", "rows of each task (default: all)", positiveInteger)
    .option("--batch-size <n>", "sequences of a pass (default: 32)", positiveInteger)
    .option(
      "--max-length <n>",
      "tokens that are read at once (default: the model's positions, 4096 of them at most for texts)",
      positiveInteger,
    )
    .option(
      "--max-tokens <n>",
      "most tokens of what is written (default: 256, and 64 for infills)",
      positiveInteger,
    )
    .option(
      "--stop <text>",
      "ends an answer before this text (\\n and \\t are escapes); may be repeated (default: an empty line, none with a chat template)",
      (text: string, all: readonly string[] = []) => [...all, unescaped(text)],
    )
    .option("--samples <n>", "answers to each question (default: 1)", positiveInteger)
    .option("--pass-at <list>", "k of pass@k, with commas (default: 1 and all samples)", counts)
    .option(
      "--temperature <t>",
      "of sampling (default: 0, which is greedy; 1 for several samples)",
      notNegative,
    )
    .option(
      "--top-p <p>",
      "nucleus sampling (default: 1)",
      numberThat("a number above 0, at most 1", (n) => n > 0 && n <= 1),
    )
    .option("--seed <n>", "of examples and of sampling (default: 1234)", naturalNumber)
    .option("--bos", "start texts with the beginning-of-text token (default: as the tokenizer is configured)")
    .option("--no-bos", "start without it")
    .option("--apply-chat-template", "put questions into the chat template; messages always are")
    .option("--system <text>", "system message, with --apply-chat-template")
    .option("--key <field>", "field with the right answer, for rewards (default: key, else answer)")
    .option("--log-samples", "write what was asked and answered, samples_TASK_*.jsonl")
    .option("--out <folder>", "folder of the evaluation (default: runs/evaluate-<n>)")
    .option("--resume <folder>", "continue the evaluation in this folder")
    .option("--json", "print the results as JSON in place of a table");
  command.setOptionValueWithSource("bos", undefined, "default");
  withThreads(withModel(withRewards(withTemplateOption(command), NAMED_REWARDS)))
    .addHelpText("after", flowing(examples))
    .action(async (model: string | undefined, flags: EvaluateFlags) => {
      process.exitCode = await evaluateModel(command, model, flags);
    });
  return command.addCommand(compareCommand(command));
}

async function evaluateModel(
  command: Command,
  model: string | undefined,
  flags: EvaluateFlags,
): Promise<number> {
  const { resume, threads, json, tasks = [] } = flags;
  const shown = { ...(threads !== undefined && { threads }), ...(json && { json }) };
  if (resume !== undefined) {
    const extra = Object.keys(flags).find(
      (name) =>
        !["resume", "threads", "json"].includes(name) && command.getOptionValueSource(name) !== "default",
    );
    if (model !== undefined || extra !== undefined) {
      usageError(command, `--resume uses the evaluation's own settings; remove ${extra ?? model}`);
    }
    return runEvaluation({ resume }, null, shown);
  }
  if (model === undefined) usageError(command, "no model given");
  if (tasks.length === 0) usageError(command, "no tasks given: --tasks names files of rows or text");
  const found = await sources(command, tasks);
  const asked = await askedOf(command, model, flags);
  const out = flags.out ?? (await freeRunFolder("evaluate"));
  if (await isTaken(join(out, EVALUATION_FILE))) {
    throw new ConfigError("the folder holds an evaluation already", {
      where: out,
      hint: `Continue it with --resume ${quote(out)}, or choose another --out.`,
    });
  }
  await checkFree(out);
  return runEvaluation({ begin: out, sources: found, log: flags.logSamples ?? false }, asked, shown);
}
