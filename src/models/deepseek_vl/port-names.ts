/** Names of the transformers ports of DeepSeek-VL for the tensors of the originals, and back. */
import { type NamedShape, RenamedSource, type Renaming, reversed } from "../../nn/renamed-source.ts";
import { type WeightSource, WrappedSource } from "../../nn/weight-source.ts";

/** Regular names: what the beginning of an original name becomes, and parts of what follows. */
interface Rules {
  readonly root: string;
  readonly port: string;
  readonly parts: readonly (readonly [RegExp, string])[];
}

/** Where the port has SigLIP: files of its converter say vision_model twice, those that transformers 5.18 saves once. */
const siglipRoot = (twice: boolean) => (twice ? "model.vision_model.vision_model." : "model.vision_model.");

const siglip = (root: string, port: string): Rules => ({
  root,
  port,
  parts: [
    [/^pos_embed$/, "embeddings.position_embedding.weight"],
    [/^patch_embed\.proj\./, "embeddings.patch_embedding."],
    [/^blocks\.(\d+)\.norm([12])\./, "encoder.layers.$1.layer_norm$2."],
    [/^blocks\.(\d+)\.attn\.proj\./, "encoder.layers.$1.self_attn.out_proj."],
    [/^blocks\.(\d+)\.mlp\./, "encoder.layers.$1.mlp."],
    [/^norm\./, "post_layernorm."],
    [/^attn_pool\.latent$/, "head.probe"],
    [/^attn_pool\.proj\./, "head.attention.out_proj."],
    [/^attn_pool\.norm\./, "head.layernorm."],
    [/^attn_pool\.mlp\./, "head.mlp."],
  ],
});

const necks: Rules["parts"] = [
  [/^0\./, "conv1."],
  [/^1\./, "layer_norm1."],
  [/^2\./, "conv2."],
  [/^3\./, "layer_norm2."],
];

const HIGH = "vision_model.vision_tower_high.vision_tower.";

function rulesOf(hybrid: boolean, twice: boolean): Rules[] {
  const language: Rules[] = [
    { root: "language_model.model.", port: "model.language_model.", parts: [[/^/, ""]] },
    { root: "language_model.lm_head.", port: "lm_head.", parts: [[/^/, ""]] },
  ];
  if (!hybrid) {
    const aligner: Rules["parts"] = [
      [/^layers\.0\./, "linear1."],
      [/^layers\.2\./, "linear2."],
    ];
    return [
      siglip("vision_model.vision_tower.", siglipRoot(twice)),
      { root: "aligner.", port: "model.aligner.", parts: aligner },
      ...language,
    ];
  }
  return [
    siglip("vision_model.vision_tower_low.vision_tower.", siglipRoot(twice)),
    { root: `${HIGH}neck_hd.`, port: "model.high_res_vision_neck.", parts: necks },
    { root: `${HIGH}neck.`, port: "model.high_res_vision_model.vision_encoder.neck.", parts: necks },
    {
      root: `${HIGH}downsamples.`,
      port: "model.high_res_vision_proj.",
      parts: [
        [/^0\./, "conv1."],
        [/^1\./, "conv2."],
      ],
    },
    {
      root: `${HIGH}hd_alpha_downsamples`,
      port: "model.high_res_vision_alpha",
      parts: [[/^$/, ""]],
    },
    {
      root: HIGH,
      port: "model.high_res_vision_model.vision_encoder.",
      parts: [
        [/^pos_embed$/, "pos_embed"],
        [/^patch_embed\.proj\./, "patch_embed.projection."],
        [/^blocks\.(\d+)\.norm([12])\./, "layers.$1.layer_norm$2."],
        [/^blocks\.(\d+)\.(attn|mlp)\./, "layers.$1.$2."],
      ],
    },
    {
      root: "aligner.",
      port: "model.aligner.",
      parts: [
        [/^layers\.1\./, "proj."],
        [/^low_up_proj\./, "vision_proj."],
        [/^high_up_proj\./, "high_res_vision_proj."],
      ],
    },
    ...language,
  ];
}

