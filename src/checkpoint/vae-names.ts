/**
 * Names of the original autoencoder file (`sdxl_vae.safetensors`, and inside files of whole pipelines) for the tensors that
 * diffusers has: levels of the decoder count the other way, attention matrices are 1 x 1 convolutions.
 */
import { type NamedShape, RenamedSource, type Renaming } from "../nn/renamed-source.ts";
import type { WeightSource } from "../nn/weight-source.ts";
import { FormatError } from "../tensor/errors.ts";

/** What files of its weights are called where they are offered, in the order they are looked for. */
export const vaeFiles: readonly string[] = ["diffusion_pytorch_model.safetensors", "sdxl_vae.safetensors"];

/** Where files of pipelines keep it, and alone. */
const PREFIXES = ["", "first_stage_model.", "vae."];

const attention: Readonly<Record<string, string>> = {
  ...{ group_norm: "norm", to_q: "q", to_k: "k", to_v: "v", "to_out.0": "proj_out" },
};
/** What attention matrices were called in older exports of diffusers. */
const older: Readonly<Record<string, string>> = {
  ...{ to_q: "query", to_k: "key", to_v: "value", "to_out.0": "proj_attn" },
};

/** The original's name of a tensor of diffusers, in a decoder of so many levels. */
function originalName(name: string, levels: number): string {
  const inAttention = /\.mid_block\.attentions\.0\.(.+)\.(weight|bias)$/.exec(name);
  if (inAttention) {
    const [whole, part, what] = inAttention;
    return `${name.slice(0, -whole.length)}.mid.attn_1.${attention[part]}.${what}`;
  }
  return name
    .replace(/\.down_blocks\.(\d+)\.resnets\.(\d+)\./, ".down.$1.block.$2.")
    .replace(/\.down_blocks\.(\d+)\.downsamplers\.0\./, ".down.$1.downsample.")
    .replace(
      /\.up_blocks\.(\d+)\.resnets\.(\d+)\./,
      (_, level, index) => `.up.${levels - 1 - level}.block.${index}.`,
    )
    .replace(/\.up_blocks\.(\d+)\.upsamplers\.0\./, (_, level) => `.up.${levels - 1 - level}.upsample.`)
    .replace(/\.mid_block\.resnets\.(\d)\./, (_, index) => `.mid.block_${Number(index) + 1}.`)
    .replace(".conv_shortcut.", ".nin_shortcut.")
    .replace(".conv_norm_out.", ".norm_out.");
}

/** Other tensors of a pipeline's file are left alone. */
class OnlyRenamed extends RenamedSource {
  readonly #names: ReadonlySet<string>;

  constructor(inner: WeightSource, renamings: readonly Renaming[]) {
    super(inner, renamings);
    this.#names = new Set(renamings.flatMap(({ to }) => to.map(({ name }) => name)));
  }

  override *names(): Generator<string> {
    for (const name of super.names()) if (this.#names.has(name)) yield name;
  }
}

/**
 * A checkpoint of the autoencoder under the names of diffusers, whichever it has.
 * @param named what the model declares @param levels of its decoder @throws FormatError, ShapeError
 */
export function withVaeNames(
  source: WeightSource,
  named: Iterable<NamedShape>,
  levels: number,
): WeightSource {
  const parts = [...named];
  const prefix = PREFIXES.find((each) => source.has(`${each}encoder.conv_in.weight`));
  if (prefix === undefined) {
    throw new FormatError("the file holds no autoencoder", {
      where: source.where ?? "load",
      expected: PREFIXES.map((each) => `${each}encoder.conv_in.weight`).join(" or "),
      hint: "JanusFlow draws with that of Stable Diffusion XL: stabilityai/sdxl-vae.",
    });
  }
  const diffusers = source.has(`${prefix}encoder.mid_block.resnets.0.norm1.weight`);
  const renamings = parts.map(({ name, shape }): Renaming => {
    const [, part, what] = /\.mid_block\.attentions\.0\.(.+)\.(weight|bias)$/.exec(name) ?? [];
    const aged = prefix + name.replace(`.${part}.`, `.${older[part]}.`);
    const stored = diffusers
      ? part !== undefined && part in older && source.has(aged)
        ? aged
        : prefix + name
      : prefix + originalName(name, levels);
    const matrix = what === "weight" && part in older && source.has(stored);
    // As many numbers: [n, n] or [n, n, 1, 1].
    const convolution = matrix && source.shape(stored).join() === [...shape, 1, 1].join();
    return { from: [{ name: stored, shape: convolution ? [...shape, 1, 1] : shape }], to: [{ name, shape }] };
  });
  const renamed =
    prefix === "" && diffusers ? new RenamedSource(source, renamings) : new OnlyRenamed(source, renamings);
  renamed.check();
  return renamed;
}
