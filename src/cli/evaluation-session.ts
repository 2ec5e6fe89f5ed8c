/** An evaluation from the command line: begun or continued, shown, stopped by Ctrl-C with all finished waves kept. */
import { stat } from "node:fs/promises";
import { basename, dirname, resolve } from "node:path";
import { BUILTIN_TEMPLATES } from "../chat/builtin.ts";
import { modelTemplate } from "../chat/model-template.ts";
import { builtinTemplate, type ChatTemplate, chatTemplate } from "../chat/template.ts";
import { ADAPTER_CONFIG } from "../checkpoint/adapter-config.ts";
import { nodeFolder } from "../checkpoint/node-files.ts";
import { checkEvaluation, type Evaluation, evaluate } from "../evaluate/evaluate.ts";
import { EvaluationFolder, type KeptTask } from "../evaluate/evaluation-folder.ts";
import { type OpenedTask, openTask, type TaskSource } from "../evaluate/node-tasks.ts";
import { harnessResults, type ResultsAbout } from "../evaluate/results.ts";
import { DEFAULT_BATCH, DEFAULT_SEED, type EvaluationSettings, workSettings } from "../evaluate/settings.ts";
import type { EvaluationJudge } from "../evaluate/work.ts";
import { givenAdapter } from "../runs/model-path.ts";
import { builtInParts, checkRewards, openRewards, type RewardSettings } from "../runs/policy/rewards.ts";
import { fingerprintOf } from "../runs/tuned/base-model.ts";
import { checkKeys } from "../tensor/check-value.ts";
import { ConfigError } from "../tensor/errors.ts";
import { formatCount, plural } from "../text/units.ts";
import { type ModelFlags, type OpenedModel, openModel } from "./commands/open-model.ts";
import { openDevice } from "./commands/options.ts";
import { countNotes, EvaluationClock, evaluationTable } from "./evaluation-view.ts";
import { listenForInterrupt } from "./interrupt.ts";
import { ProgressLine } from "./progress-line.ts";
import { quote } from "./training-session.ts";
import { version } from "./version.ts";

/** What judges answers. */
export interface AskedJudge extends Omit<EvaluationJudge, "reward"> {
  readonly reward: RewardSettings;
}

/** All that an evaluation is told, as it is kept for a later start. */
export interface AskedEvaluation {
  readonly model: string;
  readonly open: ModelFlags;
  /** A built-in template by name, or a Jinja source. */
  readonly template?: string;
  readonly settings: EvaluationSettings;
  readonly judge?: AskedJudge;
  readonly rows: {
    readonly split?: string;
    readonly subset?: string;
    readonly extensions?: readonly string[];
  };
  /** File of rows that examples are drawn from. */
  readonly shotsFrom?: string;
  /** Of the model's weights and of the adapter's; added when the model is open. */
  readonly fingerprint?: string;
}

const KEYS = ["model", "open", "template", "settings", "judge", "rows", "shotsFrom", "fingerprint"];
const SETTINGS = [
  ...["shots", "limit", "batchSize", "maxLength", "maxTokens", "stop", "samples", "ks", "temperature"],
  ...["topP", "seed", "cacheDtype", "chat", "system", "bos"],
];

export interface ShownAs {
  readonly threads?: number;
  /** Results as JSON in place of the table. */
  readonly json?: boolean;
}

/** A path of this machine from its root, so that it is found from other folders too; names on the hub as they are. */
export async function lasting(path: string): Promise<string> {
  return (await stat(path).catch(() => null)) === null ? path : resolve(path);
}

async function openTasks(
  sources: readonly TaskSource[],
  { settings, rows, judge, shotsFrom, open }: AskedEvaluation,
  line: ProgressLine,
  signal: AbortSignal,
): Promise<OpenedTask[]> {
  const options = {
    ...rows,
    ...(open.offline !== undefined && { offline: open.offline }),
    ...(judge && { isJudged: true, rewards: builtInParts(judge.reward) }),
    ...(judge?.key !== undefined && { key: judge.key }),
    signal,
  };
  const tasks: OpenedTask[] = [];
  for (const source of sources) {
    const onProgress = (count: number) => line.tell(`reading ${source.name}  ${formatCount(count)} rows`);
    const limit = settings.limit === undefined ? {} : { limit: settings.limit };
    tasks.push(await openTask(source, { ...options, ...limit, onProgress }));
  }
  if (shotsFrom === undefined) return tasks;
  const shots = await openTask({ name: "shots", kind: "rows", path: shotsFrom }, options);
  const shotRows = Array.isArray(shots.rows) ? shots.rows : [];
  return tasks.map((task) =>
    task.form === "choices" || task.form === "answer" ? { ...task, shotRows } : task,
  );
}

