/**
 * The cases of `test/fixtures/moe-baselines`: whole tiny models in which every feed-forward layer follows the rule of
 * another paper. Their configuration says the rule; a hash layer's table is in inputs.json.
 */
import type { FileTree } from "../checkpoint/byte-source.ts";
import { openCheckpoint } from "../checkpoint/folder.ts";
import { checkpointConfig, modelFrom, modelWeights } from "../checkpoint/model.ts";
import { differentiate } from "../tensor/tape.ts";
import { type Device, disposeAll, type Tensor } from "../tensor/tensor.ts";
import { nextTokenLoss } from "../train/objectives/next-token.ts";
import { Captured, Comparison, Expected, type ParityOutput, withOpened } from "./comparison.ts";

const PREFIX = "moe-baselines/";

/** What another program's balance function gives for the same choices, recorded beside the rule's own. */
const RECORDED_BESIDE = /^balance_both_choices\./;

interface Meta {
  readonly case: string;
  readonly tolerance: {
    readonly logits_max_abs: number;
    readonly loss_max_abs: number;
    readonly balance_max_abs: number;
    readonly grads_max_abs_over_tensor_max_abs: number;
  };
}

interface Inputs {
  readonly input_ids: readonly (readonly number[])[];
  readonly hash_table?: readonly number[];
}

/** Whether a case is one of the baselines. */
export async function isBaselineCase(tree: FileTree): Promise<boolean> {
  if (!(await tree.has("meta.json"))) return false;
  const { case: name } = JSON.parse(await tree.readText("meta.json")) as { case?: unknown };
  return typeof name === "string" && name.startsWith(PREFIX);
}

/** Brings each row's values into the order of rising ids, as this package keeps choices; the fixtures have the first first. */
function ascending(ids: ArrayLike<number>, topK: number): (values: ArrayLike<number>) => number[] {
  const order = Array.from(ids, (_, i) => i).sort(
    (a, b) => Math.floor(a / topK) - Math.floor(b / topK) || ids[a] - ids[b],
  );
  return (values) => order.map((i) => values[i]);
}

/** Compares choices, loads, logits, losses and every gradient. @throws FormatError, ConfigError */
export async function compareBaseline(
  tree: FileTree,
  device: Device,
): Promise<{ readonly name: string; readonly outputs: readonly ParityOutput[] }> {
  const { case: name, tolerance } = JSON.parse(await tree.readText("meta.json")) as Meta;
  const inputs = JSON.parse(await tree.readText("inputs.json")) as Inputs;
  return await withOpened(async (opened) => {
    const checkpoint = opened(await openCheckpoint(tree));
    const expected = opened(await Expected.open(tree, "expected.safetensors"));
    const gradients = opened(await Expected.open(tree, "grads.safetensors"));
    const { json } = checkpointConfig(checkpoint);
    const config = { ...(json as object), ...(inputs.hash_table && { hash_table: inputs.hash_table }) };
    using model = await modelFrom(config, modelWeights(checkpoint), device);
    using captured = new Captured();
    const comparison = new Comparison();
    const rows = inputs.input_ids;
    const ids = Int32Array.from(rows.flat());
    const targets = Int32Array.from(rows.flatMap((row) => [...row.slice(1), -1]));
    const balanceAlpha = model.config.moe?.balanceAlpha ?? 0;
    const options = { balanceAlpha, capture: captured.capture };
    const result = differentiate(device, () => {
      const { tokens: _, ...tensors } = nextTokenLoss(
        model,
        { sequences: rows.length, ids, targets },
        options,
      );
      return tensors;
    });
    const compare = async (at: string, tensor: Tensor, bound: number) =>
      comparison.values(at, await tensor.data(), await expected.values(at), bound);
    comparison.values(
      "logits",
      await captured.values("logits"),
      await expected.values("logits"),
      tolerance.logits_max_abs,
    );
    await compare("loss", result.crossEntropy, tolerance.loss_max_abs);
    await compare("total_loss", result.loss, tolerance.loss_max_abs);
    for (const { layer, loss } of result.balance) {
      await compare(`balance.${layer}`, loss, tolerance.balance_max_abs);
    }
    for (const { layer, counts } of result.expertCounts) {
      const at = (output: string) => `router.${layer}.${output}`;
      const found = await counts.data();
      comparison.ids(at("counts"), found, await expected.values(at("counts")));
      const wantedIds = await expected.values(at("expert_ids"));
      const sorted = ascending(wantedIds, model.config.moe!.router.topK);
      comparison.ids(at("expert_ids"), await captured.values(at("topk_ids")), sorted(wantedIds));
      const drops = captured.tensors.has(at("kept"));
      const loads = drops ? await captured.values(at("taken")) : found;
      comparison.ids(at("load_after_capacity"), loads, await expected.values(at("load_after_capacity")));
      const kept = drops ? await captured.values(at("kept")) : Array.from(wantedIds, () => 1);
      comparison.ids(at("kept"), kept, sorted(await expected.values(at("kept"))));
      const wantedWeights = sorted(await expected.values(at("weights")));
      const weights = await captured.values(at("topk_weights"));
      comparison.values(at("weights"), weights, wantedWeights, tolerance.logits_max_abs);
    }
    disposeAll(result);
    for (const parameter of gradients.names()) {
      using gradient = model.parameters.gradient(parameter);
      const values = await gradients.values(parameter);
      const found = gradient ? await gradient.data() : new Float32Array(values.length);
      const bound = tolerance.grads_max_abs_over_tensor_max_abs;
      comparison.values(`grad.${parameter}`, found, values, bound, "relative");
    }
    const compared = new Set(comparison.outputs.map((output) => output.name));
    for (const output of expected.names()) {
      if (!compared.has(output) && !RECORDED_BESIDE.test(output)) comparison.missing(output);
    }
    for (const { name: parameter } of model.parameters.named()) {
      if (!gradients.has(parameter)) comparison.missing(`grad.${parameter}`);
    }
    model.parameters.clearGradients();
    return { name, outputs: comparison.outputs };
  });
}
