/** A curve over steps: its last values as a line over the span from least to most, so that spikes stay. Numbers are beside it. */
import { effect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { formatCount } from "../../text/units.ts";
import { theme } from "../state/preferences.ts";

export interface Curve {
  readonly least: readonly (number | null)[];
  readonly most: readonly (number | null)[];
  readonly last: readonly (number | null)[];
}

export type Range = readonly [from: number, to: number];

interface ChartProps {
  readonly name: string;
  readonly steps: readonly number[];
  readonly curve: Curve;
  readonly height: number;
  readonly logarithmic: boolean;
  /** Steps that are shown; null for all. */
  readonly range: Range | null;
  readonly onRange: (range: Range | null) => void;
}

/** What a custom property of color is now. */
function colorOf(element: HTMLElement, name: string): string {
  element.style.color = `var(${name})`;
  const { color } = getComputedStyle(element);
  element.style.color = "";
  return color;
}

/** A number with four digits that count. */
export function figure(value: number | null | undefined): string {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return value.toExponential(2);
  return size >= 1000 ? formatCount(value) : String(Number(value.toPrecision(4)));
}

export function Chart({ name, steps, curve, height, logarithmic, range, onRange }: ChartProps) {
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const picked = useRef(onRange);
  picked.current = onRange;
  const positive = (values: readonly (number | null)[]) =>
    values.map((value) => (logarithmic && value !== null && value <= 0 ? null : value));
  const data = [
    steps,
    positive(curve.last),
    positive(curve.least),
    positive(curve.most),
  ] as unknown as uPlot.AlignedData;
  const latest = useRef(data);
  latest.current = data;
  useEffect(() => {
    const element = place.current!;
    const make = () => {
      chart.current?.destroy();
      const [accent, soft, line] = ["--accent", "--text-soft", "--line"].map((each) =>
        colorOf(element, each),
      );
      const axis = {
        stroke: soft,
        grid: { stroke: line, width: 1 },
        ticks: { stroke: line, width: 1 },
        font: "12px system-ui",
      };
      const none = { show: true, stroke: "transparent", width: 0, points: { show: false } };
      const made = new uPlot(
        {
          width: element.clientWidth,
          height,
          legend: { show: false },
          cursor: { sync: { key: "run" }, drag: { x: true, y: false, setScale: false } },
          scales: { x: { time: false }, y: { distr: logarithmic ? 3 : 1 } },
          axes: [
            { ...axis, values: (_, values) => values.map((value) => formatCount(value)) },
            {
              ...axis,
              size: 62,
              values: (_, values) => values.map((value) => (value === null ? "" : figure(value))),
            },
          ],
          series: [
            {},
            { stroke: accent, width: 1.5, spanGaps: true, points: { show: steps.length < 40, size: 4 } },
            none,
            none,
          ],
          bands: [{ series: [3, 2], fill: accent.replace(/^rgb\((.*)\)$/, "rgba($1, 0.2)") }],
          hooks: {
            setSelect: [
              (self) => {
                const { left, width } = self.select;
                if (width > 4) picked.current([self.posToVal(left, "x"), self.posToVal(left + width, "x")]);
                self.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
              },
            ],
          },
        },
        latest.current,
        element,
      );
      made.root.querySelector("canvas")?.setAttribute("aria-hidden", "true");
      chart.current = made;
    };
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", make);
    const stop = effect(() => {
      theme.value;
      make();
    });
    const resized = new ResizeObserver(() => chart.current?.setSize({ width: element.clientWidth, height }));
    resized.observe(element);
    return () => {
      stop();
      dark.removeEventListener("change", make);
      resized.disconnect();
      chart.current?.destroy();
      chart.current = null;
    };
  }, [height, logarithmic]);
  useEffect(() => {
    const now = chart.current!;
    now.setData(data, false);
    const [from, to] = range ?? [steps[0] ?? 0, steps.at(-1) ?? 1];
    now.setScale("x", { min: from, max: Math.max(to, from + 1) });
  }, [steps, curve, range, logarithmic]);
  const last = curve.last.findLast((value) => value !== null);
  return (
    <figure class="chart">
      <figcaption>
        <strong>{name}</strong> <span class="soft">{figure(last)}</span>
      </figcaption>
      <div ref={place} role="img" aria-label={`${name} over steps, now ${figure(last)}`} />
    </figure>
  );
}
