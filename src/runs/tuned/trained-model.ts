/** What a run trains: all weights of a model, or adapters over weights that stay as they are. */
import { saveAdapters } from "../../checkpoint/adapters.ts";
import type { FolderSink } from "../../checkpoint/byte-source.ts";
import { modelEntries } from "../../checkpoint/entries.ts";
import { type SaveOptions, saveCheckpoint } from "../../checkpoint/save.ts";
import { AdaptedModel, createAdapters } from "../../models/adapted-model.ts";
import type { CausalLM } from "../../models/causal-lm.ts";
import type { Device } from "../../tensor/tensor.ts";
import { type BaseFiles, basePath, emptyBase, loadBase } from "./base-model.ts";
import type { TunedAdapter, TunedBase } from "./config.ts";

/** What of a run's settings decides it. */
export interface TrainedSettings {
  readonly model: TunedBase;
  readonly lora?: TunedAdapter;
  /** Of the first values of adapters. */
  readonly seed: number;
}

export class TrainedModel implements Disposable {
  readonly model: CausalLM;
  readonly #adapted: AdaptedModel | null;
  readonly #base: TunedBase;

  private constructor(model: CausalLM, adapted: AdaptedModel | null, base: TunedBase) {
    this.model = model;
    this.#adapted = adapted;
    this.#base = base;
  }

  /**
   * The model as the run begins with it; of a run that has `begun` without adapters no weights are read, which its saved states
   * hold. @throws FormatError if the model's files are others than at preparation
   */
  static async open(
    { model: base, lora, seed }: TrainedSettings,
    { files, begun }: { readonly files: BaseFiles; readonly begun: boolean },
    device: Device,
  ): Promise<TrainedModel> {
    if (lora === undefined) {
      const model = begun ? emptyBase(files, base, device) : await loadBase(base, device);
      return new TrainedModel(model, null, base);
    }
    const model = await loadBase(base, device, lora.base);
    try {
      const adapted = new AdaptedModel(model, createAdapters(model, lora, seed));
      adapted.recompute = lora.recompute;
      return new TrainedModel(model, adapted, base);
    } catch (error) {
      model[Symbol.dispose]();
      throw error;
    }
  }

  /** What a trainer takes. */
  get trained(): CausalLM | AdaptedModel {
    return this.#adapted ?? this.model;
  }

  /** Name of the result's folder. */
  get folderName(): "model" | "adapter" {
    return this.#adapted === null ? "model" : "adapter";
  }

  /** Writes the model in the Hugging Face layout, or the adapter in PEFT's with the files alone. */
  async save(
    sink: FolderSink,
    options: SaveOptions & { readonly files: Readonly<Record<string, string>> },
  ): Promise<void> {
    if (this.#adapted === null) {
      await saveCheckpoint(sink, modelEntries(this.model), options);
      return;
    }
    const base = basePath(this.#base);
    await saveAdapters(sink, this.#adapted.adapters, { base, files: options.files });
  }

  [Symbol.dispose](): void {
    this.#adapted?.[Symbol.dispose]();
    this.model[Symbol.dispose]();
  }
}
