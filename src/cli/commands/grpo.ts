/** `deepseek-ts grpo`: trains a language model by rewards that can be checked, or continues such a run. */
import { join, resolve } from "node:path";
import { Command, Option } from "commander";
import { openRows } from "../../data/rows/node-rows.ts";
import { proverSettings } from "../../prove/prover/settings.ts";
import type { PromptStyle } from "../../prove/text/prompts.ts";
import { proofReward } from "../../prove/train/proof-reward.ts";
import { readJson } from "../../runs/json-file.ts";
import { savedPolicyRun } from "../../runs/policy/config.ts";
import { checkPolicyMemory } from "../../runs/policy/memory.ts";
import { type PolicyDraft, preparePolicy } from "../../runs/policy/preparation.ts";
import { openRewards, type RewardSettings } from "../../runs/policy/rewards.ts";
import { type DescribedBase, describeBase } from "../../runs/tuned/base-model.ts";
import { formatCount, plural } from "../../text/units.ts";
import type { Reward } from "../../train/policy/rewards.ts";
import { flowing } from "../help.ts";
import { listenForInterrupt } from "../interrupt.ts";
import { chosenLean, type LeanFlags, openChosenLean, orNoLean, withLean } from "../lean-session.ts";
import { type PolicyFlags, policyDraft, withPolicy } from "../policy-options.ts";
import { checkRewardUses, needsLean, REWARD_USES, rewardSettings } from "../policy-rewards.ts";
import { questions, theorems } from "../policy-rows.ts";
import { trainPolicyWithView } from "../policy-session.ts";
import { ProgressLine } from "../progress-line.ts";
import { locateBase, templateSource, withTemplateOption } from "../tuned-options.ts";
import { MODEL_ARGUMENT, type ModelFlags, withHub, withoutAdapter } from "./open-model.ts";
import { collect, naturalNumber, positiveInteger, usageError, withThreads } from "./options.ts";
import { checkFree, freeRunFolder } from "./train.ts";

interface GrpoFlags extends PolicyFlags, LeanFlags, Omit<ModelFlags, "dtype"> {
  readonly data?: readonly string[];
  readonly split?: string;
  readonly subset?: string;
  readonly key?: string;
  readonly template?: string;
  readonly heldOut?: number;
  readonly style?: PromptStyle;
  readonly heartbeats?: number;
  readonly out?: string;
  readonly resume?: string;
  readonly ignoreMemory?: boolean;
  readonly threads?: number;
}

/** Held-out prompts, at most: each is completed several times. */
const MOST_HELD_OUT = 64;
/** Lean's own limit ends a check before the clock does, so that runs are the same on other machines. */
const LEAN_TIMEOUT = 60_000;

const examples = `
A row is a line of JSON, or a row of a Parquet file. The prompt is a text or a list of messages; rewards see all other fields:
  {"prompt": "2 + 2 =", "answer": "4"}
  {"prompt": [{"role": "user", "content": "What is 2 + 2? Put the answer into \\\\boxed{}."}], "answer": "4"}
  {"prompt": "Reach 24 with 3, 3, 8, 8.", "numbers": [3, 3, 8, 8], "target": 24}                  for --reward countdown
  {"statement": "theorem t (n : Nat) : n + 0 = n := by", "preamble": ""}                          for --reward lean

Examples:
  deepseek-ts grpo my-model --data sums.jsonl --reward answer --answer-in whole --max-tokens 8 --rate 1e-3
  deepseek-ts grpo runs/sft-1 --data openai/gsm8k --subset main --reward answer,format=0.1 --form dapo
  deepseek-ts grpo my-model --data prompts.jsonl --reward ./reward.ts
  deepseek-ts grpo my-model --data prompts.jsonl --reward-command "python3 judge.py" --reward-seconds 60
  deepseek-ts grpo models/world-prover --data theorems.jsonl --reward lean --form prover --rate 2e-5
  deepseek-ts grpo my-model --data prompts.jsonl --reward answer --lora rank=16,base=q4     adapters over 4-bit weights
  deepseek-ts grpo --resume runs/grpo-1

  reward.ts: export default (samples: {prompt, completion, key, row}[]) => samples.map(({completion, key}) => ..)

Prompts that are never or always solved teach nothing: watch the share of groups that are alike. docs/post-training.md
tells how to choose rewards and settings.`;

