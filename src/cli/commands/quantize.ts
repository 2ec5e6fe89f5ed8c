/** `deepseek-ts quantize`: saves a model with 4-bit or 8-bit weights, and says what that costs. */

import { Command, Option } from "commander";
import type { Divergence, VectorDivergence } from "../../engine/divergence.ts";
import { readTextFile } from "../../files/text-file.ts";
import { withoutMark } from "../../files/utf8.ts";
import type { StorageFormat } from "../../nn/storage.ts";
import type { ImageReport } from "../../runs/image-report.ts";
import { addRunJob, processRuns } from "../../runs/jobs.ts";
import { modelPath } from "../../runs/model-path.ts";
import type { QuantizeTask } from "../../runs/quantize.ts";
import { formatBytes, formatPercent, plural } from "../../text/units.ts";
import { flowing } from "../help.ts";
import { runJob } from "../job-session.ts";
import { ProgressLine } from "../progress-line.ts";
import { hubFlags, MODEL_ARGUMENT, type ModelFlags, withHub, withoutAdapter } from "./open-model.ts";
import { type NamedRule, namedRules, positiveInteger, usageError, withThreads } from "./options.ts";

const examples = `
Examples:
  deepseek-ts quantize ./DeepSeek-V2-Lite ./DeepSeek-V2-Lite-q4
  deepseek-ts quantize deepseek-ai/DeepSeek-V2-Lite ./v2-lite-q4 --report --text notes.txt
  deepseek-ts quantize ./model ./model-q8 --dtype q8
  deepseek-ts quantize ./model ./mixed --keep "layers\\.0\\.=q8" --keep "o_proj=bf16" --report
  deepseek-ts quantize ./deepseek-vl2-tiny ./vl2-tiny-q4 --report --images ./pictures
  deepseek-ts quantize ./deepseek-vl-7b-chat ./vl-7b-q4 --vision bf16
  deepseek-ts convert ./model model.gguf --type q4_0                        for llama.cpp

By default routers, norms, low-rank attention matrices, embedding and output head keep 8 bits or more, as do the linear layers
of image towers and projectors; convolutions and tables of positions stay f32.`;

/** Measured if `--text` names nothing: plain prose and code, enough to tell a broken model from a sound one. */
const TEXT = `The river rises in the hills to the north, runs past three mills and a tannery, and meets the sea at a town
whose name means harbour. In spring it floods the lower meadows; the farmers move their cattle a week before, by a rule
older than the church. A traveller in 1820 counted forty boats under its only bridge.

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

Let n be a positive integer. If n is even, then n squared is even as well, for n = 2k gives n squared = 2 (2 k squared).
`;

const FORMATS = { f32: "f32", bf16: "bf16", f16: "f16", q8: "q8", q4: "q4" } as const;

/** Asked about every picture of `--images`. */
const QUESTION = "Describe this image.";

interface Flags extends Omit<ModelFlags, "dtype"> {
  readonly dtype: "q4" | "q8";
  readonly keep: readonly NamedRule<StorageFormat>[];
  readonly vision?: "q4" | "q8" | "bf16" | "f32";
  readonly report?: boolean;
  readonly images?: string;
  readonly question: string;
  readonly text?: string;
  readonly tokens: number;
  readonly json?: boolean;
  readonly force?: boolean;
  readonly threads?: number;
}

function reportText(d: Divergence): string {
  const change = formatPercent(d.perplexityAfter / d.perplexityBefore - 1, 2);
  return (
    `perplexity  ${d.perplexityBefore.toFixed(4)} before, ${d.perplexityAfter.toFixed(4)} after (${change})\n` +
    `KL          mean ${d.meanKl.toExponential(2)} nats/token, maximum ${d.maxKl.toExponential(2)}\n` +
    `top-1       same for ${formatPercent(d.sameTop)} of ${plural(d.tokens, "token")}\n` +
    `logits      RMS difference ${d.rmsLogits.toFixed(4)}\n`
  );
}

function movedText({ meanCosine, minCosine, relative, maxError }: VectorDivergence): string {
  return (
    `cosine mean ${meanCosine.toFixed(6)}, minimum ${minCosine.toFixed(6)}; difference ${formatPercent(relative, 2)}, ` +
    `maximum ${maxError.toFixed(3)} of the values' RMS`
  );
}

