/** Load of the experts of a layer over time: a column for each bin of steps, a row for each expert, lighter where more tokens went. */
import { useEffect, useRef, useState } from "preact/hooks";

/** Blue to yellow, lightness rising throughout, so that it works in grays too. */
const STOPS = [
  [18, 24, 60],
  [38, 80, 140],
  [40, 140, 150],
  [120, 195, 110],
  [250, 235, 120],
] as const;
/** Shares of the even load: what is above is drawn as this. */
const MOST = 2.5;

function colorAt(share: number): readonly [number, number, number] {
  const at = (Math.min(MOST, Math.max(0, share)) / MOST) * (STOPS.length - 1);
  const low = Math.min(STOPS.length - 2, Math.floor(at));
  const part = at - low;
  return [0, 1, 2].map((i) =>
    Math.round(STOPS[low][i] * (1 - part) + STOPS[low + 1][i] * part),
  ) as unknown as [number, number, number];
}

interface LoadProps {
  readonly steps: readonly number[];
  /** `[bins][layers][experts]`, shares of the even load. */
  readonly loads: readonly (readonly (readonly number[])[])[];
}

export function ExpertLoad({ steps, loads }: LoadProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [layer, setLayer] = useState(0);
  const [at, setAt] = useState<readonly [bin: number, expert: number] | null>(null);
  const layers = loads[0]?.length ?? 0;
  const experts = loads[0]?.[layer]?.length ?? 0;
  useEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (!context || experts === 0) return;
    const image = context.createImageData(loads.length, experts);
    loads.forEach((bin, x) => {
      bin[layer]?.forEach((share, y) => {
        image.data.set([...colorAt(share), 255], 4 * (y * loads.length + x));
      });
    });
    context.putImageData(image, 0, 0);
  }, [loads, layer, experts]);
  if (layers === 0 || experts === 0) return null;
  const cell = at && loads[at[0]]?.[layer]?.[at[1]];
  const words =
    at === null || cell == null
      ? "Arrows move over the map."
      : `Step ${steps[Math.min(steps.length - 1, Math.round((at[0] / Math.max(1, loads.length - 1)) * (steps.length - 1)))]}, expert ${at[1] + 1}: ${cell.toFixed(2)} of the even load`;
  const move = (x: number, y: number) => {
    const [bin, expert] = at ?? [loads.length - 1, 0];
    setAt([Math.min(loads.length - 1, Math.max(0, bin + x)), Math.min(experts - 1, Math.max(0, expert + y))]);
  };
  const largest = Math.max(...loads.at(-1)!.map((each) => Math.max(...each) - 1));
  return (
    <section class="card stack" aria-label="Load of the experts">
      <div class="row">
        <h2>Load of the experts</h2>
        {layers > 1 && (
          <label class="row">
            Layer
            <select
              class="field"
              value={layer}
              onChange={(event) => setLayer(Number(event.currentTarget.value))}
            >
              {Array.from({ length: layers }, (_, i) => (
                <option key={i} value={i}>
                  {i + 1}
                </option>
              ))}
            </select>
          </label>
        )}
        <span class="small soft">Largest violation now: {(100 * largest).toFixed(0)}%</span>
      </div>
      <canvas
        ref={canvas}
        class="heat"
        width={loads.length}
        height={experts}
        tabIndex={0}
        role="img"
        aria-label={`Load of ${experts} experts over ${loads.length} times. ${words}`}
        style={{ height: `${Math.max(80, Math.min(320, experts * 14))}px` }}
        onPointerMove={(event) => {
          const { left, top, width, height } = event.currentTarget.getBoundingClientRect();
          setAt([
            Math.min(loads.length - 1, Math.floor(((event.clientX - left) / width) * loads.length)),
            Math.min(experts - 1, Math.floor(((event.clientY - top) / height) * experts)),
          ]);
        }}
        onKeyDown={(event) => {
          const step = (
            { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] } as Record<
              string,
              readonly [number, number]
            >
          )[event.key];
          if (!step) return;
          event.preventDefault();
          move(...step);
        }}
      />
      <div class="row small">
        <span class="soft" role="status">
          {words}
        </span>
        <span class="legend">
          0
          <span class="legend-scale" aria-hidden="true">
            {Array.from({ length: 24 }, (_, i) => (
              <i key={i} style={{ background: `rgb(${colorAt((MOST * i) / 23).join()})` }} />
            ))}
          </span>
          {MOST} times the even load
        </span>
      </div>
    </section>
  );
}