/** Refuses settings that contradict each other, before anything is read. */
function checkUse(command: Command, flags: GrpoFlags, reward: RewardSettings): void {
  checkRewardUses(command, flags, reward, [
    ...REWARD_USES,
    ["lean", "--lean", ["lean"]],
    ["project", "--project", ["lean"]],
    ["parallel", "--parallel", ["lean"]],
    ["style", "--style", ["lean"]],
    ["heartbeats", "--heartbeats", ["lean"]],
  ]);
}

/** How Lean judges, as the run keeps it for a later resume. */
interface LeanSettings {
  readonly lean?: string;
  readonly project?: string;
  readonly heartbeats?: number;
}

/** Opens what judges, and runs `body` with it. */
async function withReward<T>(
  command: Command,
  settings: RewardSettings,
  { maxTokens }: Pick<PolicyDraft["policy"], "maxTokens">,
  flags: GrpoFlags,
  body: (reward: Reward) => Promise<T>,
): Promise<T> {
  if (!needsLean(settings)) {
    await using opened = await openRewards(settings, { maxTokens });
    return await body(opened.reward);
  }
  const { heartbeats, ...choice } = (settings.others?.lean ?? {}) as LeanSettings;
  const line = new ProgressLine(process.stderr);
  const { signal } = new AbortController();
  await using lean = await openChosenLean(chosenLean(command, choice), { ...flags, ...choice }, line, signal);
  line.clear();
  const judge = proofReward(lean, { timeout: LEAN_TIMEOUT, ...(heartbeats !== undefined && { heartbeats }) });
  await using opened = await openRewards(settings, { maxTokens, others: { lean: judge } });
  return await body(opened.reward);
}

interface DraftedRun {
  readonly draft: PolicyDraft;
  readonly described: DescribedBase;
}

/** The settings of a new run, and what its model is. @throws ConfigError, FormatError, HubError */
async function draftRun(command: Command, model: string, flags: GrpoFlags): Promise<DraftedRun> {
  const { data = [], lean, project, heartbeats } = flags;
  if (data.length === 0) usageError(command, "no prompts given: --data names a file, a folder or a data set");
  checkUse(command, flags, rewardSettings(flags));
  const described = await describeBase(await locateBase(model, flags));
  const draft = policyDraft(described.base, data, flags);
  if (!needsLean(draft.reward)) return { draft, described };
  const own: LeanSettings = {
    ...(lean !== undefined && { lean }),
    ...(project !== undefined && { project: resolve(project) }),
    ...(heartbeats !== undefined && { heartbeats }),
  };
  return { draft: { ...draft, reward: { ...draft.reward, others: { lean: own } } }, described };
}

/** Reads the prompts into a new run. @returns the status of a signal that stopped it, which leaves nothing, else 0 */
async function prepareRun({ draft, described }: DraftedRun, out: string, flags: GrpoFlags): Promise<number> {
  const { stdout } = process;
  const { split, subset, offline, heldOut = MOST_HELD_OUT } = flags;
  const line = new ProgressLine(process.stderr);
  using interrupt = listenForInterrupt(() => {});
  const { signal } = interrupt;
  try {
    const filter = { ...(split !== undefined && { split }), ...(subset !== undefined && { subset }) };
    const rows = await openRows(draft.data, { ...filter, ...(offline !== undefined && { offline }), signal });
    const proofs = needsLean(draft.reward);
    const { folder, gguf } = described.base;
    const style = flags.style ?? (await proverSettings(gguf === null ? folder : join(folder, gguf))).style;
    const template = await templateSource(flags.template);
    const { prompts, longest, ...prepared } = await preparePolicy(
      draft,
      described,
      proofs ? theorems(rows, style, signal) : questions(rows, flags.key, signal),
      out,
      {
        heldOut: { most: heldOut },
        ...(template !== undefined && { template }),
        check(config, longest) {
          line.clear();
          stdout.write(`memory    ${checkPolicyMemory(draft, config, longest, flags.ignoreMemory)}\n`);
        },
        onProgress: (count) => line.tell(`reading prompts  ${formatCount(count)}`),
        signal,
      },
    );
    line.clear();
    const kept = prepared.heldOut > 0 ? `, ${formatCount(prepared.heldOut)} held out` : "";
    stdout.write(
      `prompts   ${plural(prompts, "prompt")} to learn from${kept}; the longest has ${plural(longest, "token")}\n`,
    );
    stdout.write(`run       ${out}\n`);
    return 0;
  } catch (error) {
    if (!signal.aborted) throw error;
    return interrupt.exitCode;
  } finally {
    line.clear();
  }
}