function imagesText(r: ImageReport): string {
  const kl = (d: Divergence) =>
    `KL mean ${d.meanKl.toExponential(2)} nats/token, maximum ${d.maxKl.toExponential(2)}; top-1 same for ${formatPercent(d.sameTop)}`;
  const all = `${plural(r.images, "picture")} in ${plural(r.views, "view")}, answers of ${plural(r.answers.tokens, "token")}`;
  return (
    `pictures    ${all}\n` +
    `  tower       ${movedText(r.tower)}\n` +
    `  projector   ${movedText(r.projector)}\n` +
    `  tokens      ${movedText(r.tokens)}\n` +
    `answers     ${kl(r.answers)}\n` +
    `  by images   ${kl(r.pictures)}\n` +
    `  by language ${kl(r.language)}\n`
  );
}

async function quantize(path: string, out: string, flags: Flags): Promise<void> {
  const { dtype, vision, force, threads, tokens, images: folder, question } = flags;
  const text = async () => (flags.text === undefined ? TEXT : withoutMark(await readTextFile(flags.text)));
  const task: QuantizeTask = {
    ...{ model: await modelPath(path), ...hubFlags(flags), out, force, dtype, vision, threads },
    keep: flags.keep.map(({ pattern, value }) => ({ pattern: pattern.source, format: value })),
    ...(flags.report
      ? {
          report: {
            text: await text(),
            tokens,
            ...(folder !== undefined && { pictures: { folder, question } }),
          },
        }
      : {}),
  };
  const line = new ProgressLine(process.stderr);
  const { result, exitCode } = await runJob(
    (queue) => {
      processRuns(queue);
      return addRunJob(queue, "quantize", task);
    },
    {
      onEvent(event) {
        if (event.type === "progress") line.update(event.progress);
        else if (event.type === "notice") line.note(event.text);
        else if (event.type === "picture") {
          const { when, picture, of } = event;
          line.tell(`picture ${picture} of ${of}, weights ${when} quantizing`);
        } else line.clear();
      },
    },
  ).finally(() => line.clear());
  process.exitCode = exitCode;
  if (result === null) return;
  const { bytes, bitsPerWeight, divergence, images } = result;
  if (flags.json) {
    process.stdout.write(
      `${JSON.stringify({ out, bytes, bitsPerWeight, ...divergence, ...(images && { images }) })}\n`,
    );
    return;
  }
  const size = `${formatBytes(bytes)}, ${bitsPerWeight.toFixed(2)} bits/weight`;
  process.stdout.write(
    `saved       ${out}: ${size}\n${divergence ? reportText(divergence) : ""}${images ? imagesText(images) : ""}`,
  );
}

export function quantizeCommand(): Command {
  const command = new Command("quantize")
    .summary("save a model with 4-bit or 8-bit weights")
    .description(
      "Quantizes a model tensor by tensor while reading it and saves the result as a folder that loads directly. Weights " +
        "have one scale per block of 32 values.",
    )
    .argument("<model>", MODEL_ARGUMENT)
    .argument("<out>", "output folder, new or empty")
    .addOption(new Option("--dtype <dtype>", "weight format").choices(["q4", "q8"]).default("q4"))
    .option(
      "--keep <pattern=format>",
      "format for weights whose name matches; may be repeated, the first match wins",
      namedRules<StorageFormat>("FORMAT", FORMATS),
      [],
    )
    .addOption(
      new Option("--vision <dtype>", "format of the linear layers of image towers and projector")
        .choices(["q4", "q8", "bf16", "f32"])
        .default(undefined, "q8"),
    )
    .option("--report", "measure the loss in accuracy: perplexity and KL divergence on a text")
    .option(
      "--images <folder>",
      "with --report: also on pictures, the first 8 by name: image tokens, and answers of 32 tokens",
    )
    .option("--question <text>", "what is asked about each picture", QUESTION)
    .option("--text <file>", "text for --report (default: a short built-in one)")
    .option("--tokens <n>", "maximum number of tokens of that text", positiveInteger, 512)
    .option("--force", "replace an existing model, if this program wrote it")
    .option("--json", "print one JSON object");
  return withThreads(withoutAdapter(withHub(command)))
    .addHelpText("after", flowing(examples))
    .action(async (path: string, out: string, flags: Flags) => {
      if (/\.gguf$/i.test(out)) usageError(command, "use `deepseek-ts convert` to write a .gguf file");
      if (flags.question !== QUESTION && flags.images === undefined)
        usageError(command, "--question asks about --images");
      if (flags.images !== undefined && !flags.report) usageError(command, "--images is part of --report");
      await quantize(path, out, flags);
    });
}
