/** Settings of a search tree: the paper's, and those of its ablations. */
import { ConfigError } from "../../tensor/errors.ts";

export interface TreeOptions {
  /** How much a visit counts after the next one to the same arm; above 0, at most 1 (0.99). */
  readonly gamma?: number;
  /** `ucb1` counts all visits alike, whatever `gamma` says (`ducb`). */
  readonly bandit?: "ducb" | "ucb1";
  /**
   * When an expansion earns 1: `intrinsic`: it added a node. `intrinsic+extrinsic`: also if it found a proof, new or not. `none`:
   * never, so that selection is by visits alone.
   */
  readonly reward?: "intrinsic" | "none" | "intrinsic+extrinsic";
  /** What makes two states one: their text (`raw`), or their text without the numbers that Lean draws (`normalized`). */
  readonly keys?: "raw" | "normalized";
  /** State of the statement, before any tactic. */
  readonly root?: string;
}

/** All settings, those left out at their defaults. @throws ConfigError for one out of range, by name */
export function treeOptions(options: TreeOptions): Required<TreeOptions> {
  const { gamma = 0.99, bandit = "ducb", reward = "intrinsic", keys = "normalized", root = "" } = options;
  const refuse = (name: string, expected: string, found: unknown): never => {
    throw new ConfigError("out of range", { where: "ProofTree", name, expected, found });
  };
  if (!(gamma > 0 && gamma <= 1)) refuse("gamma", "above 0, at most 1", gamma);
  for (const [name, found] of Object.entries({ bandit, reward, keys })) {
    const allowed: readonly string[] = CHOICES[name as keyof typeof CHOICES];
    if (!allowed.includes(found)) refuse(name, allowed.join(" or "), found);
  }
  return { gamma, bandit, reward, keys, root };
}

const CHOICES = {
  bandit: ["ducb", "ucb1"],
  reward: ["intrinsic", "none", "intrinsic+extrinsic"],
  keys: ["raw", "normalized"],
} as const;
