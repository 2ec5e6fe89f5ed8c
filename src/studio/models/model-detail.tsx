/** A model looked into: parameters, what a token of its cache takes, what fits here. */
import { useEffect, useState } from "preact/hooks";
import { formatBytes, formatCompact, formatCount } from "../../text/units.ts";
import { messageOf } from "../backend/backend.ts";
import type { Inspection, PlainObject } from "../backend/wire.ts";
import { Icon } from "../frame/icons.tsx";
import { routeHash } from "../state/route.ts";
import { useStudio } from "../state/studio.ts";

const isObject = (value: unknown): value is PlainObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const numberOf = (object: unknown, key: string): number | null => {
  const value = isObject(object) ? object[key] : null;
  return typeof value === "number" ? value : null;
};
const shown = (value: number | null, format: (value: number) => string) =>
  value === null ? "–" : format(value);

interface MemoryRow {
  readonly dtype: string;
  readonly weights: number | null;
  readonly total: number | null;
  readonly fits: string;
  readonly context: number | null;
}

function memoryRows(report: PlainObject): readonly MemoryRow[] {
  const list = Array.isArray(report.memory) ? report.memory.filter(isObject) : [];
  return list.map((row) => ({
    dtype: String(row.dtype),
    weights: numberOf(row, "weights"),
    total: numberOf(row, "total"),
    fits: String(row.fits),
    context: numberOf(row, "contextThatFits"),
  }));
}

function Figures({ inspection: { report, fits } }: { readonly inspection: Inspection }) {
  const parameters = isObject(report.parameters) ? report.parameters : {};
  const cache = numberOf(report, "cacheBytesPerToken");
  const own: readonly (readonly [string, string])[] = [
    ["Kind", String(report.modelType ?? "not known")],
    ["Parameters", shown(numberOf(parameters, "total"), formatCompact)],
    ["Used for each token", shown(numberOf(parameters, "activated"), formatCompact)],
    ["Tensors", shown(numberOf(report, "tensors"), formatCount)],
    ["In the files", shown(numberOf(report, "bytes"), formatBytes)],
  ];
  const caches: readonly (readonly [string, number | null])[] = [
    ["This model", cache],
    ["Keys and values of every head (MHA)", numberOf(report, "multiHeadCacheBytesPerToken")],
    ["Of grouped heads (GQA)", numberOf(report, "groupedQueryCacheBytesPerToken")],
  ];
  const most = Math.max(1, ...caches.map(([, bytes]) => bytes ?? 0));
  const rows = memoryRows(report);
  return (
    <>
      <p class={`card ${fits.yes ? "" : "no-fit"}`}>
        <strong>{fits.yes ? "Fits here." : "Does not fit beside what is open."}</strong> Weights and the cache
        of its context need {formatBytes(fits.needed)}; {formatBytes(fits.available)} are free.
      </p>
      <div class="detail-columns">
        <section class="card stack">
          <h2>Model</h2>
          <dl class="facts">
            {own.map(([name, value]) => (
              <div key={name}>
                <dt>{name}</dt>
                <dd>{value}</dd>
              </div>
            ))}
          </dl>
        </section>
        <section class="card stack">
          <h2>Cache of one token</h2>
          <dl class="facts">
            {caches
              .filter(([, bytes]) => bytes !== null)
              .map(([name, bytes]) => (
                <div key={name}>
                  <dt>{name}</dt>
                  <dd>{formatBytes(bytes!)}</dd>
                  <dd class="meter" aria-hidden="true">
                    <span style={{ width: `${(100 * bytes!) / most}%` }} />
                  </dd>
                </div>
              ))}
          </dl>
        </section>
      </div>
      {rows.length > 0 && (
        <section class="card stack">
          <h2>Memory by how weights are kept</h2>
          <table class="models-table plain">
            <thead>
              <tr>
                <th scope="col">Weights as</th>
                <th scope="col" class="number">
                  Weights
                </th>
                <th scope="col" class="number">
                  With the cache
                </th>
                <th scope="col" class="number">
                  Context that fits
                </th>
                <th scope="col">Fits here</th>
              </tr>
            </thead>
            <tbody>
              {rows.map((row) => (
                <tr key={row.dtype}>
                  <th scope="row">{row.dtype}</th>
                  <td data-label="Weights" class="number">
                    {shown(row.weights, formatBytes)}
                  </td>
                  <td data-label="With the cache" class="number">
                    {shown(row.total, formatBytes)}
                  </td>
                  <td data-label="Context that fits" class="number">
                    {row.context === null ? "–" : `${formatCount(row.context)} tokens`}
                  </td>
                  <td data-label="Fits here">{row.fits}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      )}
      <details class="card">
        <summary>All that inspect says</summary>
        <pre class="raw-report">{JSON.stringify(report, null, 2)}</pre>
      </details>
    </>
  );
}

export function ModelDetail({ model }: { readonly model: string }) {
  const studio = useStudio();
  const [inspection, setInspection] = useState<Inspection | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  useEffect(() => {
    studio.backend.inspect(model).then(setInspection, (error) => setFault(messageOf(error)));
  }, [model]);
  return (
    <div class="page screen">
      <div class="page-head">
        <a class="quiet" href={routeHash({ screen: "models", item: null })}>
          <Icon name="left" />
          Models
        </a>
        <h1 class="cut">{model}</h1>
      </div>
      <div class="stack" aria-busy={inspection === null && fault === null}>
        {fault !== null && <p class="fault">{fault}</p>}
        {inspection === null && fault === null && <p class="soft">Reads the headers of its files …</p>}
        {inspection !== null && <Figures inspection={inspection} />}
      </div>
    </div>
  );
}
