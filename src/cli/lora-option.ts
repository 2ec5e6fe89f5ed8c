/** `--lora`: settings of low-rank adapters as they are typed, such as `rank=16,alpha=32,targets=q_proj,v_proj`. */
import { InvalidArgumentError, Option } from "commander";
import { ALL_LINEAR, checkAdapterSettings } from "../models/adapted-model.ts";
import { ADAPTER_BASES, type TunedAdapter } from "../runs/tuned/config.ts";
import { nearestName } from "../tensor/check-value.ts";
import { DeepseekError } from "../tensor/errors.ts";

const FIELDS = ["rank", "alpha", "targets", "base", "rslora", "recompute"] as const;
type Field = (typeof FIELDS)[number];

/** What the field has and this program does not. */
const REFUSED: Readonly<Record<string, string>> = {
  dropout: "adapters are trained without dropout",
  bias: "biases stay as they are",
  dora: "magnitudes (DoRA) are not supported",
  modules_to_save: "whole modules beside adapters are not supported",
  init: "A begins uniform by the seed, B at zero",
};

const isField = (name: string): name is Field => FIELDS.some((field) => field === name);

/** The fields of the text; a piece without `=` belongs to the list before it. */
function fieldsOf(text: string): Map<Field, string[]> {
  const fields = new Map<Field, string[]>();
  let last: Field | null = null;
  for (const piece of text.split(",").map((part) => part.trim())) {
    const [, name, value] = /^([^=]*)=(.*)$/s.exec(piece) ?? [];
    if (name === undefined) {
      if (last !== "targets" || piece === "") {
        throw new InvalidArgumentError(`Expected NAME=VALUE in place of "${piece}", such as rank=16.`);
      }
      fields.get(last)!.push(piece);
      continue;
    }
    if (Object.hasOwn(REFUSED, name)) throw new InvalidArgumentError(`${name}: ${REFUSED[name]}.`);
    if (!isField(name)) {
      const near = nearestName(name, FIELDS);
      const hint = near === null ? `Expected one of ${FIELDS.join(", ")}.` : `Did you mean ${near}?`;
      throw new InvalidArgumentError(`No such setting: ${name}. ${hint}`);
    }
    if (fields.has(name)) throw new InvalidArgumentError(`${name} is given twice.`);
    if (value === "") throw new InvalidArgumentError(`${name} has no value.`);
    fields.set(name, [value]);
    last = name;
  }
  return fields;
}

function truth(name: string, text: string | undefined, otherwise: boolean): boolean {
  if (text === undefined) return otherwise;
  if (text !== "true" && text !== "false") {
    throw new InvalidArgumentError(`${name} must be true or false, not ${text}.`);
  }
  return text === "true";
}

/** The option; `beside` is what else the adapters are for. */
export const loraOption = (beside = ""): Option =>
  new Option(
    "--lora <settings>",
    `train low-rank adapters in place of all weights${beside}: rank=16,alpha=32,targets=all-linear,base=q8 ` +
      "(f32, bf16, f16, q8 or q4); also rslora=true, recompute=false",
  ).argParser(loraSettings);

/** Adapters learn at a higher rate than the weights that they stand for. */
export const ADAPTER_RATE = 10;

/** The settings that the text stands for, with what it leaves out. @throws InvalidArgumentError */
export function loraSettings(text: string): TunedAdapter {
  const fields = fieldsOf(text);
  const one = (name: Field) => fields.get(name)?.[0];
  const rank = Number(one("rank") ?? 16);
  const base = one("base") ?? "q8";
  const chosen = ADAPTER_BASES.find((each) => each === base);
  if (chosen === undefined) {
    throw new InvalidArgumentError(`base must be ${ADAPTER_BASES.join(", ")}, not ${base}.`);
  }
  const settings: TunedAdapter = {
    rank,
    alpha: Number(one("alpha") ?? 2 * rank),
    targets: fields.get("targets") ?? [ALL_LINEAR],
    ...(truth("rslora", one("rslora"), false) && { rankStabilized: true }),
    base: chosen,
    recompute: truth("recompute", one("recompute"), true),
  };
  try {
    checkAdapterSettings({ where: "--lora" }, settings);
  } catch (error) {
    if (!(error instanceof DeepseekError)) throw error;
    // The option stands before the message already.
    const { name, expected, found } = error.detail;
    throw new InvalidArgumentError(`${name}: expected ${expected}, found ${found}.`);
  }
  return settings;
}
