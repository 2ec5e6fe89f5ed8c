/**
 * Low-rank adapters of a model's matrices (LoRA, arXiv 2106.09685), declared like any module's parameters under the names
 * that PEFT saves them by: `base_model.model.` + the official name of the matrix + `.lora_A.weight` `[r, inputs]` and
 * `.lora_B.weight` `[outputs, r]`. Those of all experts of a layer are stacked, as the experts are. The adapted matrices
 * stay as they are, in whatever storage.
 */
import { ConfigError } from "../tensor/errors.ts";
import type { Adapter } from "../tensor/ops/low-rank.ts";
import { type Shape, sizeOf } from "../tensor/tensor.ts";
import type { GroupSpec, ParameterGroup } from "./parameter-group.ts";
import type { Parameters } from "./parameters.ts";
import type { ParameterScope } from "./scope.ts";

/** What precedes the official names in PEFT's files. */
export const PEFT_PREFIX = "base_model.model.";

export interface LowRankSettings {
  /** Columns of A^T and B. */
  readonly rank: number;
  /** The product of both is multiplied by alpha / rank. */
  readonly alpha: number;
  /**
   * Which matrices: ends of official names without `.weight`, such as `q_proj`, `kv_a_proj_with_mqa` or
   * `layers.3.mlp.down_proj`; `all-linear` stands for all but the output head.
   */
  readonly targets: readonly string[];
  /** Multiplies by alpha / sqrt(rank) instead (rsLoRA, arXiv 2312.03732). */
  readonly rankStabilized?: boolean;
}

/** Rows of a group that one official matrix takes, or that the same matrix of every expert takes in its own. */
export interface AdaptableMatrix {
  /** Official names without `.weight`; those of all experts in order. */
  readonly modules: readonly string[];
  readonly group: ParameterGroup;
  /** Experts; null for a single matrix. */
  readonly experts: number | null;
  /** First row in the group, or in an expert's part of it. */
  readonly first: number;
  readonly rows: number;
  readonly columns: number;
}

const SUFFIX = ".weight";

/** Linear layers alone are adapted; routers, norms and tables of embeddings are none. */
function isLinear(spec: GroupSpec): boolean {
  const { role, alwaysF32, shape, parts } = spec;
  if (alwaysF32 || shape.length < 2 || role === "embedding" || role === "vision" || role === "filter")
    return false;
  return parts.every(({ name }) => name.endsWith(SUFFIX));
}

const moduleOf = (name: string) => name.slice(0, -SUFFIX.length);

/** The matrices of these groups that can be adapted, in checkpoint order. */
export function adaptableMatrices(groups: Iterable<ParameterGroup>): AdaptableMatrix[] {
  return [...groups].flatMap((group): AdaptableMatrix[] => {
    const spec = group.layout?.official ?? group;
    if ((group.piece ?? 0) > 0 || !isLinear(spec)) return [];
    const columns = spec.shape.at(-1)!;
    if (spec.shape.length === 2) {
      return spec.parts.map(({ name, shape, offset }) => {
        const place = { first: offset / columns, rows: shape[0], columns };
        return { modules: [moduleOf(name)], group, experts: null, ...place };
      });
    }
    const [experts, rowsOfEach] = spec.shape;
    const byPlace = new Map<number, AdaptableMatrix & { modules: string[] }>();
    for (const { name, shape, offset, expert } of spec.parts) {
      const first = (offset - expert! * rowsOfEach * columns) / columns;
      const found = byPlace.get(first);
      if (found) found.modules.push(moduleOf(name));
      else byPlace.set(first, { modules: [moduleOf(name)], group, experts, first, rows: shape[0], columns });
    }
    return [...byPlace.values()];
  });
}

/** `experts.0.up_proj` without its number: what the stacked matrices of all experts are called. */
const stackName = (module: string) => module.replace(/\.experts\.0\./, ".experts.");

interface Adapted {
  readonly matrix: AdaptableMatrix;
  readonly a: ParameterGroup;
  readonly b: ParameterGroup;
}

export class LowRankAdapters implements Disposable {
  readonly settings: LowRankSettings;
  readonly parameters: Parameters;
  readonly #adapted: readonly Adapted[];
  #attached = false;

  /**
   * Declares A and B of every matrix in `scope`, whose prefix is usually `PEFT_PREFIX`. They take effect when they are
   * attached.
   */
  constructor(scope: ParameterScope, matrices: readonly AdaptableMatrix[], settings: LowRankSettings) {
    this.settings = settings;
    const { rank } = settings;
    this.#adapted = matrices.map((matrix) => {
      const { modules, experts, rows, columns } = matrix;
      const declare = (name: string, shape: Shape, initial: "uniform" | "zeros") => {
        const size = sizeOf(shape);
        const parts = modules.map((module, i) => {
          return {
            name: `${module}.${name}`,
            shape,
            offset: i * size,
            ...(experts !== null && { expert: i }),
          };
        });
        const stacked = experts === null ? shape : [experts, ...shape];
        return scope.declare({
          key: `${stackName(modules[0])}.${name}`,
          shape: stacked,
          parts,
          initial,
          alwaysF32: true,
        });
      };
      return {
        matrix,
        a: declare("lora_A.weight", [rank, columns], "uniform"),
        b: declare("lora_B.weight", [rows, rank], "zeros"),
      };
    });
    this.parameters = scope.parameters;
  }

  /** What the products are multiplied by. */
  get factor(): number {
    const { rank, alpha, rankStabilized = false } = this.settings;
    return alpha / (rankStabilized ? Math.sqrt(rank) : rank);
  }

  /** What is adapted. */
  get matrices(): readonly AdaptableMatrix[] {
    return this.#adapted.map(({ matrix }) => matrix);
  }

  /** Official names of the adapted matrices, without `.weight`. */
  get modules(): readonly string[] {
    return this.#adapted.flatMap(({ matrix }) => matrix.modules);
  }

  /** Official names of the matrices with the two that are multiplied for each, in checkpoint order. */
  *pairs(): Generator<{ readonly weight: string; readonly a: string; readonly b: string }> {
    for (const { matrix, a, b } of this.#adapted) {
      for (const [i, module] of matrix.modules.entries()) {
        yield { weight: `${module}${SUFFIX}`, a: a.parts[i].name, b: b.parts[i].name };
      }
    }
  }

  /** Adds them to the products of the model from now on. @throws ConfigError if another set is attached */
  attach(): void {
    if (this.#attached) return;
    const byGroup = new Map<ParameterGroup, Adapted[]>();
    for (const adapted of this.#adapted) {
      const { group } = adapted.matrix;
      byGroup.set(group, [...(byGroup.get(group) ?? []), adapted]);
    }
    for (const { key, adapter } of byGroup.keys()) {
      if (adapter === null) continue;
      throw new ConfigError("the model has adapters already", {
        where: "LowRankAdapters.attach",
        name: key,
        expected: "one set of adapters at a time",
        hint: "Detach the others, or merge them into the weights.",
      });
    }
    const { factor } = this;
    for (const [group, adapted] of byGroup) {
      const terms = adapted.map(({ matrix, a, b }) => ({ a: a.tensor, b: b.tensor, first: matrix.first }));
      group.adapter = { terms, factor } satisfies Adapter;
    }
    this.#attached = true;
  }

  /** Leaves the products as they were. */
  detach(): void {
    if (!this.#attached) return;
    for (const { matrix } of this.#adapted) matrix.group.adapter = null;
    this.#attached = false;
  }

  [Symbol.dispose](): void {
    this.detach();
    this.parameters[Symbol.dispose]();
  }
}
