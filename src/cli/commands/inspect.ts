/**
 * `deepseek-ts inspect`: what a model is and what it needs, read from its configuration and the headers of its files.
 * Of a model on the hub only those are fetched, unless it is in the cache. Of a single file of weights, its tensors.
 */

import { Command } from "commander";
import { type Checkpoint, openCheckpoint, type WeightFormat } from "../../checkpoint/folder.ts";
import { ggufConfig } from "../../checkpoint/gguf/config.ts";
import { openGgufFiles } from "../../checkpoint/gguf/reader.ts";
import { isRead } from "../../checkpoint/gguf/types.ts";
import { checkpointConfig, configOf } from "../../checkpoint/model.ts";
import { thisMachine } from "../../files/machine.ts";
import { type LanguageConfig, parseConfig } from "../../models/config.ts";
import { countParameters } from "../../models/count.ts";
import {
  activationBytes,
  cacheBytes,
  cacheValues,
  type Machine,
  type MemoryNeed,
  memoryNeeds,
} from "../../models/memory-needs.ts";
import { isVisionConfig } from "../../models/vision-architectures.ts";
import type { VisionLanguageConfig } from "../../models/vision-config.ts";
import type { ModelPlace } from "../../pretrained/node-load.ts";
import { formatBytes, formatCompact, formatCount, plural } from "../../text/units.ts";
import { flowing } from "../help.ts";
import { inspectVision, type VisionInspection, visionRows } from "../vision-inspection.ts";
import {
  MODEL_ARGUMENT,
  type ModelFlags,
  noticeOnStderr,
  openPlace,
  withHub,
  withoutAdapter,
} from "./open-model.ts";
import { fileReport, inspectFile, tensorTable, weightFileFormat } from "./weight-file.ts";

function attentionText({ attention: a }: LanguageConfig): string {
  if (a.kind === "mla") {
    const queries = a.queryRank === null ? "plain queries" : `queries through ${a.queryRank}`;
    return `latent, ${a.heads} heads, ${a.latentRank} + ${a.ropeDim} cached, ${queries}`;
  }
  const shared = a.keyValueHeads === a.heads ? "" : `, ${a.keyValueHeads} for keys and values`;
  return `multi-head, ${a.heads} heads of ${a.headDim}${shared}`;
}

function expertsText({ moe, layers }: LanguageConfig): string {
  if (moe === null) return "none, all layers dense";
  const { router } = moe;
  return `${moe.experts} of which ${router.topK} per token, in all but the first ${moe.firstDenseLayers} of ${layers} layers`;
}

export interface Inspection {
  /** Folder, GGUF file or repository. */
  readonly folder: string;
  readonly format: WeightFormat | "gguf";
  readonly modelType: string;
  readonly parameters: ReturnType<typeof countParameters>;
  readonly tensors: number;
  readonly bytes: number;
  readonly bytesByDtype: Readonly<Record<string, number>>;
  readonly cacheBytesPerToken: number;
  readonly multiHeadCacheBytesPerToken: number;
  readonly groupedQueryCacheBytesPerToken: number;
  readonly activationBytes: number;
  readonly machine: Machine;
  readonly memory: readonly MemoryNeed[];
  /** Tensors of types whose values are not read: with them the model can be shown, not run. */
  readonly unread: readonly UnreadTensor[];
  /** Of models that see; `parameters` then count the language model, `memory` everything. */
  readonly vision?: VisionInspection;
}

export interface UnreadTensor {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: number;
}

interface Stored {
  readonly config: LanguageConfig;
  readonly sees?: {
    readonly config: VisionLanguageConfig;
    readonly memory: MemoryNeed[];
    readonly vision: VisionInspection;
  };
  readonly format: Inspection["format"];
  readonly tensors: number;
  readonly bytesByDtype: Readonly<Record<string, number>>;
  readonly unread: readonly UnreadTensor[];
}

function tally(
  tensors: Iterable<{ readonly dtype: string; readonly bytes: number }>,
): Pick<Stored, "tensors" | "bytesByDtype"> {
  const bytesByDtype: Record<string, number> = {};
  let count = 0;
  for (const { dtype, bytes } of tensors) {
    count++;
    bytesByDtype[dtype] = (bytesByDtype[dtype] ?? 0) + bytes;
  }
  return { tensors: count, bytesByDtype };
}

