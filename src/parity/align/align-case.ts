/** A case of `test/fixtures/align`: its files, and models with one of its sets of weights. */
import type { FileTree } from "../../checkpoint/byte-source.ts";
import { loadModel } from "../../checkpoint/model.ts";
import type { CausalLM } from "../../models/causal-lm.ts";
import { differentiate } from "../../tensor/tape.ts";
import type { Device } from "../../tensor/tensor.ts";
import type { Losses } from "../../train/objectives/objective.ts";
import { disposePasses, type Figures, figuresOf, type Pass, shareOf } from "../../train/passes.ts";
import { Comparison, Expected, type Values } from "../comparison.ts";

/** JSON of a fixture, whose form its case knows. */
// biome-ignore lint/suspicious/noExplicitAny: each comparison reads the fields that its fixture's README lists.
export type FixtureJson = any;

export class AlignCase {
  readonly tree: FileTree;
  readonly device: Device;
  readonly name: string;
  readonly inputs: FixtureJson;
  readonly tolerance: Readonly<Record<string, number>>;
  readonly meta: FixtureJson;
  readonly comparison = new Comparison();
  readonly #open = new Map<string, Expected>();

  private constructor(tree: FileTree, device: Device, meta: FixtureJson, inputs: FixtureJson) {
    this.tree = tree;
    this.device = device;
    this.meta = meta;
    this.inputs = inputs;
    this.name = meta.case;
    this.tolerance = meta.tolerance;
  }

  static async open(tree: FileTree, device: Device): Promise<AlignCase> {
    const json = async (file: string) => JSON.parse(await tree.readText(file));
    return new AlignCase(tree, device, await json("meta.json"), await json("inputs.json"));
  }

  /** `expected.json`. */
  async expectedJson(): Promise<FixtureJson> {
    return JSON.parse(await this.tree.readText("expected.json"));
  }

  async #file(name: string): Promise<Expected> {
    const open = this.#open.get(name) ?? (await Expected.open(this.tree, name));
    this.#open.set(name, open);
    return open;
  }

  /** A tensor of `expected.safetensors`, or of another file. */
  async expected(name: string, file = "expected.safetensors"): Promise<Values> {
    return (await this.#file(file)).values(name);
  }

  /** Rows of a table, each as long as `lengths` says. */
  async table(name: string, lengths: readonly number[]): Promise<number[][]> {
    const values = Array.from(await this.expected(name));
    const width = values.length / lengths.length;
    return lengths.map((length, i) => values.slice(i * width, i * width + length));
  }

  /** The case's model with the weights of one of its files. */
  async model(weights = "model.safetensors"): Promise<CausalLM> {
    const { tree } = this;
    const actual = (path: string) => (path === "model.safetensors" ? weights : path);
    return loadModel(
      {
        name: tree.name,
        list: async () => ["config.json", "model.safetensors"],
        has: (path) => tree.has(actual(path)),
        open: (path) => tree.open(actual(path)),
        readText: (path) => tree.readText(actual(path)),
      },
      this.device,
    );
  }

  /** Forward and backward of one update's batches, each with its share; gradients are left in the model. */
  async update<B>(
    batches: readonly { readonly batch: B; readonly share: number }[],
    objective: (batch: B) => Losses,
  ): Promise<Figures> {
    const passes: Pass[] = batches.map(({ batch, share }) => ({
      share,
      losses: this.device.tidy(() => differentiate(this.device, () => shareOf(objective(batch), share))),
    }));
    const figures = await figuresOf(passes);
    disposePasses(passes);
    return figures;
  }

  /** All gradients of a model against a file, which are freed then. */
  async gradients(model: CausalLM, file: string, label: string): Promise<void> {
    for (const { name } of model.parameters.named()) {
      using gradient = model.parameters.gradient(name);
      const wanted = await this.expected(name, file);
      const found = gradient ? await gradient.data() : new Float32Array(wanted.length);
      const { grads_max_abs_over_tensor_max_abs: tolerance } = this.tolerance;
      this.comparison.values(`${label}${name}`, found, wanted, tolerance, "relative");
    }
    model.parameters.clearGradients();
  }

  async close(): Promise<void> {
    for (const file of this.#open.values()) await file.close();
  }
}