/** A hash of the weights that are judged. */
async function weightsHash({ source }: OpenedModel, adapter: string | undefined): Promise<string> {
  const isFile = /\.gguf$/i.test(source.path);
  const folder = isFile ? dirname(source.path) : source.path;
  const own = await fingerprintOf(nodeFolder(folder), { gguf: isFile ? basename(source.path) : null });
  if (adapter === undefined) return own;
  return `${own}+${await fingerprintOf(nodeFolder(adapter), { gguf: null }, ADAPTER_CONFIG)}`;
}

/** The chat template that was asked for, or the model's; null if there is none. @throws ConfigError */
function templateOf(opened: OpenedModel, asked: string | undefined): ChatTemplate | null {
  const { tokenizer } = opened;
  if (asked !== undefined) {
    return Object.hasOwn(BUILTIN_TEMPLATES, asked)
      ? builtinTemplate(tokenizer, asked)
      : chatTemplate(tokenizer, asked);
  }
  try {
    return modelTemplate(opened, tokenizer);
  } catch (error) {
    // Texts need none.
    if (opened.chatTemplate !== null || !(error instanceof ConfigError)) throw error;
    return null;
  }
}

const keptTask = ({ name, form, count, hash, source: { kind, path } }: OpenedTask): KeptTask => ({
  ...{ name, form, count, hash, kind, path },
});

/** Refuses tasks whose rows are others than when the evaluation began. @throws ConfigError */
function checkSame(kept: readonly KeptTask[], tasks: readonly OpenedTask[]): void {
  for (const [i, { name, path, hash }] of kept.entries()) {
    if (tasks[i].hash === hash) continue;
    throw new ConfigError("the rows have changed since the evaluation began", {
      ...{ where: path, name, hint: "Restore the file, or begin a new evaluation." },
    });
  }
}

function aboutOf(
  folder: EvaluationFolder,
  asked: AskedEvaluation,
  tasks: readonly OpenedTask[],
  subject: Parameters<typeof workSettings>[0],
  judge: EvaluationJudge | null,
): ResultsAbout {
  const { settings } = asked;
  const { writing, samples } = workSettings(subject, settings, judge, false);
  const kwargs = ({ stop, maxTokens, temperature, topP }: (typeof writing)["answer"]) => ({
    ...{ until: stop, max_gen_toks: maxTokens, temperature, top_p: topP, do_sample: temperature > 0 },
  });
  return {
    model: folder.record.model,
    arguments: folder.record.asked,
    seed: settings.seed ?? DEFAULT_SEED,
    batchSize: settings.batchSize ?? DEFAULT_BATCH,
    limit: settings.limit ?? null,
    date: folder.record.started,
    version,
    chatTemplate: settings.chat ? (subject.template?.source ?? null) : null,
    system: settings.system ?? null,
    tasks: Object.fromEntries(
      tasks.map(({ name, form, hash, source: { path } }) => [
        name,
        {
          ...{ path, hash },
          ...((form === "answer" || form === "infill") && { generation: kwargs(writing[form]) }),
          ...(form === "answer" && { samples }),
        },
      ]),
    ),
  };
}

/** Opens the judge, and runs `body` with it. */
async function withJudge<T>(
  asked: AskedJudge | undefined,
  maxTokens: number,
  body: (judge: EvaluationJudge | null) => Promise<T>,
): Promise<T> {
  if (asked === undefined) return body(null);
  const { reward, ...rest } = asked;
  await using opened = await openRewards(reward, { maxTokens });
  return await body({ ...rest, reward: opened.reward });
}

/** Tokens of an answer where none are asked for; only a reward of length looks at it. */
const ANSWER_TOKENS = 256;

type Place =
  | { readonly begin: string; readonly sources: readonly TaskSource[]; readonly log: boolean }
  | { readonly resume: string };

