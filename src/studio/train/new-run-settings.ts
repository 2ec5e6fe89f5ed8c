/** What the form of a new training asks for, and the request that it makes of it. */
import type { PlainObject, RootPath, TrainBody, TrainPreset, TrainPresets } from "../backend/wire.ts";
import { parseSettings } from "./json-lines.ts";

/** A preset for text, or a model that sees. */
export type Base = { readonly preset: string } | { readonly pictures: string };

export interface RunForm {
  readonly base: Base;
  /** `typescript`: the text that is there without being brought. */
  readonly source: "typescript" | "own";
  readonly place: RootPath | null;
  /** Kind of files of a folder. */
  readonly extensions: string;
  /** Null: as the preset has it. */
  readonly length: { readonly amount: number; readonly unit: "minutes" | "steps" } | null;
  readonly root: string;
  readonly name: string;
  /** Settings as they were written by hand; null: those that the form makes. */
  readonly json: string | null;
}

export const isPictures = (base: Base): base is { readonly pictures: string } => "pictures" in base;

const lengthOf = ({ length }: RunForm): PlainObject =>
  length === null
    ? {}
    : length.unit === "steps"
      ? { steps: length.amount, seconds: null }
      : { steps: null, seconds: Math.round(60 * length.amount) };

/** The settings that the form makes. */
export function configOf(form: RunForm, { builtIn, pictures }: TrainPresets): PlainObject {
  const { base } = form;
  const length = lengthOf(form);
  if (isPictures(base)) {
    const config = pictures.find(({ model }) => model === base.pictures)?.config ?? {};
    const stages = (config.stages as readonly PlainObject[] | undefined) ?? [];
    return { ...config, stages: stages.map((stage) => ({ ...stage, ...length })) };
  }
  const data =
    form.source === "typescript" ? builtIn : { extensions: form.extensions, includeNodeModules: false };
  return {
    preset: base.preset,
    data,
    ...(Object.keys(length).length > 0 && { training: length }),
  };
}

/** The settings as text: those of the form, or as they were written. */
export const settingsText = (form: RunForm, presets: TrainPresets): string =>
  form.json ?? JSON.stringify(configOf(form, presets), null, 2);

/** The preset that the settings begin with, also where they were written by hand; null for models that see. */
export function presetOf(form: RunForm, { presets }: TrainPresets): TrainPreset | null {
  const { base, json } = form;
  const parsed = json === null ? null : parseSettings(json);
  if (parsed !== null && "config" in parsed) {
    const named = presets.find(({ name }) => name === parsed.config.preset);
    if (named !== undefined) return named;
    if (parsed.config.kind === "stages") return null;
  }
  return isPictures(base) ? null : (presets.find(({ name }) => name === base.preset) ?? null);
}

/** What is asked of the server; null while the form says too little, or its settings are no JSON. */
export function bodyOf(form: RunForm, presets: TrainPresets): TrainBody | null {
  const parsed = parseSettings(settingsText(form, presets));
  const name = form.name.trim();
  if ("fault" in parsed || name === "") return null;
  const staged = parsed.config.kind === "stages";
  const data = staged ? null : form.source === "typescript" ? "typescript" : form.place;
  if (data === null && !staged) return null;
  return { out: { root: form.root, path: name }, data, config: parsed.config };
}

/** The first of `BASE-1`, `BASE-2`, .. that is not taken. */
export function freeName(base: string, taken: ReadonlySet<string>): string {
  let n = 1;
  while (taken.has(`${base}-${n}`)) n++;
  return `${base}-${n}`;
}

/** What a run is called where nobody says it. */
export const baseName = (base: Base): string =>
  isPictures(base) ? base.pictures.slice(base.pictures.lastIndexOf("/") + 1) : base.preset;

/** Tokens and steps that a preset learns in so many seconds. */
export function stepsWithin(
  seconds: number,
  { config, tokensPerSecond }: Pick<TrainPresets["presets"][number], "config" | "tokensPerSecond">,
): number {
  const { batch, sequenceLength } = config.training as {
    readonly batch: { readonly size: number };
    readonly sequenceLength: number;
  };
  return Math.max(1, Math.round((seconds * tokensPerSecond) / (batch.size * sequenceLength)));
}
