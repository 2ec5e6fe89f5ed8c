/**
 * A map of cells as a canvas of one pixel for each, with a window over columns that are too many, and a cursor: arrows, Home and End move
 * it, + and - change the size of columns, Enter picks, and what it is on is told.
 */
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { formatCount } from "../../text/units.ts";

/** Dark blue to yellow, lightness rising throughout, so that it works in grays too. */
const STOPS = [
  [32, 38, 92],
  [38, 86, 148],
  [40, 144, 150],
  [122, 196, 110],
  [250, 232, 110],
] as const;

/** @param part from 0 to 1 */
export function colorAt(part: number): readonly [number, number, number] {
  const at = Math.min(1, Math.max(0, part)) * (STOPS.length - 1);
  const low = Math.min(STOPS.length - 2, Math.floor(at));
  const rest = at - low;
  const mixed = STOPS[low].map((value, i) => Math.round(value * (1 - rest) + STOPS[low + 1][i] * rest));
  return mixed as unknown as [number, number, number];
}

/** Widths of a column, in pixels. */
const SIZES = [2, 4, 6, 9, 14, 20];
/** Columns that are shown before the cursor, where it is not at the end. */
const BEFORE = 6;

export interface Cell {
  readonly column: number;
  readonly row: number;
}

interface HeatMapProps {
  readonly name: string;
  /** What columns are: tokens, experts. */
  readonly columnsAre: string;
  readonly columns: number;
  readonly rows: number;
  /** Lines of pixels of a row, for what stands in it one below the other. */
  readonly bands: number;
  /** From 0 to 1; negative for nothing. */
  readonly partOf: (column: number, row: number, band: number) => number;
  readonly cursor: Cell;
  readonly words: (cell: Cell) => string;
  readonly onMove: (cell: Cell) => void;
  readonly onPick: (cell: Cell) => void;
  /** Pixels. */
  readonly height: number;
  /** Rises when cells changed. */
  readonly version: number;
}

const LUT = Uint8Array.from({ length: 256 * 3 }, (_, i) => colorAt(Math.floor(i / 3) / 255)[i % 3]);

