/** Janus with one encoder for both tasks: what the paper compares decoupled encoders with (arXiv 2410.13848 section 4.4). */
import type { VisionLanguageModel } from "../../src/models/vision-language.ts";
import { Parameters as ModelParameters } from "../../src/nn/parameters.ts";
import { allocateModule } from "../../src/nn/scope.ts";
import { reshape } from "../../src/tensor/ops/reshape.ts";
import { Random } from "../../src/tensor/random.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";
import type { Trainable } from "../../src/train/objectives/objective.ts";
import { Projector } from "../../src/vision/projector.ts";
import type { VqTokenizer } from "../../src/vision/vq.ts";
import { initializeByInputs } from "./initial.ts";
import type { AskedModel } from "./systems.ts";

/** The image tokenizer of a Janus model. */
export function tokenizerOf({ generation }: VisionLanguageModel): VqTokenizer {
  if (generation?.kind === "codes") return generation.tokenizer;
  throw new Error("the model draws by no codes");
}

/** A model that understands by what its tokenizer's encoder sees, before the choice of codes. */
export class SharedEncoderModel implements AskedModel, Trainable, Disposable {
  readonly vision: VisionLanguageModel;
  readonly parameters: ModelParameters;
  readonly #aligner: Projector;

  constructor(vision: VisionLanguageModel, seed: number) {
    const { device, config } = vision;
    const { latentChannels: inputs } = tokenizerOf(vision).config;
    const outputs = config.language.hiddenSize;
    this.vision = vision;
    this.#aligner = allocateModule(
      device,
      "f32",
      (scope) =>
        new Projector(scope.child("shared_aligner"), {
          kind: "mlp_gelu",
          inputs,
          outputs,
          depth: 2,
          pooled: false,
        }),
    );
    initializeByInputs(this.#aligner.parameters, new Random(seed, 5), 0.5);
    const groups = [vision.parameters, this.#aligner.parameters].flatMap((each) => [...each.groups()]);
    this.parameters = new ModelParameters(groups, device, false);
  }

  get device() {
    return this.vision.device;
  }

  get language() {
    return this.vision.language;
  }

  get imageSize() {
    return this.vision.imageSize;
  }

  get tiles() {
    return this.vision.tiles;
  }

  get parts() {
    return { ...this.vision.parts, shared: ["shared_aligner"] };
  }

  encodeViews(pixels: Tensor): Tensor {
    const { device } = this;
    const features = device.noGrad(() => tokenizerOf(this.vision).encoder.forward(pixels)); // [B, 8, 8, z]
    const [B, rows, columns, width] = features.shape;
    return this.#aligner.forward(reshape(features, [B, rows * columns, width]));
  }

  arrange(views: Tensor, tiles: readonly (readonly [number, number])[]): Tensor[] {
    return this.vision.arrange(views, tiles);
  }

  inputs(...given: Parameters<VisionLanguageModel["inputs"]>): Tensor {
    return this.vision.inputs(...given);
  }

  [Symbol.dispose](): void {
    this.#aligner.parameters[Symbol.dispose]();
    this.parameters[Symbol.dispose]();
  }
}
