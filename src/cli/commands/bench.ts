/** `deepseek-ts bench`: how fast a released architecture runs on this machine. */

import { Command, Option } from "commander";
import { readJsonFile } from "../../files/text-file.ts";
import { parseConfig } from "../../models/config.ts";
import type { Json } from "../../models/config-reader.ts";
import { presets } from "../../models/presets.ts";
import { isVisionConfig, parseVisionConfig } from "../../models/vision-architectures.ts";
import { visionPresets } from "../../models/vision-presets.ts";
import { ConfigError } from "../../tensor/errors.ts";
import { formatBytes } from "../../text/units.ts";
import { suggesting } from "../completion.ts";
import { flowing } from "../help.ts";
import { benchmarkShape } from "../shape-benchmark.ts";
import { benchmarkVisionShape, type VisionShapeOptions } from "../vision-benchmark.ts";
import { naturalNumber, openDevice, positiveInteger, usageError, withThreads } from "./options.ts";

const examples = `
Examples:
  deepseek-ts bench --shape deepseek-v2-lite               16B parameters in 4 bits: needs 12 GB of memory and disk
  deepseek-ts bench --shape deepseek-coder-1.3b --dtype q8 --no-reopen
  deepseek-ts bench --shape deepseek-vl2-tiny              images of 1, 4 and 10 tiles, prefill with an image, decoding
  deepseek-ts bench --shape deepseek-vl-7b --vision bf16 --no-reopen
  deepseek-ts bench --shape ./my-model/config.json --prompt 1024 --batch 8 --json`;

/** Released shapes by name, those of models that see last. */
const SHAPES: Readonly<Record<string, Json>> = { ...presets, ...visionPresets };

interface Flags extends Omit<VisionShapeOptions, "seed"> {
  readonly shape: string;
  readonly threads?: number;
  readonly json?: boolean;
}

/** The configuration that `shape` names: a released model's, or a file's. @throws ConfigError, FormatError, FileError */
export async function shapeConfig(shape: string): Promise<Json> {
  if (Object.hasOwn(SHAPES, shape)) return SHAPES[shape];
  if (!shape.endsWith(".json")) {
    throw new ConfigError("unknown model", {
      where: "bench",
      name: "--shape",
      expected: Object.keys(SHAPES).join(", "),
      found: shape,
      hint: "Or pass the path of a config.json.",
    });
  }
  const value = await readJsonFile(shape);
  try {
    (isVisionConfig(value) ? parseVisionConfig : parseConfig)(value as Json);
  } catch (cause) {
    throw new ConfigError("not a model configuration", {
      where: shape,
      expected: "a config.json of a DeepSeek or Llama model",
      found: (cause as Error).message,
      cause,
    });
  }
  return value as Json;
}

export function benchCommand(): Command {
  const command = new Command("bench")
    .summary("benchmark a released model's architecture on this machine")
    .description(
      "Creates a model with a released architecture and random weights, saves and loads it, and measures prefill and " +
        "decoding.",
    )
    .addOption(
      suggesting(
        new Option(
          "--shape <name>",
          `${Object.keys(SHAPES).join(", ")}, or a config.json`,
        ).makeOptionMandatory(),
        Object.keys(SHAPES),
        "files",
      ),
    )
    .addOption(
      new Option("--dtype <dtype>", "weight format").choices(["q4", "q8", "bf16", "f32"]).default("q4"),
    )
    .addOption(
      new Option(
        "--vision <dtype>",
        "format of the linear layers of image towers and projector (default: q8 with q4 and q8, else as --dtype)",
      ).choices(["q4", "q8", "bf16", "f32"]),
    )
    .option("--prompt <n>", "prompt tokens", positiveInteger, 256)
    .option("--tokens <n>", "tokens to decode", positiveInteger, 32)
    .option("--batch <n>", "batch size of the final measurement; 1 skips it", positiveInteger, 8)
    .addOption(
      new Option("--cache-dtype <dtype>", "KV cache format").choices(["f32", "bf16", "f16"]).default("f16"),
    )
    .option("--no-reopen", "skip saving and loading the model")
    .option("--folder <path>", "where to save the model (default: a temporary folder, removed afterwards)")
    .option("--force", "replace a model from an earlier run in --folder")
    .option("--seed <n>", "seed for the weights", naturalNumber, 1)
    .option("--json", "print one JSON object at the end");
  return withThreads(command)
    .addHelpText("after", flowing(examples))
    .action(async (flags: Flags & { readonly seed: number }) => {
      const config = await shapeConfig(flags.shape);
      await using device = await openDevice(flags);
      const log = (line: string) => process[flags.json ? "stderr" : "stdout"].write(`${line}\n`);
      const sees = isVisionConfig(config);
      if (!sees && flags.vision !== undefined)
        usageError(command, `${flags.shape} has no image tower: --vision`);
      const figures = sees
        ? await benchmarkVisionShape(config, device, flags, log)
        : await benchmarkShape(config, device, flags, log);
      log(`memory   peak ${formatBytes(figures.peakResidentBytes)}`);
      if (flags.json) process.stdout.write(`${JSON.stringify({ shape: flags.shape, ...figures })}\n`);
    });
}
