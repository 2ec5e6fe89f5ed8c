/** Which experts the tokens of an answer took: all layers at once, one layer by expert with its load, or one token by layer. */
import { useCallback, useMemo, useState } from "preact/hooks";
import { formatCount } from "../../text/units.ts";
import { type Cell, HeatLegend, HeatMap } from "./heat-map.tsx";
import type { ModelFigures } from "./model-figures.ts";
import { NumbersTable } from "./numbers-table.tsx";
import type { InsideRecord } from "./record.ts";
import { shownToken, shownWeight } from "./words.ts";

type View = "all" | "layer" | "token";

/** Ends of the scale, so that it seldom changes while tokens come. */
const SCALES = [0.25, 0.5, 1, 1.5, 2.5, 5, 10, 25, 100];

/** The experts of a token in a layer, as words: the one with the largest weight first. */
function expertsOf(record: InsideRecord, at: number, layer: number): string {
  return Array.from(
    { length: record.topK },
    (_, k) => `${record.expertOf(at, layer, k)} (${shownWeight(record.weightOf(at, layer, k))})`,
  ).join(", ");
}

/** How often experts were chosen over the even share, with a line where the even share is. */
function LoadBars({ shares, height }: { readonly shares: readonly number[]; readonly height: number }) {
  const most = Math.max(2, Math.ceil(Math.max(...shares)));
  return (
    <div class="load-bars" aria-hidden="true">
      <svg
        aria-hidden="true"
        viewBox={`0 0 ${most} ${shares.length}`}
        preserveAspectRatio="none"
        style={{ height: `${height}px` }}
      >
        <path d={shares.map((share, i) => `M0 ${i + 0.1}h${share}v.8h-${share}z`).join("")} />
        <line x1={1} x2={1} y1={0} y2={shares.length} />
      </svg>
      <span class="tiny soft">0 to {most} times the even load</span>
    </div>
  );
}

interface ExpertsTabProps {
  readonly record: InsideRecord;
  readonly model: ModelFigures | null;
  readonly cursor: Cell;
  readonly onMove: (cell: Cell) => void;
}

