/** `deepseek-ts inspect`: what a model folder holds, read from its configuration and the headers of its files. */
import { Command } from "commander";
import { openCheckpoint } from "../../checkpoint/folder.ts";
import { nodeFolder } from "../../checkpoint/node-files.ts";
import { type LanguageConfig, parseConfig } from "../../models/config.ts";
import { countParameters } from "../../models/count.ts";
import { ConfigError } from "../../tensor/errors.ts";
import { short } from "../live-view.ts";
import { modelFolder } from "./open-model.ts";

/** Values that one token adds to the cache, and what multi-head attention of the same heads would add. */
export function cacheValues({ attention, layers }: LanguageConfig): { own: number; multiHead: number } {
  if (attention.kind === "mla") {
    const { heads, latentRank, nopeDim, ropeDim, valueDim } = attention;
    return {
      own: layers * (latentRank + ropeDim),
      multiHead: layers * heads * (nopeDim + ropeDim + valueDim),
    };
  }
  const { heads, keyValueHeads, headDim } = attention;
  return { own: 2 * layers * keyValueHeads * headDim, multiHead: 2 * layers * heads * headDim };
}

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

const bytesText = (bytes: number) =>
  bytes >= 1e9
    ? `${(bytes / 1e9).toFixed(2)} GB`
    : bytes >= 1e6
      ? `${(bytes / 1e6).toFixed(2)} MB`
      : `${bytes} bytes`;

export interface Inspection {
  readonly folder: string;
  readonly modelType: string;
  readonly parameters: ReturnType<typeof countParameters>;
  readonly tensors: number;
  readonly bytes: number;
  readonly bytesByDtype: Readonly<Record<string, number>>;
  readonly cacheBytesPerToken: number;
  readonly multiHeadCacheBytesPerToken: number;
}

/** Reads configuration and headers of a model folder; no weights. @throws ConfigError, FormatError */
export async function inspect(path: string): Promise<{ config: LanguageConfig; inspection: Inspection }> {
  const folder = await modelFolder(path);
  const checkpoint = await openCheckpoint(nodeFolder(folder));
  try {
    if (!checkpoint.config) throw new ConfigError("the folder has no config.json", { where: folder });
    const config = parseConfig(checkpoint.config);
    const bytesByDtype: Record<string, number> = {};
    let [tensors, bytes] = [0, 0];
    const add = (name: string) => {
      const info = checkpoint.info(name);
      tensors++;
      bytes += info.bytes;
      bytesByDtype[info.dtype] = (bytesByDtype[info.dtype] ?? 0) + info.bytes;
    };
    for (const name of checkpoint.names()) {
      add(name);
      if (checkpoint.has(`${name}_scale_inv`)) add(`${name}_scale_inv`);
    }
    const cache = cacheValues(config);
    const inspection = {
      folder,
      modelType: config.modelType,
      parameters: countParameters(config),
      ...{ tensors, bytes, bytesByDtype },
      cacheBytesPerToken: 4 * cache.own,
      multiHeadCacheBytesPerToken: 4 * cache.multiHead,
    };
    return { config, inspection };
  } finally {
    await checkpoint.close();
  }
}

function report(config: LanguageConfig, i: Inspection): string {
  const { total, activated, mtp } = i.parameters;
  const dtypes = Object.entries(i.bytesByDtype).map(([dtype, bytes]) => `${dtype} ${bytesText(bytes)}`);
  const saved = (i.multiHeadCacheBytesPerToken / i.cacheBytesPerToken).toFixed(1);
  const beside =
    i.multiHeadCacheBytesPerToken === i.cacheBytesPerToken
      ? ""
      : `; multi-head attention would need ${i.multiHeadCacheBytesPerToken} (${saved} times)`;
  const rows: [string, string][] = [
    ["folder", i.folder],
    ["type", i.modelType],
    ["parameters", `${short(total)} (${total}), ${short(activated)} per token`],
    [
      "prediction",
      mtp > 0 ? `${config.mtpLayers} further token, ${short(mtp)} parameters more` : "next token only",
    ],
    ["layers", `${config.layers} of width ${config.hiddenSize}, vocabulary ${config.vocabSize}`],
    ["attention", attentionText(config)],
    ["experts", expertsText(config)],
    ["context", `${config.maxPositions} tokens`],
    ["files", `${i.tensors} tensors, ${bytesText(i.bytes)}: ${dtypes.join(", ")}`],
    ["cache", `${i.cacheBytesPerToken} bytes per token (float32)${beside}`],
  ];
  return rows.map(([name, value]) => `${name.padEnd(11)} ${value}\n`).join("");
}

export function inspectCommand(): Command {
  return new Command("inspect")
    .summary("show what a model is and needs")
    .description("Shows architecture, sizes and cache of a model without reading its weights.")
    .argument("<model>", "a model's folder, or a training run's")
    .option("--json", "write one JSON object")
    .addHelpText(
      "after",
      "\nExamples:\n  deepseek-ts inspect runs/demo-1\n  deepseek-ts inspect ./DeepSeek-V2-Lite --json",
    )
    .action(async (path: string, flags: { readonly json?: boolean }) => {
      const { config, inspection } = await inspect(path);
      process.stdout.write(flags.json ? `${JSON.stringify(inspection)}\n` : report(config, inspection));
    });
}
