/** `deepseek-ts demo`: from nothing to a small model that knows some TypeScript, in about two minutes. */

import { Command } from "commander";
import { completeText, fillText, type TextOptions } from "../../engine/text.ts";
import { scoreTokens, trainNgram } from "../../runs/baseline.ts";
import { mergeConfig, preset } from "../../runs/config.ts";
import { exampleTexts } from "../../runs/example-texts.ts";
import { type RunTexts, selectTexts } from "../../runs/preparation.ts";
import { Run } from "../../runs/run.ts";
import { checkMemory } from "../../runs/training-memory.ts";
import { nearestTypescript } from "../../runs/typescript-folder.ts";
import { formatBytes, formatCount } from "../../text/units.ts";
import { flowing } from "../help.ts";
import type { Output } from "../output.ts";
import { prepare, trainWithView } from "../training-session.ts";
import { readAll, statsText } from "./generation.ts";
import {
  naturalNumber,
  openDevice,
  positiveInteger,
  positiveNumber,
  usageError,
  withThreads,
} from "./options.ts";
import { checkFree, freeRunFolder, nextSteps } from "./train.ts";

interface DemoFlags {
  readonly out?: string;
  readonly steps?: number;
  readonly seconds?: number;
  readonly seed?: number;
  readonly threads?: number;
}

/** Held-out sequences of the final comparison. */
const COMPARED_SEQUENCES = 256;

// None ends in a space: tokens begin with theirs.
const prompts = ["export interface Options {\n", "export declare function", "/**\n * Returns"] as const;

const hole = { prefix: "export interface Point {\n  readonly x:", suffix: ";\n  readonly y: number;\n}\n" };

const sampling: TextOptions = { maxTokens: 90, temperature: 0.3, topP: 0.95, seed: 1 };

/** Bits per byte of the model and of a 5-gram on the same held-out bytes. */
async function compare(run: Run, texts: RunTexts, out: Output): Promise<void> {
  const model = await run.evaluate(COMPARED_SEQUENCES);
  out.write("\ntraining a 5-gram model on the same data ..\n");
  const ngram = await trainNgram(texts);
  const score = scoreTokens(ngram, await run.heldOutTokens(COMPARED_SEQUENCES), run.tokenizer);
  const figure = (bits: number) => bits.toFixed(3).padStart(6);
  out.write(
    `\n${formatCount(score.bytes)} bytes of held-out files, in bits per byte (8 for an untrained model; the ` +
      `evaluation above uses the first ${run.config.training.evaluateSequences} of these ${COMPARED_SEQUENCES} sequences):\n` +
      `${figure(model.bitsPerByte!)}  this model\n` +
      `${figure(score.bitsPerByte)}  a byte-level 5-gram with modified Kneser-Ney smoothing, trained on the same ` +
      `${formatBytes(ngram.trainedBytes)}\n`,
  );
}

const indent = (text: string) => text.replace(/^/gm, "  | ");

/** Three completions and one text filled in; what the model wrote stands between » and «. */
async function show(run: Run, out: Output): Promise<void> {
  const { model, tokenizer } = run;
  out.write("\nGenerated text, between » and «:\n");
  for (const prompt of prompts) {
    const { text } = await readAll(completeText(model, tokenizer, prompt, sampling));
    out.write(`\n${indent(`${prompt}»${text}«`)}\n`);
  }
  const filled = await readAll(
    fillText(model, tokenizer, hole.prefix, hole.suffix, { ...sampling, maxTokens: 40 }),
  );
  out.write(
    `\nFilled in the middle:\n\n${indent(`${hole.prefix}»${filled.text}«${hole.suffix.trimEnd()}`)}\n`,
  );
  const drafting: TextOptions = {
    ...sampling,
    maxTokens: 128,
    stopIds: [],
    speculative: model.config.mtpLayers > 0,
  };
  const { stats } = await readAll(completeText(model, tokenizer, prompts[0], drafting));
  out.write(`\nSpeculative decoding with its own MTP module: ${statsText(stats)}\n\n`);
}

export function demoCommand(): Command {
  const command = new Command("demo")
    .summary("train a small model on TypeScript found on this machine, and try it")
    .description(
      "Trains a small DeepSeek-V3 (latent attention, mixture of experts, multi-token prediction) for about two minutes on the " +
        "TypeScript files of the nearest node_modules folder, compares it with a 5-gram model and shows sample output.",
    )
    .argument("[folder]", "folder with TypeScript files to train on instead")
    .option("--out <folder>", "run folder (default: runs/demo-<n>)")
    .option("--steps <n>", "number of optimizer steps", positiveInteger)
    .option("--seconds <s>", "training time", positiveNumber)
    .option("--seed <n>", "seed for data order, split and weights", naturalNumber);
  return withThreads(command)
    .addHelpText(
      "after",
      flowing(
        "\nExamples:\n  deepseek-ts demo\n  deepseek-ts demo --seconds 30\n  deepseek-ts demo ../my-project/src --out runs/mine",
      ),
    )
    .action(async (given: string | undefined, flags: DemoFlags) => {
      const { stdout } = process;
      const { steps, seconds, seed } = flags;
      if (steps !== undefined && seconds !== undefined) {
        usageError(command, "--steps and --seconds are mutually exclusive");
      }
      const folder = given ?? (await nearestTypescript(process.cwd()));
      let config = preset("demo");
      if (seed !== undefined) config = mergeConfig(config, { seed }, "--seed");
      if (steps !== undefined) config = mergeConfig(config, { training: { steps } }, "--steps");
      if (seconds !== undefined) config = mergeConfig(config, { training: { seconds } }, "--seconds");
      const out = flags.out ?? (await freeRunFolder("demo"));
      await checkFree(out);
      stdout.write(`demo      training on the TypeScript files in ${folder}\n`);
      stdout.write(`memory    ${checkMemory(config)}\n`);
      const stopped = await prepare(folder, out, config, stdout);
      if (stopped !== 0) {
        process.exitCode = stopped;
        return;
      }
      stdout.write(`run       ${out}\n`);
      const result = await trainWithView({ folder: out, threads: flags.threads }, stdout);
      if (result.finished) {
        await using device = await openDevice(flags);
        await using run = await Run.open(out, device);
        await compare(run, await selectTexts(folder, config), stdout);
        await show(run, stdout);
        // One figure: the comparison's, of more sequences than the view's.
        stdout.write(nextSteps(out, { ...result, evaluation: null }, await exampleTexts(out)));
      }
      process.exitCode = result.exitCode;
    });
}