export function ExpertsTab({ record, model, cursor, onMove }: ExpertsTabProps) {
  const [view, setView] = useState<View>("all");
  // In the views of one layer and one token, the other side counts experts.
  const [expert, setExpert] = useState(0);
  const version = record.version.value;
  const { layers, topK, count } = record;
  const at = Math.min(cursor.column, count - 1);
  const layer = Math.min(cursor.row, layers - 1);
  const scale = SCALES.find((each) => each >= record.mostWeight) ?? record.mostWeight;
  const known = model?.experts ?? null;
  const times = useMemo(() => record.timesOf(layer, known?.routed ?? 0), [version, layer, known]);
  const experts = times.length;
  const shares = Array.from(times, (each) => (each * experts) / Math.max(1, count * topK));
  const partOf = useCallback(
    (column: number, row: number, band: number) => {
      if (view === "all") return record.weightOf(column, row, band) / scale;
      const weight =
        view === "layer" ? record.weightOfExpert(column, layer, row) : record.weightOfExpert(at, row, column);
      return weight === 0 ? -1 : weight / scale;
    },
    [record, view, layer, at, scale],
  );
  if (layers === 0)
    return (
      <p class="small">
        {count === 0
          ? "Nothing yet."
          : "This model has no experts: every token goes through all of its weights."}
      </p>
    );
  const layerName = (row: number) => `layer ${known?.layers[row] ?? row}`;
  const tokenName = (column: number) =>
    `Token ${formatCount(column + 1)}, ${shownToken(record.textOf(column))}`;
  const maps = {
    all: {
      name: `Experts of ${formatCount(count)} tokens in ${layers} layers`,
      ...{
        columnsAre: "tokens",
        columns: count,
        rows: layers,
        bands: topK,
        cursor: { column: at, row: layer },
      },
      words: ({ column, row }: Cell) =>
        `${tokenName(column)}, ${layerName(row)}: ${expertsOf(record, column, row)}`,
      onMove,
      onPick: () => setView("layer"),
    },
    layer: {
      name: `Experts of ${formatCount(count)} tokens in ${layerName(layer)}`,
      ...{ columnsAre: "tokens", columns: count, rows: experts, bands: 1 },
      cursor: { column: at, row: Math.min(expert, experts - 1) },
      words: ({ column, row }: Cell) => {
        const weight = record.weightOfExpert(column, layer, row);
        const taken = weight === 0 ? "not taken" : `weight ${shownWeight(weight)}`;
        return `${tokenName(column)}, expert ${row}: ${taken}; load ${shares[row].toFixed(2)} of the even share`;
      },
      onMove: ({ column, row }: Cell) => {
        setExpert(row);
        onMove({ column, row: layer });
      },
      onPick: () => setView("token"),
    },
    token: {
      name: `Experts of token ${formatCount(at + 1)} by layer`,
      ...{ columnsAre: "experts", columns: experts, rows: layers, bands: 1 },
      cursor: { column: Math.min(expert, experts - 1), row: layer },
      words: ({ column, row }: Cell) => {
        const weight = record.weightOfExpert(at, row, column);
        return `${layerName(row)}, expert ${column}: ${weight === 0 ? "not taken" : `weight ${shownWeight(weight)}`}`;
      },
      onMove: ({ column, row }: Cell) => {
        setExpert(column);
        onMove({ column: at, row });
      },
      onPick: () => setView("all"),
    },
  } as const;
  const map = maps[view];
  const height = Math.min(340, Math.max(90, map.rows * (view === "all" ? Math.max(8, 2 * topK) : 9)));
  const views: readonly (readonly [View, string])[] = [
    ["all", "All layers"],
    ["layer", `In ${layerName(layer)}`],
    ["token", `Of token ${formatCount(at + 1)}`],
  ];
  return (
    <div class="inside-tab">
      <div class="segments" role="group" aria-label="What is shown">
        {views.map(([each, name]) => (
          <button
            key={each}
            type="button"
            class="outlined"
            aria-pressed={view === each}
            onClick={() => setView(each)}
          >
            {name}
          </button>
        ))}
      </div>
      <p class="tiny soft">
        {view === "all"
          ? `Columns are tokens, rows layers; in each row the ${topK} chosen experts, the largest weight on top.`
          : view === "layer"
            ? "Columns are tokens, rows experts by number; beside them how often each was taken."
            : "Columns are experts by number, rows layers."}
      </p>
      <div class={view === "layer" ? "map-with-load" : ""}>
        <HeatMap key={view} {...map} partOf={partOf} height={height} version={version} />
        {view === "layer" && <LoadBars shares={shares} height={height} />}
      </div>
      <div class="row small cell-line">
        <span role="status" class="mono">
          {map.words(map.cursor)}
        </span>
      </div>
      <HeatLegend least="weight 0" most={String(scale)} />
      {view === "all" && (
        <NumbersTable
          name="All experts"
          head={["Token", "Text", "Layer", "Experts (weights)"]}
          rows={count * layers}
          row={(i) => {
            const [token, row] = [Math.floor(i / layers), i % layers];
            const text = shownToken(record.textOf(token));
            return [formatCount(token + 1), text, known?.layers[row] ?? row, expertsOf(record, token, row)];
          }}
        />
      )}
      {view === "layer" && (
        <NumbersTable
          name="Load of the experts"
          head={["Expert", "Times", "Of the even share", "Weight now"]}
          rows={experts}
          row={(i) => {
            const weight = record.weightOfExpert(at, layer, i);
            const now = weight === 0 ? "–" : shownWeight(weight);
            return [i, formatCount(times[i]), shares[i].toFixed(2), now];
          }}
        />
      )}
      {view === "token" && (
        <NumbersTable
          name="Experts of the token"
          head={["Layer", "Experts (weights)"]}
          rows={layers}
          row={(i) => [known?.layers[i] ?? i, expertsOf(record, at, i)]}
        />
      )}
      {known === null && (
        <p class="tiny soft">
          How many experts a layer has is not known here: loads are beside those up to the largest number that
          was taken.
        </p>
      )}
    </div>
  );
}