function* tensorsOf(checkpoint: Checkpoint) {
  for (const name of checkpoint.names()) {
    yield checkpoint.info(name);
    const scale = `${name}_scale_inv`;
    if (checkpoint.info(name).dtype === "F8_E4M3" && checkpoint.has(scale)) yield checkpoint.info(scale);
  }
}

async function readFolder({ tree }: ModelPlace, machine: Machine): Promise<Stored> {
  const checkpoint = await openCheckpoint(tree, { onNotice: noticeOnStderr });
  try {
    if (isVisionConfig(configOf(checkpoint))) {
      const sees = await inspectVision(checkpoint, machine);
      const { language: config } = sees.config;
      return { config, sees, format: checkpoint.format, ...tally(tensorsOf(checkpoint)), unread: [] };
    }
    const { config } = checkpointConfig(checkpoint, noticeOnStderr);
    return { config, format: checkpoint.format, ...tally(tensorsOf(checkpoint)), unread: [] };
  } finally {
    await checkpoint.close();
  }
}

async function readGguf({ tree }: ModelPlace, path: string): Promise<Stored> {
  const file = await openGgufFiles(tree, path);
  try {
    const stored = [...file.tensors.values()];
    const tensors = stored.map(({ type, bytes }) => ({ dtype: type, bytes }));
    const unread = stored
      .filter(({ type }) => !isRead(type))
      .map(({ name, type, shape, bytes }) => ({ name, dtype: type, shape, bytes }));
    return { config: parseConfig(ggufConfig(file)), format: "gguf", ...tally(tensors), unread };
  } finally {
    await file.close();
  }
}

/**
 * Reads configuration and headers of a model; no weights. `path` is what `load` takes, or a training run's folder.
 * @throws ConfigError, FormatError, HubError
 */
export async function inspect(
  path: string,
  flags: Omit<ModelFlags, "dtype"> = {},
  machine: Machine = thisMachine(),
): Promise<{ config: LanguageConfig; vision: VisionLanguageConfig | null; inspection: Inspection }> {
  const place = await openPlace(path, flags);
  const { config, sees, format, tensors, bytesByDtype, unread } =
    place.gguf === null ? await readFolder(place, machine) : await readGguf(place, place.gguf);
  const cache = cacheValues(config);
  const perValue = cacheBytes(config) / cache.own;
  const inspection: Inspection = {
    folder: place.source.path,
    format,
    modelType: sees?.config.modelType ?? config.modelType,
    parameters: countParameters(config),
    tensors,
    bytes: Object.values(bytesByDtype).reduce((sum, bytes) => sum + bytes, 0),
    bytesByDtype,
    cacheBytesPerToken: perValue * cache.own,
    multiHeadCacheBytesPerToken: perValue * cache.multiHead,
    groupedQueryCacheBytesPerToken: perValue * cache.groupedQuery,
    activationBytes: activationBytes(config),
    machine,
    memory: sees?.memory ?? memoryNeeds(config, machine),
    unread,
    ...(sees && { vision: sees.vision }),
  };
  return { config, vision: sees?.config ?? null, inspection };
}

function cacheText(i: Inspection): string {
  const own = i.cacheBytesPerToken;
  const compared = (bytes: number) => `${formatBytes(bytes)} (${(bytes / own).toFixed(1)}x)`;
  const parts = [`${formatBytes(own)} per token (float32)`];
  const { multiHeadCacheBytesPerToken: multiHead, groupedQueryCacheBytesPerToken: grouped } = i;
  if (multiHead !== own) parts.push(`multi-head attention would need ${compared(multiHead)}`);
  if (grouped !== multiHead && grouped !== own) parts.push(`with 8 groups ${compared(grouped)}`);
  return parts.join("; ");
}

function needText({ weights, total, fits, contextThatFits }: MemoryNeed, maxPositions: number): string {
  const sizes = `${formatBytes(weights).padStart(10)}  with the full context ${formatBytes(total).padStart(10)}  `;
  if (fits === "yes") return `${sizes}fits`;
  const part =
    contextThatFits > 0
      ? `a context of ${formatCount(contextThatFits)} of ${formatCount(maxPositions)} tokens fits`
      : "";
  if (fits === "tight") return `${sizes}fits once other programs are closed${part && `; now ${part}`}`;
  return `${sizes}${part || "does not fit"}`;
}

