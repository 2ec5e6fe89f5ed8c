/**
 * `config.json` of the research baselines, a form of this project and of `test/fixtures/moe-baselines`: `kind` names
 * the rule, `experts` and `expert_width` what it chooses from. `dense` has one layer of their widths together.
 */
import type { MhaConfig } from "../../nn/attention/causal.ts";
import type { BaselineRule, MoeConfig } from "../../nn/moe.ts";
import { Random } from "../../tensor/random.ts";
import { readCommon, readMha, writeMha } from "../config-parts.ts";
import type { ConfigReader, Json } from "../config-reader.ts";
import type { LanguageConfig } from "../language-config.ts";
import { readRope } from "../rope-config.ts";

const KINDS = ["dense", "hash", "switch", "gshard", "deepseekmoe"] as const;
type Kind = (typeof KINDS)[number];

/** Elements of a hash layer's table of choices, ids times experts: a quarter of a gibibyte. */
const MOST_CHOICES = 1 << 26;

const defaults = {
  ...{ vocabSize: 32000, hiddenSize: 512, intermediateSize: 1, layers: 4, heads: 8, maxPositions: 2048 },
  ...{ bos: null, eos: null },
};

/** @throws ConfigError naming the key */
export function parse(reader: ConfigReader): LanguageConfig {
  const common = readCommon(reader, defaults);
  const attention = readMha(reader, common.hiddenSize, defaults.heads);
  if (reader.raw("kind") === undefined) reader.refuse("kind", KINDS.join(" | "));
  const kind = reader.oneOf("kind", KINDS, "dense");
  for (const key of ["n_routed_experts", "num_experts_per_tok", "n_shared_experts"]) {
    if (reader.raw(key) === undefined) continue;
    const hint =
      "Official checkpoints are no baselines: open them with their own model_type. Baselines say experts, top_k, shared.";
    reader.refuse(key, "nothing in a moe_baseline", reader.raw(key), hint);
  }
  if (kind !== "gshard" && kind !== "switch" && reader.raw("capacity_factor") !== undefined) {
    const hint = `Experts of ${kind} have no capacity; those of switch and gshard may.`;
    reader.refuse("capacity_factor", "none", reader.raw("capacity_factor"), hint);
  }
  const experts = reader.integer("experts", 1);
  const width = reader.integer("expert_width");
  const whole = experts * width;
  if (!Number.isSafeInteger(whole))
    reader.refuse("experts", "a count whose product with expert_width is exact");
  reader.only("intermediate_size", whole);
  return {
    modelType: "moe_baseline",
    ...common,
    intermediateSize: whole,
    attention,
    rope: readRope(reader, { kinds: ["default", "linear"], dim: attention.headDim }),
    moe: kind === "dense" ? dense(reader) : mixture(reader, kind, experts, width, common.vocabSize),
    mtpLayers: 0,
  };
}

function dense(reader: ConfigReader): null {
  reader.only("alpha", 0, "A dense layer has no balance.");
  return null;
}

function mixture(
  reader: ConfigReader,
  kind: Exclude<Kind, "dense">,
  experts: number,
  expertWidth: number,
  vocabSize: number,
): MoeConfig {
  const ours = kind === "deepseekmoe";
  const topK = ours ? reader.integer("top_k") : kind === "gshard" ? 2 : 1;
  if (!ours) {
    reader.only("top_k", topK, `The rule of ${kind}.`);
    reader.only("shared", 0, "Only deepseekmoe has shared experts.");
  }
  if (topK > experts) reader.refuse("experts", `at least ${topK}, the choices of a token`);
  reader.only("normalize", kind === "gshard", `The rule of ${kind}.`);
  if (kind === "hash") reader.only("alpha", 0, "A hash layer has no router to balance.");
  const baseline: BaselineRule | null =
    kind === "gshard" || kind === "switch"
      ? { kind, capacityFactor: capacityFactor(reader) }
      : kind === "hash"
        ? { kind, table: hashTable(reader, experts, vocabSize) }
        : null;
  return {
    experts,
    sharedExperts: ours ? reader.integer("shared", 0, 0) : 0,
    expertWidth,
    firstDenseLayers: 0,
    layerFrequency: 1,
    router: {
      ...{ topK, scoring: "softmax", bias: false, groups: 1, topGroups: 1, groupScore: "max" },
      ...{ maskWith: "zero", normalize: kind === "gshard", scale: 1 },
    },
    balanceAlpha: kind === "hash" ? 0 : reader.number("alpha", 0.01),
    balancePerSequence: ours,
    ...(baseline && { baseline }),
  };
}

/** Null: nothing is dropped. */
function capacityFactor(reader: ConfigReader): number | null {
  return reader.raw("capacity_factor") === undefined ? null : reader.number("capacity_factor", undefined, 0);
}

/** The expert of each token id: as the file lists them, or dealt out evenly in an order drawn from `hash_seed`. */
function hashTable(reader: ConfigReader, experts: number, vocabSize: number): readonly number[] {
  if (experts * vocabSize > MOST_CHOICES) {
    reader.refuse("experts", `at most ${Math.floor(MOST_CHOICES / vocabSize)} for ${vocabSize} ids`);
  }
  const listed = reader.raw("hash_table");
  const seed = reader.integer("hash_seed", 0, 0);
  if (listed === undefined) {
    const random = new Random(seed);
    const order = Array.from({ length: vocabSize }, (_, id) => id);
    for (let i = vocabSize - 1; i > 0; i--) {
      const j = Math.floor(random.uniform() * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order.map((place) => place % experts);
  }
  const valid = (expert: unknown) =>
    Number.isSafeInteger(expert) && Number(expert) >= 0 && Number(expert) < experts;
  if (!Array.isArray(listed) || listed.length !== vocabSize || !listed.every(valid)) {
    reader.refuse("hash_table", `${vocabSize} experts from 0 to ${experts - 1}`, "another list");
  }
  return listed as number[];
}

/** The keys of a baseline; those that follow from `kind` are left out. */
export function write(config: LanguageConfig): Json {
  const attention = writeMha(config.attention as MhaConfig);
  const { moe } = config;
  if (moe === null) return { ...attention, kind: "dense", experts: 1, expert_width: config.intermediateSize };
  const { baseline, router, sharedExperts } = moe;
  const kind = baseline?.kind ?? "deepseekmoe";
  const factor = baseline === undefined || baseline.kind === "hash" ? null : baseline.capacityFactor;
  return {
    ...attention,
    kind,
    experts: moe.experts,
    expert_width: moe.expertWidth,
    alpha: moe.balanceAlpha,
    ...(factor !== null && { capacity_factor: factor }),
    ...(kind === "deepseekmoe" && { top_k: router.topK, shared: sharedExperts }),
    ...(baseline?.kind === "hash" && { hash_table: [...baseline.table] }),
  };
}
