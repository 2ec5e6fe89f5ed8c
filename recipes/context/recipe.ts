/** YaRN (DeepSeek-V2, arXiv 2405.04434, section 3.1.4; arXiv 2309.00071) reads further than it was trained for, after a short tuning. */
import { Engine } from "../../src/engine/engine.ts";
import { createModel } from "../../src/models/causal-lm.ts";
import { yarnRange } from "../../src/nn/rotary.ts";
import { tokenObjective } from "../../src/train/objectives/objective.ts";
import { PackedRows } from "../../src/train/packed-rows.ts";
import { type Arm, type ArmContext, type ArmOutcome, runProgram } from "../shared/program.ts";
import { newestStep, once } from "../shared/ready.ts";
import { runStage } from "../shared/stage.ts";
import { loadPart } from "../shared/weights.ts";
import { END, PAD } from "../tasks/alphabet.ts";
import { share } from "../tasks/exam.ts";
import { optionsOf } from "../tasks/stages.ts";
import type { TextClaim } from "../text/declaration.ts";
import { claimsPage, claimsPicture } from "../text/page.ts";
import { lessons, PASSKEYS, questions } from "./passkeys.ts";

interface Sizes {
  readonly width: number;
  readonly layers: number;
  /** Tokens of a document in training, and steps of as many tokens each. */
  readonly length: number;
  readonly steps: number;
  /** Steps at the longer length. */
  readonly tuning: number;
  /** How many times longer. */
  readonly factor: number;
  /** Questions of each length. */
  readonly asked: number;
}

const USUAL: Sizes = { width: 64, layers: 3, length: 128, steps: 4000, tuning: 100, factor: 4, asked: 200 };
const FULL: Sizes = { width: 128, layers: 4, length: 256, steps: 4000, tuning: 200, factor: 16, asked: 500 };
const SMALL: Sizes = { width: 32, layers: 1, length: 32, steps: 6, tuning: 3, factor: 2, asked: 6 };
const STEP_TOKENS = 4096;
const DOCUMENTS = 100_000;
const PEAK = 2e-3;
const ROPE = 16;

const sizesOf = ({ small, full }: ArmContext): Sizes => (small ? SMALL : full ? FULL : USUAL);

/** How positions are stretched. */
type Scaling = "none" | "linear" | "yarn";

function scalingOf(kind: Scaling, { factor, length }: Sizes) {
  if (kind === "none") return null;
  if (kind === "linear") return { type: "linear", factor };
  return {
    ...{ type: "yarn", factor, original_max_position_embeddings: length, beta_fast: 32, beta_slow: 1 },
    ...{ mscale: 1, mscale_all_dim: 1 },
  };
}

function modelOf(context: ArmContext, kind: Scaling) {
  const { device, seed } = context;
  const sizes = sizesOf(context);
  const { width, layers, length, factor } = sizes;
  const heads = width / 16;
  return createModel(
    {
      ...{ model_type: "deepseek_v2", vocab_size: PASSKEYS.size, hidden_size: width, hidden_act: "silu" },
      ...{ intermediate_size: 2.75 * width, num_hidden_layers: layers, num_attention_heads: heads },
      ...{ num_key_value_heads: heads, q_lora_rank: null, kv_lora_rank: width / 2, qk_nope_head_dim: 16 },
      ...{ qk_rope_head_dim: ROPE, v_head_dim: 16, rms_norm_eps: 1e-6, rope_theta: 10000 },
      ...{ rope_scaling: scalingOf(kind, sizes), max_position_embeddings: 2 * factor * length },
      ...{ attention_bias: false, tie_word_embeddings: false, eos_token_id: END },
    },
    device,
    { seed, std: 0.02 },
  );
}

type Model = ReturnType<typeof modelOf>;

interface Training {
  readonly name: string;
  readonly steps: number;
  readonly length: number;
  readonly peak: number;
}

function train(
  context: ArmContext,
  model: Model,
  { name, steps, length, peak }: Training,
  where: ArmContext["stages"],
) {
  const { seed } = context;
  const count = Math.ceil((DOCUMENTS * sizesOf(context).length) / length);
  return runStage(
    {
      ...{ name, model, objective: tokenObjective, config: { stage: name, seed } },
      batches: new PackedRows(lessons(count, length, seed), { length, seed, padId: PAD }),
      length: { steps },
      options: {
        batch: Math.max(1, Math.round((context.small ? 256 : STEP_TOKENS) / length)),
        ...optionsOf(peak, steps, 0.01),
      },
    },
    where,
  );
}

function trainBase(context: ArmContext, model: Model) {
  const { steps, length } = sizesOf(context);
  return train(context, model, { name: "base", steps, length, peak: PEAK }, context.shared);
}

/** Folder of the model that was trained at the short length, which all arms of a seed begin with. */
const base = (context: ArmContext): Promise<string> =>
  once(context, "base", async () => {
    using model = modelOf(context, "none");
    await trainBase(context, model);
    return await newestStep(`${context.shared.folder}/base`);
  });

/** Shares of numbers that are told at 1, 2, .. times the short length, as measures are called. */
const lengthsOf = ({ factor }: Sizes): readonly (readonly [string, number])[] => {
  const times: (readonly [string, number])[] = [];
  for (let n = 1; n <= factor; n *= 2) times.push([n === 1 ? "within" : `${n} times`, n]);
  return times;
};

