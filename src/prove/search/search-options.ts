/** Settings of a search: the paper's (DeepSeek-Prover-V1.5, sections 3 and 4), those of its ablations, and limits. */
import { ConfigError } from "../../tensor/errors.ts";
import type { PromptStyle, ProofMode, Shot } from "../text/prompts.ts";
import type { SegmentRule } from "../text/segments.ts";
import type { Attempt } from "./attempt.ts";
import type { TreeOptions } from "./tree-options.ts";

export type SearchKind = "sample" | "resume" | "rmaxts";

export interface SearchOptions extends Omit<TreeOptions, "root"> {
  /** `sample`: whole proofs. `resume`: from the last verified text. `rmaxts`: from the nodes of a tree (default). */
  readonly search?: SearchKind;
  /** Generations in each tree; one counts whatever it returns (64). */
  readonly samples?: number;
  /** Searches from nothing, one after the other (1). */
  readonly trees?: number;
  /** Generations and checks that run at the same time (twice the verifier's slots). */
  readonly parallel?: number;
  /** Fewest prompts that a generation waits for while others run (half of `parallel`). */
  readonly batch?: number;
  /**
   * `arrival`: what ends is counted at once. `rounds`: `parallel` at a time, counted in the order in which they began, so that
   * the same seed gives the same search. One at a time is the same in both. (`arrival`)
   */
  readonly order?: "arrival" | "rounds";
  /** Of all random choices (0). */
  readonly seed?: number;
  /** `mix`: every other tree with explanations, or, in an odd number of trees, every other generation (`non-cot`). */
  readonly mode?: ProofMode | "mix";
  /** Default `official`. */
  readonly style?: PromptStyle;
  readonly shots?: readonly Shot[];
  /** Default 1. */
  readonly temperature?: number;
  /** Default 0.95. */
  readonly topP?: number;
  /** Most tokens of one generation (2,048). */
  readonly maxTokens?: number;
  /** Verified text and state must have fewer tokens for a search to go on from them (2,048). */
  readonly nodeTokens?: number;
  /** `first`: at the first proof. `interval`: when a multiple of `interval` generations has ended. `never`: all are spent. */
  readonly stop?: "first" | "interval" | "never";
  /** Default 128, the reference's. */
  readonly interval?: number;
  /** Default `tactic`; `line` is the reference's. */
  readonly segmentation?: SegmentRule;
  /** Whether prompts show the state behind verified text (true). */
  readonly tacticState?: boolean;
  /** Whether verified text that leaves no goals is taken for a proof when what the model wrote behind it fails (not in `sample`). */
  readonly cutProofs?: boolean;
  /** Generations without a new state after which `resume` starts again (4). */
  readonly patience?: number;
  /** Wall-clock limit of one check in milliseconds (the verifier's own). */
  readonly timeout?: number;
  /** Lean's deterministic limit (the verifier's own). */
  readonly heartbeats?: number;
  /** What the same search has completed before, in that order. It goes on behind it. */
  readonly log?: readonly Attempt[];
  readonly signal?: AbortSignal;
}

type Given = "timeout" | "heartbeats" | "log" | "signal" | "shots" | "gamma" | "bandit" | "reward" | "keys";

/** All settings, those left out at their defaults. */
export type SearchSettings = Required<Omit<SearchOptions, Given>> & Pick<SearchOptions, Given>;

/** @throws ConfigError for one out of range, by name. `slots`: checks that the verifier runs at the same time. */
export function searchSettings(options: SearchOptions, slots: number): SearchSettings {
  const parallel = options.parallel ?? 2 * slots;
  const settings: SearchSettings = {
    ...{
      search: "rmaxts",
      samples: 64,
      trees: 1,
      order: "arrival",
      seed: 0,
      mode: "non-cot",
      style: "official",
    },
    ...{ temperature: 1, topP: 0.95, maxTokens: 2048, nodeTokens: 2048, stop: "first", interval: 128 },
    ...{ segmentation: "tactic", tacticState: true, patience: 4 },
    cutProofs: options.search !== "sample",
    batch: Math.ceil(parallel / 2),
    ...Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)),
    parallel,
  };
  for (const [name, most] of Object.entries(MOST)) whole(name, settings[name as keyof SearchSettings], most);
  whole("seed", settings.seed, Number.MAX_SAFE_INTEGER, 0);
  for (const [name, allowed] of Object.entries(CHOICES)) {
    const found = settings[name as keyof SearchSettings] as string;
    if (!allowed.includes(found)) refuse(name, allowed.join(" or "), found);
  }
  if (settings.batch > parallel) refuse("batch", `at most parallel, ${parallel}`, settings.batch);
  if (!(settings.temperature >= 0 && settings.temperature <= 100)) {
    refuse("temperature", "from 0 to 100", settings.temperature);
  }
  if (!(settings.topP > 0 && settings.topP <= 1)) refuse("topP", "above 0, at most 1", settings.topP);
  return settings;
}

const CHOICES: Readonly<Record<string, readonly string[]>> = {
  search: ["sample", "resume", "rmaxts"],
  order: ["arrival", "rounds"],
  mode: ["cot", "non-cot", "mix"],
  style: ["official", "short"],
  stop: ["first", "interval", "never"],
  segmentation: ["line", "tactic"],
};

/** A search keeps a record of every generation, and all trees. */
const MOST: Readonly<Record<string, number>> = {
  samples: 1_000_000,
  trees: 10_000,
  parallel: 4096,
  batch: 4096,
  maxTokens: 1_000_000,
  nodeTokens: 1_000_000,
  interval: 1_000_000,
  patience: 1_000_000,
};

function whole(name: string, found: unknown, most: number, least = 1): void {
  if (Number.isSafeInteger(found) && (found as number) >= least && (found as number) <= most) return;
  refuse(name, `a whole number from ${least} to ${most}`, found);
}

function refuse(name: string, expected: string, found: unknown): never {
  throw new ConfigError("out of range", { where: "search", name, expected, found });
}
