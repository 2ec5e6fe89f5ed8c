/**
 * Runs that share what they are made of: the tokens of one prepared run, and a state of another run to begin with. With a rate that is
 * constant up to its drops, runs of different length have the same first steps: one trunk makes them, each run begins with a
 * state of it (DeepSeek LLM, arXiv 2401.02954, section 2.3), and has the bits that it would have had alone.
 */
import { join } from "node:path";
import { stageFolder } from "../files/folder-sink.ts";
import { ConfigError } from "../tensor/errors.ts";
import { type RunConfig, type RunLinks, savedConfig } from "./config.ts";
import { readJson, writeJson } from "./json-file.ts";

/** Makes a run's folder, without data of its own. @throws ConfigError if something is there */
export async function createLinkedRun(
  out: string,
  config: RunConfig,
  links: RunLinks & { readonly prepared: string },
  source: string,
): Promise<void> {
  const staged = await stageFolder(out, { kind: "run" });
  try {
    await writeJson(join(staged.path, "run.json"), { folder: source, ...links, ...config });
    await staged.commit();
  } catch (error) {
    await staged.abort();
    throw error;
  }
}

/**
 * Lets a trunk go on up to `steps`, if it is shorter. @throws ConfigError if its steps depend on its length
 */
export async function extendRun(folder: string, steps: number): Promise<void> {
  const path = join(folder, "run.json");
  const { config, folder: source, links } = savedConfig(await readJson(path), path);
  const { training } = config;
  const { learningRate, batch, mtpWeight, biasGamma } = training;
  const fixed = [mtpWeight, biasGamma].every((each) => typeof each === "number");
  if (learningRate.shape !== "constant" || batch.rampFraction !== undefined || !fixed) {
    throw new ConfigError("the run cannot be made longer: its steps depend on its length", {
      where: path,
      expected: "a constant learning rate, a batch without a ramp, constant mtpWeight and biasGamma",
    });
  }
  if (training.steps !== null && training.steps >= steps) return;
  await writeJson(path, { folder: source, ...links, ...config, training: { ...training, steps } });
}