async function examine(context: ArmContext, model: Model): Promise<Pick<ArmOutcome, "scores" | "items">> {
  const sizes = sizesOf(context);
  await using engine = new Engine(model, { maxBatch: 16, maxQueue: 10_000, cacheTokens: 65_536 });
  const items: Record<string, number[]> = {};
  for (const [name, times] of lengthsOf(sizes)) {
    items[name] = await Promise.all(
      questions(sizes.asked, times * sizes.length).map(async ({ prompt, answer }) => {
        const ids: number[] = [];
        const request = { prompt: PASSKEYS.encode(prompt), maxTokens: answer.length, temperature: 0 };
        for await (const { id } of engine.submit(request)) ids.push(id);
        return PASSKEYS.decode(ids) === answer ? 1 : 0;
      }),
    );
  }
  return {
    items,
    scores: Object.fromEntries(Object.entries(items).map(([name, right]) => [name, share(right)])),
  };
}

/** Pairs of channels below the first turn as before, those above the second as if positions were closer together. */
function ramp(model: Model): Record<string, number> {
  const { rope } = model.config;
  if (rope.kind !== "yarn") return {};
  const { low, high } = yarnRange(rope, ROPE);
  return { "ramp from pair": low, "ramp to pair": high };
}

const arm = (name: string, text: string, kind: Scaling, tuned: boolean): Arm => ({
  ...{ name, text },
  async run(context) {
    const from = await base(context);
    const { tuning, length, factor } = sizesOf(context);
    using model = modelOf(context, kind);
    await loadPart(from, "", model.parameters, "");
    const stage = tuned
      ? await train(
          context,
          model,
          { name: "tuned", steps: tuning, length: factor * length, peak: PEAK / 4 },
          context.stages,
        )
      : // Done already: only its steps and time are read.
        kind === "none"
        ? await trainBase(context, model)
        : null;
    const stages = stage && {
      [tuned ? "tuned" : "base"]: { steps: stage.steps, minutes: stage.seconds / 60 },
    };
    return { ...(await examine(context, model)), figures: ramp(model), stages: stages ?? {} };
  },
});

const title = "Longer contexts by YaRN";
const notes =
  "DeepSeek-V2 and V3 (arXiv 2405.04434, section 3.1.4; arXiv 2412.19437, section 4.3) train at 4K, stretch positions by YaRN with factor 40, train 1000 steps at 32K and find needles " +
  "in up to 128K. Here a small model with latent attention learns to tell numbers of two digits that stand somewhere in 128 characters of random words, " +
  "and is asked in documents of 1, 2 and 4 times the length, 200 each, at all depths; right is the exact number. Width 64, 3 layers, 4 heads with 16 rotated and 16 other channels, " +
  "4000 steps of 4096 tokens (after 1500 a trial told 48 %, and YaRN without tuning 53 % at 4 times the length, where positions as they are gave 14 %); tuning is 100 steps at 512 tokens, rate 5e-4. YaRN's factor is 4, its temperatures 1 as in DeepSeek-V3. Where the base model " +
  "tells fewer than 90 % within its own length, nothing is said of longer ones.";

const arms = [
  arm("base", "trained at the short length, positions as they are", "none", false),
  arm("linear", "`base` with positions divided by the factor", "linear", false),
  arm("yarn", "`base` with YaRN", "yarn", false),
  arm("base-tuned", "`base`, tuned at the long length", "none", true),
  arm("linear-tuned", "`linear`, tuned at the long length", "linear", true),
  arm("yarn-tuned", "`yarn`, tuned at the long length", "yarn", true),
];

const FAR = "4 times";
const claims: readonly TextClaim[] = [
  {
    claim: "the model finds what stands within its own length",
    paper: "nearly perfect",
    ...{ arm: "base", measure: "within", expects: { kind: "between", low: 0.9, high: 1 } },
  },
  {
    claim: "without tuning YaRN finds more at 4 times the length than positions as they are",
    paper: "YaRN (arXiv 2309.00071): lower perplexity",
    ...{ arm: "yarn", with: "base", measure: FAR, expects: { kind: "higher" } },
  },
  {
    claim: "and than positions divided by 4",
    paper: "YaRN (arXiv 2309.00071): lower perplexity",
    ...{ arm: "yarn", with: "linear", measure: FAR, expects: { kind: "higher" } },
  },
  {
    claim: "after a short tuning it finds nearly everything at 4 times the length",
    paper: "needles found in up to 128K",
    ...{ arm: "yarn-tuned", measure: FAR, expects: { kind: "between", low: 0.9, high: 1 } },
  },
  {
    claim: "more than a tuning with positions as they are",
    paper: "not tried",
    ...{ arm: "yarn-tuned", with: "base-tuned", measure: FAR, expects: { kind: "higher" } },
  },
  {
    claim: "and than one with positions divided by 4",
    paper: "YaRN (arXiv 2309.00071): lower perplexity",
    ...{ arm: "yarn-tuned", with: "linear-tuned", measure: FAR, expects: { kind: "higher" } },
  },
  {
    claim: "and loses nothing within the short length, within 3 points",
    paper: "no loss on short contexts",
    ...{ arm: "yarn-tuned", with: "base", measure: "within", expects: { kind: "same", within: 0.03 } },
  },
];

const declaration = {
  ...{ title, notes, arms, claims, measures: ["within", "2 times", FAR] },
  longForm: "trains at 256 tokens with width 128 and asks in up to 16 times as many",
};

if (import.meta.main) {
  process.exitCode = await runProgram(
    {
      ...{ name: "context", folder: import.meta.dirname, title, notes, arms },
      ...{ measures: declaration.measures, comparisons: [], seeds: [1, 2, 3], minutes: null },
      full: { text: "256 tokens, 16 times as many, width 128", minutes: null },
      report: (page, results, picture) => ({
        page: claimsPage(declaration, page, results, picture),
        picture: claimsPicture(declaration, results),
      }),
    },
    process.argv.slice(2),
  );
}
