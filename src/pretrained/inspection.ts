/** What a model is and what it needs, read from its configuration and the headers of its files: no weights are read. Node only. */
import { type Checkpoint, openCheckpoint, type WeightFormat } from "../checkpoint/folder.ts";
import { ggufConfig } from "../checkpoint/gguf/config.ts";
import { openGgufFiles } from "../checkpoint/gguf/reader.ts";
import { isRead } from "../checkpoint/gguf/types.ts";
import { checkpointConfig, configOf } from "../checkpoint/model.ts";
import { isMoeLayer, type LanguageConfig, parseConfig } from "../models/config.ts";
import { countParameters } from "../models/count.ts";
import {
  activationBytes,
  cacheBytes,
  cacheValues,
  type Machine,
  type MemoryNeed,
  memoryNeeds,
} from "../models/memory-needs.ts";
import { isVisionConfig } from "../models/vision-architectures.ts";
import type { VisionLanguageConfig } from "../models/vision-config.ts";
import type { ModelPlace } from "./node-load.ts";
import { inspectVision, type VisionInspection } from "./vision-inspection.ts";

type Notice = (text: string) => void;

export interface Inspection {
  /** Folder, GGUF file or repository. */
  readonly folder: string;
  readonly format: WeightFormat | "gguf";
  readonly modelType: string;
  readonly parameters: ReturnType<typeof countParameters>;
  /** Of the main layers that have experts: their numbers from 0, and how many each routes to; null for models without. */
  readonly experts: {
    readonly layers: readonly number[];
    readonly routed: number;
    readonly perToken: number;
  } | null;
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

async function readFolder({ tree }: ModelPlace, machine: Machine, onNotice: Notice): Promise<Stored> {
  const checkpoint = await openCheckpoint(tree, { onNotice });
  try {
    if (isVisionConfig(configOf(checkpoint))) {
      const sees = await inspectVision(checkpoint, machine);
      const { language: config } = sees.config;
      return { config, sees, format: checkpoint.format, ...tally(tensorsOf(checkpoint)), unread: [] };
    }
    const { config } = checkpointConfig(checkpoint, onNotice);
    return { config, format: checkpoint.format, ...tally(tensorsOf(checkpoint)), unread: [] };
  } finally {
    await checkpoint.close();
  }
}

function expertsOf(config: LanguageConfig): Inspection["experts"] {
  if (config.moe === null) return null;
  const { experts: routed, router } = config.moe;
  const layers = Array.from({ length: config.layers }, (_, layer) => layer);
  return { layers: layers.filter((layer) => isMoeLayer(config, layer)), routed, perToken: router.topK };
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
 * Reads configuration and headers of a model; no weights.
 * @param onNotice takes oddities of the files, in one line each
 * @throws ConfigError, FormatError, HubError
 */
export async function inspectModel(
  place: ModelPlace,
  machine: Machine,
  onNotice: Notice,
): Promise<{ config: LanguageConfig; vision: VisionLanguageConfig | null; inspection: Inspection }> {
  const { config, sees, format, tensors, bytesByDtype, unread } =
    place.gguf === null ? await readFolder(place, machine, onNotice) : await readGguf(place, place.gguf);
  const cache = cacheValues(config);
  const perValue = cacheBytes(config) / cache.own;
  const inspection: Inspection = {
    folder: place.source.path,
    format,
    modelType: sees?.config.modelType ?? config.modelType,
    parameters: countParameters(config),
    experts: expertsOf(config),
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
