/**
 * Rotary settings of `config.json` in either spelling: `rope_theta` with `rope_scaling {type | rope_type, ..}`, or
 * `rope_parameters {rope_type, rope_theta, ..}` of newer files. What the keys mean is transformers'
 * modeling_rope_utils.py for plain attention and modeling_deepseek.py for latent attention. Kinds whose frequencies
 * depend on the length of the input (dynamic, longrope with two lists) are refused by name.
 */
import type { RopeConfig, YarnConfig } from "../nn/rotary.ts";
import type { ConfigReader, Json } from "./config-reader.ts";

export interface RopeRules {
  readonly kinds: readonly RopeConfig["kind"][];
  /** Rotated channels of a head. */
  readonly dim: number;
  /** What YaRN stretches if the file does not say; default 4096. */
  readonly context?: number;
  /** Whether the two temperatures of YaRN count only together, as in transformers' classes of plain attention. */
  readonly pairedMscale?: boolean;
}

/** What each kind is called in files. */
const names = {
  default: "default",
  linear: "linear",
  yarn: "yarn",
  llama3: "llama3",
  factors: "longrope",
} as const;

/** @throws ConfigError on a type not in `rules.kinds` and on values without meaning */
export function readRope(reader: ConfigReader, rules: RopeRules): RopeConfig {
  reader.only("partial_rotary_factor", 1);
  const parameters = reader.section("rope_parameters");
  const section = parameters ?? reader.section("rope_scaling");
  const theta = parameters?.has("rope_theta")
    ? parameters.number("rope_theta", undefined, 0)
    : reader.number("rope_theta", 10000, 0);
  if (!section) return { kind: "default", theta };
  const key = section.raw("rope_type") === undefined ? "type" : "rope_type";
  const name = section.oneOf(
    key,
    rules.kinds.map((kind) => names[kind]),
    "default",
  );
  section.only("partial_rotary_factor", 1);
  if (name === "default") return { kind: "default", theta };
  if (name === "longrope") return readFactors(section, theta, rules);
  const factor = section.number("factor", undefined, 0);
  if (name === "linear") return { kind: "linear", theta, factor };
  return name === "yarn" ? readYarn(section, theta, factor, rules) : readLlama3(section, theta, factor);
}

function readYarn(section: ConfigReader, theta: number, factor: number, rules: RopeRules): YarnConfig {
  const paired = rules.pairedMscale && !(section.number("mscale", 0) && section.number("mscale_all_dim", 0));
  return {
    kind: "yarn",
    theta,
    factor,
    originalMaxPositions: section.integer("original_max_position_embeddings", rules.context ?? 4096),
    betaFast: section.number("beta_fast", 32, 0),
    betaSlow: section.number("beta_slow", 1, 0),
    mscale: paired ? 1 : section.number("mscale", 1),
    mscaleAllDim: paired ? 0 : section.number("mscale_all_dim", 0),
    attentionFactor:
      section.raw("attention_factor") === undefined ? null : section.number("attention_factor", undefined, 0),
    truncate: section.boolean("truncate", true),
  };
}

function readLlama3(section: ConfigReader, theta: number, factor: number): RopeConfig {
  const lowFrequencyFactor = section.number("low_freq_factor", undefined, 0);
  const highFrequencyFactor = section.number("high_freq_factor", undefined, 0);
  if (highFrequencyFactor <= lowFrequencyFactor) {
    section.refuse("high_freq_factor", `above low_freq_factor = ${lowFrequencyFactor}`);
  }
  const originalMaxPositions = section.integer("original_max_position_embeddings");
  return { kind: "llama3", theta, factor, lowFrequencyFactor, highFrequencyFactor, originalMaxPositions };
}

/** `longrope` whose two lists are one: fixed factors, which is how `rope_freqs` of GGUF files come into a config.json. */
function readFactors(section: ConfigReader, theta: number, { dim }: RopeRules): RopeConfig {
  const list = (key: string) => {
    const value = section.raw(key);
    const valid =
      Array.isArray(value) &&
      value.length === dim / 2 &&
      value.every((f) => typeof f === "number" && Number.isFinite(f) && f > 0);
    if (!valid) section.refuse(key, `${dim / 2} numbers above 0`);
    return value as readonly number[];
  };
  const [short, long] = [list("short_factor"), list("long_factor")];
  if (short.some((f, i) => f !== long[i])) {
    section.refuse("long_factor", "the numbers of short_factor: factors that change with the input's length");
  }
  section.only("attention_factor", 1);
  if (section.raw("attention_factor") === undefined && section.number("factor", 1, 0) > 1) {
    section.refuse("attention_factor", 1);
  }
  return { kind: "factors", theta, factors: short };
}

/** `rope_scaling` of a configuration, null for plain rotation. `maxPositions` is the model's. */
export function writeRope(rope: RopeConfig, maxPositions: number): Json | null {
  switch (rope.kind) {
    case "default":
      return null;
    case "linear":
      return { type: "linear", factor: rope.factor };
    case "llama3":
      return {
        rope_type: "llama3",
        factor: rope.factor,
        low_freq_factor: rope.lowFrequencyFactor,
        high_freq_factor: rope.highFrequencyFactor,
        original_max_position_embeddings: rope.originalMaxPositions,
      };
    case "factors":
      return {
        rope_type: "longrope",
        factor: 1,
        attention_factor: 1,
        original_max_position_embeddings: maxPositions,
        short_factor: [...rope.factors],
        long_factor: [...rope.factors],
      };
    case "yarn":
      return {
        type: "yarn",
        factor: rope.factor,
        original_max_position_embeddings: rope.originalMaxPositions,
        beta_fast: rope.betaFast,
        beta_slow: rope.betaSlow,
        mscale: rope.mscale,
        mscale_all_dim: rope.mscaleAllDim,
        ...(rope.attentionFactor !== null && { attention_factor: rope.attentionFactor }),
        ...(!rope.truncate && { truncate: false }),
      };
  }
}
