/**
 * From the MODEL of a command line to a model: a folder in the Hugging Face layout, a training run, a GGUF file, or a
 * name on the Hugging Face hub.
 */
import { basename, resolve } from "node:path";
import { type Command, Option } from "commander";
import { type LoadDtype, type LoadedModel, treeTokenizer } from "../../pretrained/load.ts";
import { type LoadOptions, load, locateModel, type ModelPlace } from "../../pretrained/node-load.ts";
import { givenAdapter, modelPath } from "../../runs/model-path.ts";
import { ConfigError } from "../../tensor/errors.ts";
import type { Device } from "../../tensor/tensor.ts";
import type { Tokenizer } from "../../tokenizer/tokenizer.ts";
import { ProgressLine } from "../progress-line.ts";
import { usageError } from "./options.ts";

/** What `<model>` may be, for the help of commands. */
export const MODEL_ARGUMENT =
  "a model folder, a training run (even while it trains), a .gguf file, or org/name on the Hugging Face hub";

/** What to do about a model whose tokenizer has another form. */
const TOKENIZER_HINT =
  "tokenizer.model, or vocab.json with merges.txt, is not supported: transformers writes tokenizer.json next to them with " +
  "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER).";

/** The tokenizer of a model that is not loaded. @throws FormatError, ConfigError if there is none */
export async function openTokenizer({ name, tree, gguf }: ModelPlace): Promise<Tokenizer> {
  return (await treeTokenizer(tree, gguf)) ?? lacksTokenizer(name);
}

function lacksTokenizer(where: string): never {
  throw new ConfigError("the model has no tokenizer", {
    where,
    expected: "a tokenizer.json next to its weights",
    hint: TOKENIZER_HINT,
  });
}

export type DtypeOption = LoadDtype;

/** The options of commands that load a model. */
export interface ModelFlags {
  readonly dtype: DtypeOption;
  readonly adapter?: string;
  readonly revision?: string;
  readonly gguf?: string;
  readonly offline?: boolean;
}

/** What `withHub` adds, as commander names it: where a model's files are. */
const HUB_OPTIONS = ["revision", "gguf", "offline"];

/** What `withModel` adds beside them: how its weights are held. */
export const WEIGHT_OPTIONS = ["dtype", "adapter"];

export const MODEL_OPTIONS = [...WEIGHT_OPTIONS, ...HUB_OPTIONS];

/** Adds `--dtype`, `--adapter`, `--revision`, `--gguf` and `--offline`. */
export function withModel(command: Command): Command {
  return withHub(
    command
      .addOption(
        new Option(
          "--dtype <dtype>",
          "weight format in memory; auto: as stored in the files; q8 and q4: quantize to 8 or 4 bits while loading",
        )
          .choices(["auto", "f32", "bf16", "f16", "q8", "q4"])
          .default("auto"),
      )
      .option(
        "--adapter <folder>",
        "low-rank adapter (LoRA) of the language model, a folder in PEFT's layout or a run that trains one: merged into floats, " +
          "kept beside quantized weights",
      ),
  );
}

/** Refuses `--adapter`, which other commands have, with what to do instead. */
export function withoutAdapter(command: Command): Command {
  return command.addOption(
    new Option("--adapter <folder>")
      .hideHelp()
      .argParser((folder: string) =>
        usageError(
          command,
          `${command.name()} takes no adapter beside a model; merge both first: deepseek-ts convert MODEL MERGED --adapter ${folder}`,
        ),
      ),
  );
}

/** Adds `--revision`, `--gguf` and `--offline`. */
export function withHub(command: Command): Command {
  return command
    .option("--revision <revision>", "branch, tag or commit on the hub (default: main)")
    .option(
      "--gguf <file>",
      "GGUF file to use from a folder or repository: its name or part of it, such as Q4_0",
    )
    .option("--offline", "use cached files only (like HF_HUB_OFFLINE=1)");
}

/** The flags as options of loading; undefined if they were not given, so that the environment counts. */
export function hubFlags({ revision, gguf, offline }: Omit<ModelFlags, "dtype" | "adapter">) {
  return { revision, file: gguf, offline };
}

/** Writes a notice of opening a model as its own line. */
export const noticeOnStderr = (text: string): void => void process.stderr.write(`${text}\n`);

/** The files of `path`, read in place if they lie on the hub. @throws ConfigError, FormatError, HubError */
export async function openPlace(path: string, flags: Omit<ModelFlags, "dtype">): Promise<ModelPlace> {
  const options = { ...hubFlags(flags), download: false, onNotice: noticeOnStderr };
  return await locateModel(await modelPath(path), options);
}

export interface OpenedModel extends LoadedModel {
  readonly tokenizer: Tokenizer;
  /** The folder, or the GGUF file, that the model came from. */
  readonly folder: string;
}

/**
 * Loads model and tokenizer of `path`, telling on a terminal how far it is when it takes long. `flags` may be a dtype
 * alone. @throws ConfigError, FormatError, ShapeError, HubError, the signal's reason
 */
export async function openModel(
  path: string,
  device: Device,
  flags: DtypeOption | ModelFlags,
  signal?: AbortSignal,
  more: Pick<LoadOptions, "drawing" | "vae"> = {},
): Promise<OpenedModel> {
  const given: ModelFlags = typeof flags === "string" ? { dtype: flags } : flags;
  const { dtype, adapter: _, ...rest } = given;
  const adapter = await givenAdapter(given);
  const line = new ProgressLine(process.stderr);
  const resolved = await modelPath(path);
  try {
    const loaded = await load(resolved, {
      ...hubFlags(rest),
      ...{ dtype, adapter, device, signal, onProgress: line.update, onNotice: line.note, ...more },
    });
    const { tokenizer, source } = loaded;
    if (tokenizer === null) {
      await loaded.dispose();
      return lacksTokenizer(path);
    }
    // The run's folder gives the better name: the one inside it is always "model".
    const name = resolved === path ? loaded.name : basename(resolve(path));
    return { ...loaded, tokenizer, name, folder: source.path };
  } finally {
    line.clear();
  }
}