export function HeatMap(props: HeatMapProps) {
  const { name, columnsAre, columns, rows, bands, partOf, cursor, words, onMove, onPick, height, version } =
    props;
  const canvas = useRef<HTMLCanvasElement>(null);
  const box = useRef<HTMLDivElement>(null);
  const [size, setSize] = useState(3);
  const [width, setWidth] = useState(380);
  const [start, setStart] = useState<number | null>(
    cursor.column >= columns - 1 ? null : Math.max(0, cursor.column - BEFORE),
  );
  const seen = Math.max(1, Math.floor(width / SIZES[size]));
  const most = Math.max(0, columns - seen);
  // Without a place of its own the window follows the newest column.
  const first = start === null ? most : Math.min(start, most);
  useEffect(() => {
    const watch = new ResizeObserver(([{ contentRect }]) => setWidth(contentRect.width));
    watch.observe(box.current!);
    return () => watch.disconnect();
  }, []);
  useLayoutEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (!context) return;
    const lines = rows * bands;
    const image = context.createImageData(seen, Math.max(1, lines));
    for (let x = 0; x < Math.min(seen, columns - first); x++) {
      for (let line = 0; line < lines; line++) {
        const part = partOf(first + x, Math.floor(line / bands), line % bands);
        if (part < 0) continue;
        const shade = 3 * Math.round(255 * Math.min(1, part));
        const at = 4 * (line * seen + x);
        image.data[at] = LUT[shade];
        image.data[at + 1] = LUT[shade + 1];
        image.data[at + 2] = LUT[shade + 2];
        image.data[at + 3] = 255;
      }
    }
    context.putImageData(image, 0, 0);
  }, [version, first, seen, columns, rows, bands, partOf]);
  const show = (column: number) => {
    if (column < first) setStart(column);
    else if (column >= first + seen) setStart(column - seen + 1 >= most ? null : column - seen + 1);
    else if (start === null && column < columns - 1) setStart(first);
  };
  const move = (column: number, row: number) => {
    const next = {
      column: Math.min(columns - 1, Math.max(0, column)),
      row: Math.min(rows - 1, Math.max(0, row)),
    };
    show(next.column);
    onMove(next);
  };
  const zoom = (step: number) => setSize(Math.min(SIZES.length - 1, Math.max(0, size + step)));
  const cellAt = (event: PointerEvent | MouseEvent): Cell | null => {
    const area = canvas.current!.getBoundingClientRect();
    const column = first + Math.floor((event.clientX - area.left) / SIZES[size]);
    const row = Math.floor(((event.clientY - area.top) / area.height) * rows);
    return column >= columns || row < 0 || row >= rows ? null : { column, row };
  };
  const { column, row } = cursor;
  const inView = column >= first && column < first + seen;
  const rowHeight = height / Math.max(1, rows);
  return (
    <div class="heat-map">
      <div
        ref={box}
        class="heat-map-box"
        style={{ height: `${height}px` }}
        tabIndex={0}
        role="application"
        aria-roledescription="map"
        aria-label={`${name}. ${words(cursor)}`}
        onClick={(event) => {
          const cell = cellAt(event);
          if (cell) move(cell.column, cell.row);
        }}
        onDblClick={(event) => {
          const cell = cellAt(event);
          if (cell) onPick(cell);
        }}
        onKeyDown={(event) => {
          if (event.ctrlKey || event.metaKey || event.altKey) return;
          const acts: Record<string, () => void> = {
            ArrowLeft: () => move(column - 1, row),
            ArrowRight: () => move(column + 1, row),
            ArrowUp: () => move(column, row - 1),
            ArrowDown: () => move(column, row + 1),
            Home: () => move(0, row),
            End: () => move(columns - 1, row),
            Enter: () => onPick(cursor),
            "+": () => zoom(1),
            "-": () => zoom(-1),
          };
          const act = acts[event.key];
          if (!act) return;
          event.preventDefault();
          act();
        }}
      >
        <canvas
          ref={canvas}
          width={seen}
          height={Math.max(1, rows * bands)}
          style={{ width: `${seen * SIZES[size]}px`, height: `${height}px` }}
        />
        {inView && (
          <>
            <span
              class="heat-cursor across"
              style={{ top: `${row * rowHeight}px`, height: `${rowHeight}px` }}
              aria-hidden="true"
            />
            <span
              class="heat-cursor down"
              style={{ left: `${(column - first) * SIZES[size]}px`, width: `${SIZES[size]}px` }}
              aria-hidden="true"
            />
          </>
        )}
      </div>
      <div class="row small heat-window">
        <input
          type="range"
          aria-label={`First of the ${columnsAre} that are shown`}
          min={0}
          max={most}
          value={first}
          disabled={most === 0}
          onInput={(event) => {
            const value = Number(event.currentTarget.value);
            setStart(value >= most ? null : value);
          }}
        />
        <span class="soft">
          {formatCount(columns === 0 ? 0 : first + 1)} to {formatCount(Math.min(columns, first + seen))} of{" "}
          {formatCount(columns)}
        </span>
        <button
          type="button"
          class="quiet"
          aria-label="Narrower columns"
          title="Narrower columns (-)"
          disabled={size === 0}
          onClick={() => zoom(-1)}
        >
          −
        </button>
        <button
          type="button"
          class="quiet"
          aria-label="Wider columns"
          title="Wider columns (+)"
          disabled={size === SIZES.length - 1}
          onClick={() => zoom(1)}
        >
          +
        </button>
      </div>
    </div>
  );
}

export function HeatLegend({ least, most }: { readonly least: string; readonly most: string }) {
  return (
    <span class="heat-legend tiny">
      {least}
      <span class="heat-scale" aria-hidden="true">
        {Array.from({ length: 24 }, (_, i) => (
          <i key={i} style={{ background: `rgb(${colorAt(i / 23).join()})` }} />
        ))}
      </span>
      {most}
    </span>
  );
}
