/**
 * `deepseek-ts inspect`: what a model is and what it needs, read from its configuration and the headers of its files.
 * Of a model on the hub only those are fetched, unless it is in the cache. Of a single file of weights, its tensors.
 */

import { Command } from "commander";
import { thisMachine } from "../../files/machine.ts";
import type { LanguageConfig } from "../../models/config.ts";
import type { Machine, MemoryNeed } from "../../models/memory-needs.ts";
import type { VisionLanguageConfig } from "../../models/vision-config.ts";
import { type Inspection, inspectModel } from "../../pretrained/inspection.ts";
import { formatBytes, formatCompact, formatCount, plural } from "../../text/units.ts";
import { flowing } from "../help.ts";
import { visionRows } from "../vision-inspection.ts";
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

/** As `inspectModel`, of what `load` takes, or a training run's folder. */
export async function inspect(
  path: string,
  flags: Omit<ModelFlags, "dtype"> = {},
  machine: Machine = thisMachine(),
): ReturnType<typeof inspectModel> {
  return await inspectModel(await openPlace(path, flags), machine, noticeOnStderr);
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
