/** A curve over steps: its last values as a line over the span from least to most, so that spikes stay. Numbers are beside it. */
import { useMemo } from "preact/hooks";
import { figure } from "./curves.ts";
import { Plot, type PlotStyle, type Range } from "./plot.tsx";

export interface Curve {
  readonly least: readonly (number | null)[];
  readonly most: readonly (number | null)[];
  readonly last: readonly (number | null)[];
}

interface ChartProps {
  readonly name: string;
  readonly steps: readonly number[];
  readonly curve: Curve;
  readonly height: number;
  readonly logarithmic: boolean;
  readonly range: Range | null;
  readonly onRange: (range: Range | null) => void;
}

/** Steps below which each of them is a point. */
const FEW = 40;
const HIDDEN = { show: true, stroke: "transparent", width: 0, points: { show: false } };

/** What a logarithmic axis can show. */
export const positive = (values: readonly (number | null)[]) =>
  values.map((value) => (value !== null && value <= 0 ? null : value));

export function Chart({ name, steps, curve, height, logarithmic, range, onRange }: ChartProps) {
  const few = steps.length < FEW;
  const style = useMemo(
    (): PlotStyle => ({
      key: String(few),
      series: (color) => [
        { stroke: color("--accent"), width: 1.5, spanGaps: true, points: { show: few, size: 4 } },
        HIDDEN,
        HIDDEN,
      ],
      bands: (color) => [
        { series: [3, 2], fill: color("--accent").replace(/^rgb\((.*)\)$/, "rgba($1, 0.2)") },
      ],
    }),
    [few],
  );
  const data = useMemo(() => {
    const shown = logarithmic ? positive : (values: readonly (number | null)[]) => values;
    return [steps, shown(curve.last), shown(curve.least), shown(curve.most)];
  }, [steps, curve, logarithmic]);
  const last = figure(curve.last.findLast((value) => value !== null));
  return (
    <figure class="chart">
      <figcaption>
        <strong>{name}</strong> <span class="soft">{last}</span>
      </figcaption>
      <Plot
        label={`${name} over steps, now ${last}`}
        {...{ data, style, height, logarithmic, range, onRange }}
        group="run"
      />
    </figure>
  );
}