export function grpoCommand(): Command {
  const command = new Command("grpo")
    .summary("train a language model by rewards that can be checked")
    .description(
      "Trains a language model by group relative policy optimization (GRPO): samples several completions of each prompt, judges " +
        "them, and makes those better than their group's mean more likely. Everything goes into one run folder: settings, prompts, " +
        "metrics.jsonl, checkpoints, model/ (with --lora adapter/). Ctrl-C saves and exits with status 130; a run continued by --resume is bit-identical to " +
        "one that was never interrupted, if its rewards depend on nothing but their samples.",
    )
    .argument("[model]", MODEL_ARGUMENT)
    .option(
      "--data <name>",
      "rows: a .jsonl or .parquet file, a folder of them, or a data set on the Hugging Face hub; may be given several times",
      collect,
    )
    .option("--split <name>", "split to read where file names tell: train (default), test, ..")
    .option("--subset <folder>", "folder of the one configuration to read of a data set that has several")
    .option(
      "--key <field>",
      "field with the right answer (default: key, else answer); of GSM8K's what follows ####",
    )
    .option(
      "--held-out <n>",
      `prompts that are evaluated, not learned from, a twentieth at most (default: ${MOST_HELD_OUT})`,
      naturalNumber,
    )
    .option("--out <folder>", "run folder (default: runs/grpo-<n>)")
    .option("--resume <folder>", "continue the run in this folder")
    .option("--ignore-memory", "train even if the estimate exceeds this machine's memory")
    .addOption(
      new Option("--style <style>", "prompts of theorems (default: the model's own)").choices([
        "official",
        "short",
      ]),
    )
    .option("--heartbeats <n>", "Lean's limit of a check (default: 200000)", positiveInteger);
  return withThreads(withLean(withoutAdapter(withHub(withPolicy(withTemplateOption(command))))))
    .addHelpText("after", flowing(examples))
    .action(async (model: string | undefined, flags: GrpoFlags) => {
      await orNoLean(async () => {
        process.exitCode = await runGrpo(command, model, flags);
      });
    });
}

async function runGrpo(command: Command, model: string | undefined, flags: GrpoFlags): Promise<number> {
  const { threads } = flags;
  const train = (folder: string, reward: Reward) =>
    trainPolicyWithView({ folder, threads }, reward, process.stdout);
  if (flags.resume !== undefined) {
    const folder = flags.resume;
    const allowed = ["resume", "threads", "parallel", "download"];
    const extra = Object.keys(flags).find((name) => !allowed.includes(name));
    if (model !== undefined || extra !== undefined) {
      usageError(command, `--resume uses the run's own settings; remove ${extra ?? model}`);
    }
    const path = join(folder, "run.json");
    const { reward, policy } = savedPolicyRun(await readJson(path), path);
    return withReward(command, reward, policy, flags, (judge) => train(folder, judge));
  }
  if (model === undefined) usageError(command, "no model given");
  const out = flags.out ?? (await freeRunFolder("grpo"));
  await checkFree(out);
  const drafted = await draftRun(command, model, flags);
  const { reward, policy } = drafted.draft;
  // A judge that cannot be had is known before anything is read.
  return withReward(command, reward, policy, flags, async (judge) => {
    const status = await prepareRun(drafted, out, flags);
    return status === 0 ? train(out, judge) : status;
  });
}
