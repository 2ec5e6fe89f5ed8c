/** Names of the transformers port of Janus for the tensors of the original, and back. */
import { type NamedShape, RenamedSource, type Renaming, reversed } from "../../nn/renamed-source.ts";
import type { WeightSource } from "../../nn/weight-source.ts";

type Rule = readonly [RegExp, string];

/** The k-th linear layer of a sequence in which GELUs count. */
const aligner = (from: string, to: string): Rule[] => [
  [new RegExp(`^${from}\\.layers\\.0\\.`), `model.${to}.fc1.`],
  ...Array.from({ length: 8 }, (_, i): Rule => {
    return [new RegExp(`^${from}\\.layers\\.${2 * (i + 1)}\\.`), `model.${to}.hidden_layers.${i}.`];
  }),
];

const TOWER = "vision_model.vision_tower.";
const PORT_TOWER = "model.vision_model.";

const rules: readonly Rule[] = [
  [/^vision_model\.vision_tower\.pos_embed$/, `${PORT_TOWER}embeddings.position_embedding.weight`],
  [/^vision_model\.vision_tower\.patch_embed\.proj\./, `${PORT_TOWER}embeddings.patch_embedding.`],
  [
    /^vision_model\.vision_tower\.blocks\.(\d+)\.norm([12])\./,
    `${PORT_TOWER}encoder.layers.$1.layer_norm$2.`,
  ],
  [
    /^vision_model\.vision_tower\.blocks\.(\d+)\.attn\.proj\./,
    `${PORT_TOWER}encoder.layers.$1.self_attn.projection_layer.`,
  ],
  [/^vision_model\.vision_tower\.blocks\.(\d+)\.mlp\./, `${PORT_TOWER}encoder.layers.$1.mlp.`],
  [/^vision_model\.vision_tower\.norm\./, `${PORT_TOWER}post_layernorm.`],
  ...aligner("aligner", "aligner"),
  ...aligner("gen_aligner", "generation_aligner"),
  [/^gen_embed\./, "model.generation_embeddings."],
  [/^gen_head\.output_mlp_projector\./, "model.generation_head.proj_out."],
  [/^gen_head\.vision_head\./, "model.generation_head.vision_head."],
  [/^language_model\.model\./, "model.language_model."],
  [/^language_model\.lm_head\./, "lm_head."],
];

const middle = ["block_1", "attn_1", "block_2"];

/** Names inside the image tokenizer. */
const tokenizerName = (name: string): string =>
  name
    .replace(/^gen_vision_model\./, "model.vqmodel.")
    .replace(".decoder.conv_blocks.", ".decoder.up.")
    .replace(".encoder.conv_blocks.", ".encoder.down.")
    .replace(/(\.(?:up|down)\.\d+)\.res\./, "$1.block.")
    .replace(/\.mid\.(\d)\./, (_, index: string) => `.mid.${middle[Number(index)]}.`);

/** The port's name of an original tensor; null where it has none of its own. */
function portName(name: string): string | null {
  if (name.startsWith("gen_vision_model.")) return tokenizerName(name);
  const rule = rules.find(([pattern]) => pattern.test(name));
  return rule ? name.replace(...rule) : null;
}

/** Queries, keys and values of an official tensor that holds all three. */
function thirds(name: string, [rows, ...rest]: readonly number[]): NamedShape[] | null {
  const [, block, what] = /\.blocks\.(\d+)\.attn\.qkv\.(\w+)$/.exec(name) ?? [];
  if (!name.startsWith(TOWER) || block === undefined) return null;
  return ["q", "k", "v"].map((each) => ({
    name: `${PORT_TOWER}encoder.layers.${block}.self_attn.${each}_proj.${what}`,
    shape: [rows / 3, ...rest],
  }));
}

/** How a port's tensors become the original's. */
export function janusRenamings(originals: Iterable<NamedShape>): Renaming[] {
  const renamings: Renaming[] = [];
  for (const { name, shape } of originals) {
    const to = [{ name, shape }];
    const parts = thirds(name, shape);
    const port = parts === null ? portName(name) : null;
    // One position of a batch of one.
    const flat = port?.endsWith("position_embedding.weight") ? shape.slice(1) : shape;
    if (parts !== null) renamings.push({ from: parts, to });
    else if (port !== null) renamings.push({ from: [{ name: port, shape: flat }], to });
  }
  return renamings;
}

/** Whether a checkpoint has the port's names. */
const isPort = (source: WeightSource): boolean => {
  for (const name of source.names()) if (name.startsWith("model.")) return true;
  return false;
};

/** A port's checkpoint under the names of the original. @throws FormatError, ShapeError */
export function withJanusNames(source: WeightSource, originals: Iterable<NamedShape>): WeightSource {
  if (!isPort(source)) return source;
  const renamed = new RenamedSource(source, janusRenamings(originals));
  renamed.check();
  return renamed;
}

/** A model's weights under the port's names. */
export const withJanusPortNames = (source: WeightSource, originals: Iterable<NamedShape>): WeightSource =>
  new RenamedSource(source, reversed(janusRenamings(originals)));
