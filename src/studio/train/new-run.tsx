/** A new training: what is trained, on what, for how long, and where it is written. The server checks it while it is filled in. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { formatBytes, formatCompact, formatCount } from "../../text/units.ts";
import { messageOf } from "../backend/backend.ts";
import type { TrainPreset, TrainPresets } from "../backend/wire.ts";
import { Icon } from "../frame/icons.tsx";
import { PlaceBrowser, placeName } from "../frame/place-browser.tsx";
import { goTo, routeHash } from "../state/route.ts";
import { newId, useStudio } from "../state/studio.ts";
import { lineOfSetting, parseSettings } from "./json-lines.ts";
import {
  type Base,
  baseName,
  freeName,
  isPictures,
  presetOf,
  type RunForm,
  settingsText,
} from "./new-run-settings.ts";
import { aboutTime, LengthField } from "./run-length.tsx";
import { SettingsEditor } from "./settings-editor.tsx";
import { FieldFault, refusalOf, useCheck } from "./training-check.tsx";

interface CardProps {
  readonly chosen: boolean;
  readonly onChoose: () => void;
  readonly title: string;
  readonly note: string;
  readonly facts: readonly string[];
}

const BaseCard = ({ chosen, onChoose, title, note, facts }: CardProps) => (
  <label class={`card preset ${chosen ? "ticked" : ""}`}>
    <span class="row">
      <input type="radio" name="base" checked={chosen} onChange={onChoose} />
      <strong>{title}</strong>
    </span>
    <span class="small soft">{note}</span>
    <span class="small">
      {facts.map((fact) => (
        <span key={fact} class="preset-fact">
          {fact}
        </span>
      ))}
    </span>
  </label>
);

const factsOf = ({ parameters: { total, activated }, memory, seconds }: TrainPreset) => [
  `${formatCompact(total)} parameters${activated < total ? `, ${formatCompact(activated)} a token` : ""}`,
  `${formatBytes(memory)} of memory`,
  aboutTime(seconds),
];

function speedWords({ speed }: TrainPresets): string {
  const { run, measured } = speed;
  if (run !== null) return `Times follow from the speed of ${run} here, by the work of a token.`;
  return (
    `Times are a guess until something was trained here: from ${formatCount(measured!.tokens)} tokens a second of the demo's model on ` +
    `${measured!.cores} cores of a server, by the work of a token and the cores of this machine. Half or twice as long would be no surprise.`
  );
}

export function NewRun() {
  const studio = useStudio();
  const [presets, setPresets] = useState<TrainPresets | null>(null);
  const [form, setForm] = useState<RunForm | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  const [starting, setStarting] = useState(false);
  const [taken, setTaken] = useState<ReadonlySet<string>>(new Set());
  /** Whether the name is the one that was proposed. */
  const [proposed, setProposed] = useState(true);
  const id = useRef(newId());
  const roots = studio.hello.value?.roots ?? [];
  const firstRoot = roots[0]?.name;
  useEffect(() => {
    studio.backend.trainPresets().then(
      (found) => {
        setPresets(found);
        setForm({
          base: { preset: found.presets[0].name },
          ...{ source: "typescript", place: null, extensions: "all", length: null },
          ...{ root: "", name: "", json: null },
        });
      },
      (error) => setFault(messageOf(error)),
    );
  }, []);
  // Which roots there are may be told after the form is there.
  const root = form?.root || (firstRoot ?? "");
  useEffect(() => {
    let current = true;
    if (root === "") return;
    studio.backend.files({ root, path: "" }).then(
      ({ entries }) => current && setTaken(new Set(entries.map(({ name }) => name))),
      () => {},
    );
    return () => {
      current = false;
    };
  }, [root]);
  const own = studio.jobs.value.flatMap(({ run, ended }) =>
    run !== undefined && ended === null ? [run.slice(run.indexOf("/") + 1)] : [],
  );
  const name =
    form === null ? "" : proposed ? freeName(baseName(form.base), new Set([...taken, ...own])) : form.name;
  const filled = useMemo(() => form && { ...form, root, name }, [form, root, name]);
  const { body, memory, refusal, setRefusal } = useCheck(filled, presets);
  if (filled === null || presets === null)
    return (
      <div class="page screen" aria-busy={fault === null}>
        <Head />
        {fault !== null && <p class="fault">{fault}</p>}
      </div>
    );
  const change = (fields: Partial<RunForm>) => setForm((before) => before && { ...before, ...fields });
  const choose = (base: Base) => change({ base, json: null, length: null });
  const byHand = filled.json !== null;
  const text = settingsText(filled, presets);
  const parsed = parseSettings(text);
  const isOf = (field: string) =>
    refusal?.param === field || refusal?.param?.startsWith(`${field}.`) ? refusal : null;
  const ofConfig = isOf("body.config");
  const setting = ofConfig?.param?.slice("body.config.".length) ?? "";
  const preset = presetOf(filled, presets);
  const elsewhere =
    refusal !== null && !["body.out", "body.data", "body.config"].some((field) => isOf(field));
  const submit = async (event: Event) => {
    event.preventDefault();
    if (body === null || starting) return;
    setStarting(true);
    try {
      await studio.backend.start({ kind: "train", body, id: id.current });
      studio.refresh();
      goTo("train", placeName(body.out), true);
    } catch (error) {
      // Another request is another job.
      id.current = newId();
      setRefusal(refusalOf(error));
      setStarting(false);
    }
  };
  return (
    <div class="page screen">
      <Head />
      <form class="stack new-run" onSubmit={submit}>
        <fieldset>
          <legend>What is trained</legend>
          <div class="presets">
            {presets.presets.map((each) => (
              <BaseCard
                key={each.name}
                chosen={preset?.name === each.name}
                onChoose={() => choose({ preset: each.name })}
                title={`${each.system ?? each.name}, ${each.name}`}
                note={each.note}
                facts={factsOf(each)}
              />
            ))}
            {presets.pictures.map(({ model, draws }) => (
              <BaseCard
                key={model}
                chosen={preset === null && isPictures(filled.base) && filled.base.pictures === model}
                onChoose={() => choose({ pictures: model })}
                title={model}
                note={
                  draws
                    ? "goes on with this model: pictures for captions, and questions about pictures"
                    : "goes on with this model: questions about pictures"
                }
                facts={["pictures that are drawn while it trains", "about 5 minutes"]}
              />
            ))}
          </div>
          <p class="tiny soft">
            {speedWords(presets)}
            {presets.pictures.length === 0 &&
              " With a model that sees below the roots or in the hub's cache, training on pictures is offered here too."}
          </p>
        </fieldset>
        {preset !== null && (
          <fieldset>
            <legend>What it learns from</legend>
            <div class="row">
              <label class="row">
                <input
                  type="radio"
                  name="source"
                  checked={filled.source === "typescript"}
                  onChange={() => change({ source: "typescript" })}
                />
                TypeScript of the packages installed here
              </label>
              <label class="row">
                <input
                  type="radio"
                  name="source"
                  checked={filled.source === "own"}
                  onChange={() => change({ source: "own" })}
                />
                A folder or file of yours
              </label>
            </div>
            {filled.source === "own" && (
              <div class="stack">
                <PlaceBrowser value={filled.place} onPick={(place) => change({ place })} />
                <p class="small">
                  {filled.place === null ? (
                    <span class="soft">
                      Nothing is chosen. Folders are those that the studio was started with:{" "}
                      {roots.map(({ path }) => path).join(", ")}; others come by `--root FOLDER`.
                    </span>
                  ) : (
                    <>
                      Learns from <strong>{placeName(filled.place)}</strong>.
                    </>
                  )}
                </p>
                <label class="row">
                  Files
                  <select
                    class="field"
                    value={filled.extensions}
                    disabled={byHand}
                    onChange={(event) => change({ extensions: event.currentTarget.value })}
                  >
                    {presets.extensions.map((each) => (
                      <option key={each}>{each}</option>
                    ))}
                  </select>
                </label>
              </div>
            )}
            <FieldFault id="fault-data" refusal={isOf("body.data")} />
          </fieldset>
        )}
        <LengthField {...{ form: filled, preset, change, byHand }} />
        <fieldset>
          <legend>Where it is written</legend>
          <div class="row run-place">
            {roots.length > 1 && (
              <select
                class="field"
                aria-label="Root of the run"
                value={root}
                onChange={(event) => change({ root: event.currentTarget.value })}
              >
                {roots.map((each) => (
                  <option key={each.name}>{each.name}</option>
                ))}
              </select>
            )}
            {roots.length === 1 && <span class="small soft">{root}/</span>}
            <input
              class="field"
              aria-label="Name of the run"
              aria-invalid={isOf("body.out") !== null}
              aria-describedby={isOf("body.out") === null ? undefined : "fault-out"}
              required
              spellcheck={false}
              autocomplete="off"
              value={name}
              onInput={(event) => {
                setProposed(false);
                change({ name: event.currentTarget.value });
              }}
            />
          </div>
          <FieldFault id="fault-out" refusal={isOf("body.out")} />
        </fieldset>
        <details class="card" open={byHand || ofConfig !== null || undefined}>
          <summary>All settings</summary>
          <SettingsEditor
            text={text}
            onText={(json) => change({ json })}
            fault={
              "fault" in parsed
                ? parsed.fault
                : ofConfig && { message: ofConfig.message, line: lineOfSetting(text, setting) }
            }
            onReset={byHand ? () => change({ json: null }) : null}
            whole={preset?.config ?? null}
          />
        </details>
        {elsewhere && <FieldFault id="fault-other" refusal={refusal} />}
        <div class="row">
          <button type="submit" class="solid" disabled={body === null || starting || refusal !== null}>
            Start training
          </button>
          <span class="small soft" role="status">
            {memory !== null && `Memory: ${memory}.`}
          </span>
        </div>
      </form>
    </div>
  );
}

const Head = () => (
  <div class="page-head">
    <a class="quiet" href={routeHash({ screen: "train", item: null })}>
      <Icon name="left" />
      Train
    </a>
    <h1>New training</h1>
  </div>
);
