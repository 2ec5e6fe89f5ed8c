/** A chart of lines over steps: theme, size, the steps that are shown, and the cursor that all charts of a view share. */
import { effect } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { formatCount } from "../../text/units.ts";
import { theme } from "../state/preferences.ts";
import { figure } from "./curves.ts";

export type Range = readonly [from: number, to: number];

/** What a custom property of color is now. */
export type ColorOf = (name: string) => string;

/** How the lines are drawn; the chart is made anew where `key` changes. */
export interface PlotStyle {
  readonly key: string;
  readonly series: (color: ColorOf) => uPlot.Series[];
  readonly bands?: (color: ColorOf) => uPlot.Band[];
}

interface PlotProps {
  readonly label: string;
  /** Steps, and values of each line. */
  readonly data: readonly (readonly (number | null)[])[];
  readonly style: PlotStyle;
  readonly height: number;
  readonly logarithmic: boolean;
  /** Steps that are shown; null for all. */
  readonly range: Range | null;
  readonly onRange: (range: Range | null) => void;
  /** Charts of one name share the cursor. */
  readonly group: string;
  /** Told the step under the pointer. */
  readonly onStep?: (step: number | null) => void;
}

function colorOf(element: HTMLElement, name: string): string {
  element.style.color = `var(${name})`;
  const { color } = getComputedStyle(element);
  element.style.color = "";
  return color;
}

/** How many of `all` charts are made: one in each frame, so that the first is there soon and the page answers meanwhile. */
export function useOneByOne(all: number): number {
  const [made, setMade] = useState(1);
  useEffect(() => {
    if (made >= all) return;
    const frame = requestAnimationFrame(() => setMade(made + 1));
    return () => cancelAnimationFrame(frame);
  }, [made, all]);
  return Math.min(made, all);
}

export function Plot(props: PlotProps) {
  const { label, data, style, height, logarithmic, range, group } = props;
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const latest = useRef(props);
  latest.current = props;
  useEffect(() => {
    const element = place.current!;
    const make = () => {
      chart.current?.destroy();
      const color: ColorOf = (name) => colorOf(element, name);
      const [soft, line] = [color("--text-soft"), color("--line")];
      const axis = {
        stroke: soft,
        grid: { stroke: line, width: 1 },
        ticks: { stroke: line, width: 1 },
        font: "12px system-ui",
      };
      const made = new uPlot(
        {
          width: element.clientWidth,
          height,
          legend: { show: false },
          cursor: { sync: { key: group }, drag: { x: true, y: false, setScale: false } },
          scales: { x: { time: false }, y: { distr: logarithmic ? 3 : 1 } },
          axes: [
            { ...axis, values: (_, values) => values.map((value) => formatCount(value)) },
            {
              ...axis,
              size: 62,
              values: (_, values) => values.map((value) => (value === null ? "" : figure(value))),
            },
          ],
          series: [{}, ...latest.current.style.series(color)],
          bands: latest.current.style.bands?.(color),
          hooks: {
            setSelect: [
              (self) => {
                const { left, width } = self.select;
                if (width > 4) {
                  latest.current.onRange([self.posToVal(left, "x"), self.posToVal(left + width, "x")]);
                }
                self.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
              },
            ],
            setCursor: [
              (self) => {
                const { idx } = self.cursor;
                latest.current.onStep?.(idx == null ? null : (self.data[0][idx] ?? null));
              },
            ],
          },
        },
        latest.current.data as unknown as uPlot.AlignedData,
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
    const resized = new ResizeObserver(() => {
      const now = chart.current;
      // It also tells the size at which the chart was made.
      if (now !== null && now.width !== element.clientWidth) {
        now.setSize({ width: element.clientWidth, height });
      }
    });
    resized.observe(element);
    return () => {
      stop();
      dark.removeEventListener("change", make);
      resized.disconnect();
      chart.current?.destroy();
      chart.current = null;
    };
  }, [height, logarithmic, group, style.key]);
  useEffect(() => {
    const now = chart.current!;
    now.setData(data as unknown as uPlot.AlignedData, false);
    const [steps] = data;
    const [from, to] = range ?? [steps[0] ?? 0, steps.at(-1) ?? 1];
    now.setScale("x", { min: from!, max: Math.max(to!, from! + 1) });
  }, [data, range, height, logarithmic, group, style.key]);
  return <div ref={place} role="img" aria-label={label} />;
}