/** The port's name of an original tensor; null where it has none of its own. */
function portName(name: string, rules: readonly Rules[]): string | null {
  const found = rules.find(({ root }) => name.startsWith(root));
  if (found === undefined) return null;
  const rest = name.slice(found.root.length);
  const part = found.parts.find(([pattern]) => pattern.test(rest));
  return part === undefined ? null : found.port + rest.replace(...part);
}

/** Rows of a tensor in equal parts. */
function thirds(port: string, what: string, [rows, ...row]: readonly number[]): NamedShape[] {
  return ["q", "k", "v"].map((each) => ({ name: `${port}${each}_proj.${what}`, shape: [rows / 3, ...row] }));
}

/**
 * Which tensors of the port are which of the original.
 * @param originals names and shapes of the model @param twice whether the port's names say vision_model twice
 */
export function portRenamings(originals: Iterable<NamedShape>, hybrid: boolean, twice: boolean): Renaming[] {
  const rules = rulesOf(hybrid, twice);
  const root = siglipRoot(twice);
  const renamings: Renaming[] = [];
  const pool = new Map<string, NamedShape[]>();
  for (const { name, shape } of originals) {
    const to: NamedShape[] = [{ name, shape }];
    const [, block, what] = name.startsWith(HIGH)
      ? []
      : (/\.blocks\.(\d+)\.attn\.qkv\.(\w+)$/.exec(name) ?? []);
    const [, , joined] = /\.attn_pool\.(q|kv)\.(\w+)$/.exec(name) ?? [];
    if (block !== undefined) {
      renamings.push({ from: thirds(`${root}encoder.layers.${block}.self_attn.`, what, shape), to });
    } else if (joined !== undefined) {
      // Queries, then keys and values, are one tensor of the port.
      const parts = [...(pool.get(joined) ?? []), ...to].sort((a, b) => a.shape[0] - b.shape[0]);
      pool.set(joined, parts);
      if (parts.length < 2) continue;
      const [rows, ...row] = [parts[0].shape[0] + parts[1].shape[0], ...shape.slice(1)];
      renamings.push({
        from: [{ name: `${root}head.attention.in_proj_${joined}`, shape: [rows, ...row] }],
        to: parts,
      });
    } else {
      const port = portName(name, rules);
      // One position of a batch of one.
      const flat = port?.endsWith("position_embedding.weight") ? shape.slice(1) : shape;
      if (port !== null) renamings.push({ from: [{ name: port, shape: flat }], to });
    }
  }
  return renamings;
}

/** Whether a checkpoint has the port's names, and with which root of SigLIP. */
function spelling(source: WeightSource): { readonly port: boolean; readonly twice: boolean } {
  let port = false;
  for (const name of source.names()) {
    if (name.startsWith(siglipRoot(true))) return { port: true, twice: true };
    port ||= name.startsWith("model.");
  }
  return { port, twice: false };
}

/** Whether a port's checkpoint has the pool of SigLIP. */
export function hasPool(source: WeightSource): boolean {
  return source.has(`${siglipRoot(spelling(source).twice)}head.probe`);
}

/** A port's checkpoint whose language tensors go by the original's names: no description of the model is needed. */
class OriginalLanguageNames extends WrappedSource {
  override *names(): Generator<string> {
    for (const name of this.inner.names()) {
      yield name.replace(/^model\.language_model\./, "language_model.model.");
    }
  }
}

/** A port's checkpoint for counting layers, before renamings are made of their number. */
export function withOriginalLanguageNames(source: WeightSource): WeightSource {
  return new OriginalLanguageNames(source);
}

/**
 * A port's checkpoint under the names of the original; one that has these already (weights quantized by this package)
 * is passed on. @throws FormatError, ShapeError for a tensor that is missing or has another shape
 */
export function withOriginalNames(
  source: WeightSource,
  originals: Iterable<NamedShape>,
  hybrid: boolean,
): WeightSource {
  const { port, twice } = spelling(source);
  if (!port) return source;
  const renamed = new RenamedSource(source, portRenamings(originals, hybrid, twice));
  renamed.check();
  return renamed;
}

/** A model's weights under the port's names, as its converter writes them. */
export function withPortNames(
  source: WeightSource,
  originals: Iterable<NamedShape>,
  hybrid: boolean,
): WeightSource {
  return new RenamedSource(source, reversed(portRenamings(originals, hybrid, true)));
}
