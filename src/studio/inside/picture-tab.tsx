/** How pictures of the prompt were cut: the whole in one view, and tiles, each with its number and what it shows. */
import { useState } from "preact/hooks";
import { formatCount, plural } from "../../text/units.ts";
import type { InsidePicture } from "../backend/wire.ts";
import { useStoredPicture } from "../chat/stored-image.tsx";

interface CutPictureProps {
  readonly number: number;
  readonly cut: InsidePicture;
  readonly hash: string;
}

function CutPicture({ number, cut, hash }: CutPictureProps) {
  const found = useStoredPicture(hash);
  const [marked, setMarked] = useState<number | null>(null);
  const { width, height, tokens, view, tiles, areas } = cut;
  const [across, down] = tiles;
  const toggle = (i: number) => setMarked(marked === i ? null : i);
  return (
    <section class="stack" aria-label={`Picture ${number}`}>
      <p class="small">
        <strong>Picture {number}</strong>, {formatCount(width)} x {formatCount(height)} pixels:{" "}
        {plural(tokens, "token")} of the prompt.{" "}
        {areas.length === 0
          ? `The model sees it in one view of ${view} x ${view} pixels.`
          : `The whole in one view of ${view} x ${view} pixels, and ${across} x ${down} tiles of that size.`}
      </p>
      {found === false && <p class="small soft">This browser keeps the picture no longer.</p>}
      {found && (
        <div class="cut-picture" style={{ aspectRatio: `${width} / ${height}` }}>
          <img src={found.url} alt={`${found.picture.name}, cut into ${plural(areas.length, "tile")}`} />
          <svg viewBox={`0 0 ${width} ${height}`} aria-hidden="true">
            {areas.map(([x1, y1, x2, y2], i) => (
              <rect
                key={i}
                class={marked === i ? "marked" : ""}
                x={x1}
                y={y1}
                width={x2 - x1}
                height={y2 - y1}
                onClick={() => toggle(i)}
              />
            ))}
          </svg>
          {areas.map(([x1, y1], i) => (
            <span
              key={i}
              class={`tile-number ${marked === i ? "marked" : ""}`}
              aria-hidden="true"
              style={{ left: `${(100 * x1) / width}%`, top: `${(100 * y1) / height}%` }}
            >
              {i + 1}
            </span>
          ))}
        </div>
      )}
      {areas.length > 0 && (
        <ol
          class="tiles"
          aria-label="Tiles, row by row"
          style={{ gridTemplateColumns: `repeat(${Math.min(4, across)}, minmax(0, 1fr))` }}
        >
          {areas.map(([x1, y1, x2, y2], i) => (
            <li key={i}>
              <button type="button" class="tile" aria-pressed={marked === i} onClick={() => toggle(i)}>
                {found && (
                  <svg viewBox={`${x1} ${y1} ${x2 - x1} ${y2 - y1}`} aria-hidden="true">
                    <image href={found.url} width={width} height={height} preserveAspectRatio="none" />
                  </svg>
                )}
                <span class="tiny">
                  <strong>{i + 1}</strong> {Math.round(x1)}, {Math.round(y1)} to {Math.round(x2)},{" "}
                  {Math.round(y2)}
                </span>
              </button>
            </li>
          ))}
        </ol>
      )}
    </section>
  );
}

interface PictureTabProps {
  readonly cuts: readonly InsidePicture[];
  /** Pictures of the prompt, in their order. */
  readonly pictures: readonly string[];
}

export function PictureTab({ cuts, pictures }: PictureTabProps) {
  if (cuts.length === 0)
    return (
      <p class="small">
        {pictures.length === 0
          ? "There was no picture in the prompt."
          : "Nothing was told of the pictures yet."}
      </p>
    );
  return (
    <div class="inside-tab">
      {cuts.map((cut, i) => (
        <CutPicture key={i} number={i + 1} cut={cut} hash={pictures[i] ?? ""} />
      ))}
    </div>
  );
}
