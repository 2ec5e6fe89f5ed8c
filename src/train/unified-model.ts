/**
 * A model that sees and draws as it is trained: with a head for representation alignment where there is one, which belongs to no
 * checkpoint that is used. One step learns from texts and images, from ids of images, or from latents.
 */
import { AlignmentHead } from "../models/janusflow/alignment.ts";
import type { VisionLanguageModel } from "../models/vision-language.ts";
import { Parameters } from "../nn/parameters.ts";
import { allocateModule } from "../nn/scope.ts";
import { Random } from "../tensor/random.ts";
import type { Device } from "../tensor/tensor.ts";
import { type CodeBatch, codeObjective } from "./objectives/codes.ts";
import { type Alignment, type FlowBatch, flowObjective, type TrainableFlowModel } from "./objectives/flow.ts";
import { type ImageBatch, imageObjective } from "./objectives/images.ts";
import type { Objective, Trainable } from "./objectives/objective.ts";

export interface AlignmentSettings {
  /** Blocks of the language model before the states that are aligned. */
  readonly afterBlock: number;
  /** Weight of the loss. */
  readonly weight: number;
  /** Widths between states and features; default: that of the states, twice. */
  readonly hidden?: readonly number[];
  /** Seed of the head's first weights, and their standard deviation. */
  readonly seed: number;
  readonly std: number;
}

/** What alignment is called among a model's parts. */
const HEAD = "repa_head";

export class UnifiedModel implements TrainableFlowModel, Trainable, Disposable {
  readonly vision: VisionLanguageModel;
  /** Null: none. A stage of training may change weight and place. */
  alignment: Alignment | null;
  readonly parameters: Parameters;

  /** Takes a model over; the head is made here. @param alignment null: none */
  constructor(vision: VisionLanguageModel, alignment: AlignmentSettings | null = null) {
    this.vision = vision;
    this.alignment = alignment && { ...alignment, head: headOf(vision, alignment) };
    const groups = [vision.parameters, ...(this.alignment === null ? [] : [this.alignment.head.parameters])];
    const all = groups.flatMap((each) => [...each.groups()]);
    // Owned by the parts.
    this.parameters = new Parameters(all, vision.device, false);
  }

  get device(): Device {
    return this.vision.device;
  }

  get parts(): Readonly<Record<string, readonly string[]>> {
    return { ...this.vision.parts, ...(this.alignment !== null && { alignment: [HEAD] }) };
  }

  [Symbol.dispose](): void {
    this.alignment?.head.parameters[Symbol.dispose]();
    this.vision[Symbol.dispose]();
    this.parameters[Symbol.dispose]();
  }
}

function headOf({ device, config }: VisionLanguageModel, settings: AlignmentSettings): AlignmentHead {
  const inputs = config.language.hiddenSize;
  const { tower } = config;
  const outputs = tower.kind === "siglip" ? tower.width : tower.low.width;
  const hidden = settings.hidden ?? [inputs, inputs];
  const head = allocateModule(
    device,
    "f32",
    (scope) => new AlignmentHead(scope.child(HEAD), { inputs, hidden, outputs }),
  );
  head.parameters.initialize(new Random(settings.seed), settings.std);
  return head;
}

/** A batch of any task. */
export type UnifiedBatch = ImageBatch | CodeBatch | FlowBatch;

/** The loss of a batch's own task, each with weight 1. @throws ShapeError, ConfigError */
export const unifiedObjective: Objective<UnifiedModel, UnifiedBatch> = (model, batch, options) => {
  if ("codes" in batch) return codeObjective(model.vision, batch, options);
  if ("latents" in batch) return flowObjective(model, batch, options);
  return imageObjective(model.vision, batch, options);
};
