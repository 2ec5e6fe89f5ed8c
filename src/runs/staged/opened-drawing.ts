/** What a run needs beside its model to learn drawing: the autoencoder of JanusFlow, and the head of representation alignment. */

import { readExactly } from "../../checkpoint/byte-source.ts";
import { nodeFolder } from "../../checkpoint/node-files.ts";
import { loadVae, vaeBeside } from "../../checkpoint/vae.ts";
import { codeImageSide } from "../../engine/draw/code-drawing.ts";
import { flowImageSide } from "../../engine/draw/flow-drawing.ts";
import type { VisionLanguageModel } from "../../models/vision-language.ts";
import { locateVae } from "../../pretrained/node-vae.ts";
import { ConfigError, FormatError } from "../../tensor/errors.ts";
import { Random } from "../../tensor/random.ts";
import { TOKEN } from "../../tokenizer/families.ts";
import { UnifiedModel } from "../../train/unified-model.ts";
import type { VaeModel } from "../../vision/vae.ts";
import type { StageConfig, StagedConfig } from "./config.ts";
import {
  type DrawingBatch,
  type DrawingCodec,
  type DrawingLesson,
  DrawingMaker,
  type DrawingSettings,
} from "./drawing.ts";
import type { StagedModel } from "./model.ts";

const DROPPED = 0.1;
const MOST_VAE_BYTES = 2 ** 30;
/** Of the language model's blocks, what is before the states that are aligned: 6 of 24. */
const ALIGNED = 1 / 4;
const HEAD = "repa_head.";
/** Stream of a seed for the choices of held-out pictures. */
const SCORED_STREAM = 9;

/** Whether a group is of the head of alignment. */
export const isHead = (key: string): boolean => key.startsWith(HEAD);

const blocksBefore = ({ config }: VisionLanguageModel, { alignAfter }: StageConfig): number =>
  alignAfter ?? Math.max(1, Math.round(ALIGNED * config.language.layers));

const weightOf = ({ alignment = 1 }: StageConfig): number => alignment;

function settingsOf(stage: StageConfig): DrawingSettings {
  const { dropped = DROPPED, times = "logit-normal", latents = "sampled" } = stage;
  return { dropped, times, latents };
}

/** @throws ConfigError if there is none */
async function vaeTree({ folder, vae }: StagedConfig["model"]) {
  const found = await locateVae(nodeFolder(folder), vae);
  if (found !== null) return found;
  throw new ConfigError("JanusFlow learns to draw in the latents of an autoencoder, which is not here", {
    where: folder,
    expected: "a folder vae beside the model, or --vae NAME",
    hint: "Run `deepseek-ts download stabilityai/sdxl-vae` once.",
  });
}

/** Refuses settings of drawing that a stage has no use for, and models without what they draw with. @throws ConfigError */
export async function checkDrawing(
  model: VisionLanguageModel,
  stage: StageConfig,
  config: StagedConfig,
  drawn: boolean,
): Promise<void> {
  const { generation } = model;
  const flow = generation?.kind === "flow";
  const flows = drawn && flow;
  const own = { dropped: drawn, times: flows, latents: flows, alignment: flows, alignAfter: flows };
  for (const [name, used] of Object.entries(own)) {
    if (used || stage[name as keyof StageConfig] === undefined) continue;
    throw new ConfigError("the stage has no use for this setting", {
      where: `stage ${stage.name}`,
      name,
      expected: drawn ? "a model of JanusFlow" : "a mixture with pictures that are drawn for their captions",
      found: stage[name as keyof StageConfig],
    });
  }
  if (!drawn || !flow) return;
  const after = blocksBefore(model, stage);
  if (after > model.config.language.layers) {
    throw new ConfigError("the language model has no such block", {
      where: `stage ${stage.name}`,
      name: "alignAfter",
      expected: `1 to ${model.config.language.layers}`,
      found: after,
    });
  }
  await vaeTree(config.model);
}

export class OpenedDrawing implements Disposable {
  /** The run's model as it is trained. */
  readonly model: UnifiedModel;
  /** Side of the pictures that are drawn; null where none are. */
  readonly side: number | null;
  readonly #maker: DrawingMaker | null;
  readonly #vae: VaeModel | null;
  /** Of the model that the run begins with. */
  readonly #folder: string;

