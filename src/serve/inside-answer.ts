/** What answers of chat and completions have under `inside`, beside `choices`, where it was asked for. */
import type { InsideEntry, InsideFigures, InsidePicture, PackedExperts } from "../engine/host/inside.ts";
import { f16ToF32 } from "../tensor/float-formats.ts";
import type { InsideNews, InsideToken } from "./studio/protocol.ts";

/** 16-bit floats have no more than five decimals that count below 1. */
const rounded = (weight: number) => Math.round(weight * 1e5) / 1e5;

function expertsBody({ topK, ids, weights }: PackedExperts): InsideToken["experts"] {
  const values = f16ToF32(weights);
  const layers = topK === 0 ? 0 : ids.length / topK;
  return Array.from({ length: layers }, (_, layer) => {
    const [begin, end] = [layer * topK, (layer + 1) * topK];
    return {
      ids: Array.from(ids.subarray(begin, end)),
      weights: Array.from(values.subarray(begin, end), rounded),
    };
  });
}

const tokenBody = ({ drafted, experts, refused, ...token }: InsideEntry): InsideToken => ({
  ...token,
  from: drafted ? "drafted" : "sampled",
  refused,
  experts: experts === null ? [] : expertsBody(experts),
});

/** What the host tells of it. */
export interface InsideParts {
  readonly inside?: readonly InsideEntry[];
  readonly pictures?: readonly InsidePicture[];
  readonly figures?: InsideFigures;
}

/** The field, for the body that it is a part of; nothing where there is no news. */
export function insideField({ inside = [], pictures, figures }: InsideParts): {
  readonly inside?: InsideNews;
} {
  if (inside.length === 0 && pictures === undefined && figures === undefined) return {};
  return {
    inside: {
      tokens: inside.map(tokenBody),
      ...(pictures === undefined ? {} : { pictures }),
      ...(figures === undefined ? {} : { figures }),
    },
  };
}