/** Begins or continues an evaluation. @returns the status to exit with @throws ConfigError, FormatError, .. */
export async function runEvaluation(
  place: Place,
  given: AskedEvaluation | null,
  shown: ShownAs,
): Promise<number> {
  const line = new ProgressLine(process.stderr);
  using interrupt = listenForInterrupt(() => line.note("stopping; what is finished is kept"));
  const { signal } = interrupt;
  const held = "resume" in place ? await EvaluationFolder.open(place.resume) : null;
  let folder = held;
  try {
    if (held?.note != null) line.note(held.note);
    const asked = given ?? savedAsked(held!);
    const sources = "begin" in place ? place.sources : held!.record.tasks;
    const tasks = await openTasks(sources, asked, line, signal);
    line.clear();
    if (held !== null) checkSame(held.record.tasks, tasks);
    return await withJudge(asked.judge, asked.settings.maxTokens ?? ANSWER_TOKENS, async (judge) => {
      await using device = await openDevice(shown);
      await using opened = await openModel(asked.model, device, asked.open, signal);
      const fingerprint = await weightsHash(opened, await givenAdapter(asked.open));
      if (held !== null && asked.fingerprint !== fingerprint) {
        throw new ConfigError("the model has changed since the evaluation began", {
          ...{ where: asked.model, hint: "Begin a new evaluation." },
        });
      }
      const { model, tokenizer, generationConfig } = opened;
      const stopIds = generationConfig.eosTokenIds;
      const subject = { model, tokenizer, stopIds, template: templateOf(opened, asked.template) };
      // What cannot be asked is refused before there is a folder.
      checkEvaluation(subject, tasks, { ...asked.settings, ...(judge && { judge }) });
      if ("begin" in place) {
        folder = await EvaluationFolder.create(place.begin, {
          ...{ model: opened.name, started: Date.now(), tasks: tasks.map(keptTask), log: place.log },
          asked: { ...asked, fingerprint },
        });
      }
      const clock = new EvaluationClock();
      const evaluation = await evaluate(subject, tasks, {
        ...{ ...asked.settings, log: folder!.record.log, done: folder!.waves(), signal },
        ...(judge && { judge }),
        onWave: (wave, rows) => folder!.keep(wave, rows),
        onProgress: (progress) => line.tell(clock.text(progress)),
      });
      line.clear();
      await show(folder!, evaluation, aboutOf(folder!, asked, tasks, subject, judge), tasks, shown);
      return 0;
    });
  } catch (error) {
    line.clear();
    if (!signal.aborted) throw error;
    if (folder !== null) {
      process.stderr.write(
        `stopped. Continue with:\n  npx deepseek-ts evaluate --resume ${quote(folder.path)}\n`,
      );
    }
    return interrupt.exitCode;
  } finally {
    await folder?.[Symbol.asyncDispose]();
  }
}

/** What an evaluation was told when it began. @throws ConfigError for a file that was changed */
function savedAsked({ path, record: { asked } }: EvaluationFolder): AskedEvaluation {
  const place = { where: `${path}/evaluation.json`, prefix: "asked." };
  checkKeys(place, asked, KEYS);
  const { model, open, settings, rows, judge } = asked as Partial<AskedEvaluation>;
  const isObject = (value: unknown) => typeof value === "object" && value !== null;
  if (typeof model !== "string" || ![open, settings, rows].every(isObject)) {
    throw new ConfigError("settings are missing", { ...place, expected: "model, open, settings and rows" });
  }
  checkKeys({ ...place, prefix: "asked.settings." }, settings!, SETTINGS);
  if (judge !== undefined) checkRewards({ ...place, prefix: "asked.judge." }, judge.reward, []);
  return asked as unknown as AskedEvaluation;
}

async function show(
  folder: EvaluationFolder,
  evaluation: Evaluation,
  about: ResultsAbout,
  tasks: readonly OpenedTask[],
  { json }: ShownAs,
): Promise<void> {
  const { stdout, stderr } = process;
  const { results, samples } = await folder.finish(evaluation, about);
  if (json) {
    stdout.write(`${JSON.stringify(harnessResults(evaluation, about), null, 2)}\n`);
    return;
  }
  for (const { name, leftOut } of tasks) {
    if (leftOut > 0) stderr.write(`${name}: ${plural(leftOut, "file")} left out that hold no text\n`);
  }
  for (const note of countNotes(evaluation.tasks)) stderr.write(`${note}\n`);
  stdout.write(`${evaluationTable(evaluation.tasks)}\n`);
  stdout.write(`saved  ${[results, ...samples].join("\n       ")}\n`);
}
