/** What the files of a model say that the inside of its answers is held against: how many experts there are, what other caches would need. */
import { useEffect, useState } from "preact/hooks";
import { useStudio } from "../state/studio.ts";

export interface ModelFigures {
  /** Layers with experts by their numbers, and experts of each. */
  readonly experts: { readonly layers: readonly number[]; readonly routed: number } | null;
  /** Cache of a token over that of this model, for keys and values of every head, and of grouped heads; null where it is not known. */
  readonly multiHead: number | null;
  readonly groupedQuery: number | null;
}

type Report = Readonly<Record<string, unknown>>;

const numberOf = (report: Report, key: string) =>
  typeof report[key] === "number" ? (report[key] as number) : null;

export function figuresIn(report: Report): ModelFigures {
  const own = numberOf(report, "cacheBytesPerToken");
  const over = (key: string) => {
    const bytes = numberOf(report, key);
    return own === null || bytes === null || own === 0 ? null : bytes / own;
  };
  const experts = report.experts as { layers?: unknown; routed?: unknown } | null | undefined;
  const layers = Array.isArray(experts?.layers)
    ? experts.layers.filter((each) => typeof each === "number")
    : null;
  const routed = typeof experts?.routed === "number" && experts.routed <= 65_536 ? experts.routed : null;
  return {
    experts: layers === null || routed === null ? null : { layers, routed },
    multiHead: over("multiHeadCacheBytesPerToken"),
    groupedQuery: over("groupedQueryCacheBytesPerToken"),
  };
}

/** Null while it is asked for, and where the server cannot say. */
export function useModelFigures(model: string | null): ModelFigures | null {
  const { backend } = useStudio();
  const [figures, setFigures] = useState<ModelFigures | null>(null);
  useEffect(() => {
    let current = true;
    setFigures(null);
    if (model !== null)
      backend.inspect(model).then(
        ({ report }) => current && setFigures(figuresIn(report)),
        () => {},
      );
    return () => {
      current = false;
    };
  }, [model]);
  return figures;
}