  private constructor(
    folder: string,
    model: UnifiedModel,
    side: number | null = null,
    maker: DrawingMaker | null = null,
    vae: VaeModel | null = null,
  ) {
    this.#folder = folder;
    this.model = model;
    this.side = side;
    this.#maker = maker;
    this.#vae = vae;
  }

  /** @param drawn whether some stage draws @throws ConfigError, FormatError */
  static async open(config: StagedConfig, made: StagedModel, drawn: boolean): Promise<OpenedDrawing> {
    const { model, reader } = made;
    const { device, generation } = model;
    const { folder } = config.model;
    if (!drawn || generation === null) return new OpenedDrawing(folder, new UnifiedModel(model));
    const make = (codec: DrawingCodec) => new DrawingMaker(device, codec, config.tokensAtOnce);
    if (generation.kind === "codes") {
      const padId = reader.tokenizer.idOf(TOKEN.pad);
      if (padId === undefined) {
        throw new ConfigError("the tokenizer lacks the token that stands for captions that are left out", {
          where: config.model.folder,
          name: TOKEN.pad,
        });
      }
      const { tokenizer } = generation;
      const maker = make({ kind: "codes", tokenizer, padId });
      return new OpenedDrawing(folder, new UnifiedModel(model), codeImageSide(model), maker);
    }
    const vae = await loadVae(await vaeTree(config.model), device);
    vae.parameters.freeze(() => true);
    const side = flowImageSide(model, vae);
    const aligned = config.stages.find((stage) => weightOf(stage) > 0);
    if (aligned && side !== model.imageSize) {
      vae[Symbol.dispose]();
      throw new ConfigError("pictures are aligned at the size that the tower sees", {
        where: config.model.folder,
        expected: `an autoencoder whose pictures are ${model.imageSize} pixels wide, or alignment 0`,
        found: side,
      });
    }
    const processor = reader.vision.imageProcessor();
    const seen = async (picture: DrawingLesson["picture"]) => {
      const [view] = await processor.views(picture, { images: 1 });
      return processor.pixels(view);
    };
    const { stride } = generation.config.encoder;
    const maker = make({ kind: "flow", vae, stride, seen: aligned ? seen : null });
    const settings = aligned && {
      ...{ afterBlock: blocksBefore(model, aligned), weight: weightOf(aligned) },
      ...{ seed: config.seed, std: config.model.initStd },
    };
    return new OpenedDrawing(folder, new UnifiedModel(model, settings ?? null), side, maker, vae);
  }

  /** Place and weight of alignment in a stage. */
  align(stage: StageConfig): void {
    const { alignment, vision } = this.model;
    if (alignment === null) return;
    this.model.alignment = {
      ...alignment,
      ...{ weight: weightOf(stage), afterBlock: blocksBefore(vision, stage) },
    };
  }

  /** What a stage's batches are made with. */
  batchesOf(stage: StageConfig) {
    return this.#maker && { maker: this.#maker, settings: settingsOf(stage) };
  }

  /** Batches of held-out pictures, none of whose captions is left out. @param from of the first among all */
  async scored(
    pictures: readonly DrawingLesson[],
    stage: StageConfig,
    from: number,
  ): Promise<DrawingBatch[]> {
    const settings = { ...settingsOf(stage), dropped: 0 };
    return await this.#maker!.batches(pictures, new Random(from, SCORED_STREAM), settings);
  }

  /**
   * The autoencoder's files if they lie beside the model that the run began with, by their names below the result, which draws
   * with them. @throws FormatError for files that are too large to be one
   */
  async filesBeside(): Promise<Record<string, Uint8Array>> {
    const files: Record<string, Uint8Array> = {};
    const tree = this.#vae && (await vaeBeside(nodeFolder(this.#folder)));
    for (const name of (await tree?.list()) ?? []) {
      const source = await tree!.open(name);
      try {
        if (source.size > MOST_VAE_BYTES) {
          throw new FormatError("the file is too large for an autoencoder", {
            where: source.name,
            expected: `at most ${MOST_VAE_BYTES} bytes`,
            found: source.size,
          });
        }
        files[`vae/${name}`] = await readExactly(source, 0, source.size);
      } finally {
        await source.close?.();
      }
    }
    return files;
  }

  /** Frees what is not the run's model. */
  [Symbol.dispose](): void {
    this.#vae?.[Symbol.dispose]();
    this.model.alignment?.head.parameters[Symbol.dispose]();
  }
}
