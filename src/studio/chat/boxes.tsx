/** Places that an answer names, drawn over their picture in its own pixels, with a list in words. */
import { useState } from "preact/hooks";
import { plural } from "../../text/units.ts";
import type { Phrase } from "./conversation.ts";
import { useStoredPicture } from "./stored-image.tsx";

interface Place {
  readonly label: string;
  readonly x1: number;
  readonly y1: number;
  readonly x2: number;
  readonly y2: number;
}

const placesOf = (phrases: readonly Phrase[], image: number): readonly Place[] =>
  phrases
    .filter((phrase) => phrase.image === image)
    .flatMap(({ label, boxes }) => boxes.map(({ x1, y1, x2, y2 }) => ({ label, x1, y1, x2, y2 })));

const words = ({ x1, y1, x2, y2 }: Place) =>
  `${Math.round(x1)}, ${Math.round(y1)} to ${Math.round(x2)}, ${Math.round(y2)}`;

function BoxedPicture({ hash, places }: { readonly hash: string; readonly places: readonly Place[] }) {
  const found = useStoredPicture(hash);
  const [marked, setMarked] = useState<number | null>(null);
  if (!found) return null;
  const { width, height, name } = found.picture;
  const toggle = (i: number) => setMarked(marked === i ? null : i);
  return (
    <figure class="boxed">
      <div
        class="boxed-picture"
        style={{
          aspectRatio: `${width} / ${height}`,
          maxWidth: `min(100%, ${Math.max(160, Math.min(480, width * 3))}px)`,
        }}
      >
        <img
          src={found.url}
          width={width}
          height={height}
          alt={`${name}, with ${plural(places.length, "place")} marked`}
        />
        <svg viewBox={`0 0 ${width} ${height}`} aria-hidden="true">
          {places.map(({ x1, y1, x2, y2 }, i) => (
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
        {places.map((place, i) => (
          <span
            key={i}
            class={`box-label ${place.y1 / height < 0.08 ? "inside" : ""} ${marked === i ? "marked" : ""}`}
            aria-hidden="true"
            style={{ left: `${(100 * place.x1) / width}%`, top: `${(100 * place.y1) / height}%` }}
          >
            {place.label || i + 1}
          </span>
        ))}
      </div>
      <figcaption>
        <ol class="box-list">
          {places.map((place, i) => (
            <li key={i}>
              <button type="button" class="quiet" aria-pressed={marked === i} onClick={() => toggle(i)}>
                <strong>{place.label || `Place ${i + 1}`}</strong> {words(place)} px
              </button>
            </li>
          ))}
        </ol>
      </figcaption>
    </figure>
  );
}

interface BoxesProps {
  readonly phrases: readonly Phrase[];
  /** Of the conversation up to here, in the order in which the model counts them. */
  readonly pictures: readonly string[];
}

export function Boxes({ phrases, pictures }: BoxesProps) {
  const images = [...new Set(phrases.map(({ image }) => image))].filter(
    (image) => pictures[image] !== undefined,
  );
  return (
    <>
      {images.map((image) => (
        <BoxedPicture key={image} hash={pictures[image]} places={placesOf(phrases, image)} />
      ))}
    </>
  );
}