function report(config: LanguageConfig, vision: VisionLanguageConfig | null, i: Inspection): string {
  const { total, activated, mtp } = i.parameters;
  const whole = (i.vision?.parts ?? []).reduce((sum, { parameters }) => sum + parameters, 0);
  const dtypes = Object.entries(i.bytesByDtype).map(([dtype, bytes]) => `${dtype} ${formatBytes(bytes)}`);
  const rows: [string, string][] = [
    [i.format === "gguf" ? "file" : "folder", i.folder],
    ["type", i.modelType],
    ...(vision && i.vision ? visionRows(vision, i.vision) : []),
    [
      "parameters",
      i.vision
        ? `${formatCompact(whole)} (${formatCount(whole)}), of the language model ${formatCompact(activated)} active per token`
        : `${formatCompact(total)} (${formatCount(total)}), ${formatCompact(activated)} active per token`,
    ],
    [
      "prediction",
      mtp > 0
        ? `${plural(config.mtpLayers, "MTP module")}, ${formatCompact(mtp)} further parameters`
        : "next token only",
    ],
    [
      "layers",
      `${config.layers} of width ${formatCount(config.hiddenSize)}, vocabulary ${formatCount(config.vocabSize)}`,
    ],
    ["attention", attentionText(config)],
    ["experts", expertsText(config)],
    [
      "context",
      `${plural(config.maxPositions, "token")}, ${formatBytes(i.cacheBytesPerToken * config.maxPositions)} of KV cache`,
    ],
    ["files", `${plural(i.tensors, "tensor")}, ${formatBytes(i.bytes)}: ${dtypes.join(", ")}`],
    ["KV cache", cacheText(i)],
    ["machine", `${formatBytes(i.machine.total)} of memory, ${formatBytes(i.machine.free)} free`],
    ...i.memory.map((need): [string, string] => [`as ${need.dtype}`, needText(need, config.maxPositions)]),
  ];
  const summary = rows.map(([name, value]) => `${name.padEnd(11)} ${value}\n`).join("");
  if (i.unread.length === 0) return summary;
  const types = [...new Set(i.unread.map(({ dtype }) => dtype))].join(", ");
  const count = plural(i.unread.length, "tensor");
  return `${summary}\ncannot run: ${count} of types that are not read (${types})\n\n${tensorTable(i.unread)}`;
}

export function inspectCommand(): Command {
  return withoutAdapter(withHub(new Command("inspect")))
    .summary("show a model's architecture, size and memory needs")
    .description(
      "Shows the architecture, size, KV cache and memory needs of a model without reading its weights; for a model on " +
        "the hub, only headers are downloaded. Of a model that sees, also its parts, the tokens of images and how they " +
        "are prepared. For a single weight file (.safetensors, .bin, .pt, .pth), lists the " +
        "tensors.",
    )
    .argument("<model>", `${MODEL_ARGUMENT}; or a weight file`)
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      flowing(
        "\nExamples:\n  deepseek-ts inspect runs/demo-1\n  deepseek-ts inspect deepseek-ai/DeepSeek-V2-Lite --json" +
          "\n  deepseek-ts inspect deepseek-ai/deepseek-vl2-tiny\n  deepseek-ts inspect ./DeepSeek-V2-Lite.Q4_0.gguf\n  deepseek-ts inspect ./pytorch_model.bin",
      ),
    )
    .action(async (path: string, flags: Omit<ModelFlags, "dtype"> & { readonly json?: boolean }) => {
      const format = await weightFileFormat(path);
      if (format !== null) {
        const found = await inspectFile(path, format);
        process.stdout.write(flags.json ? `${JSON.stringify(found)}\n` : fileReport(found));
        return;
      }
      const { config, vision, inspection } = await inspect(path, flags);
      process.stdout.write(
        flags.json ? `${JSON.stringify(inspection)}\n` : report(config, vision, inspection),
      );
    });
}
