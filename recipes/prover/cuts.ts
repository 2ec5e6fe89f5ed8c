/** Proofs with Lean's own tactic states between their tactics: what examples with states are made of. */
import { renamed } from "../../src/prove/corpus/automation-run.ts";
import { corpusItem } from "../../src/prove/corpus/sample.ts";
import type { CheckAnswer, LeanSession } from "../../src/prove/lean/session.ts";
import { concurrently } from "../../src/prove/pipeline/sides.ts";
import { type Segment, segment } from "../../src/prove/text/segments.ts";
import { type ProofBlock, proofBlocks } from "../../src/prove/train/blocks.ts";

export interface CheckableProof {
  readonly preamble: string;
  /** `theorem … := by` and a line end. */
  readonly statement: string;
  readonly proof: string;
}

export interface ProofCuts extends CheckableProof {
  readonly segments: readonly Pick<Segment, "code" | "comment">[];
  readonly blocks: readonly ProofBlock[];
}

/** Theorems of one check: twenty in one file cost Lean a tenth of as many checks. */
const TOGETHER = 20;
const LIMIT = 120_000;

/** The cuts of each proof, in order; null for one that Lean does not accept alone. @throws the signal's reason */
export async function cutProofs(
  lean: LeanSession,
  proofs: readonly CheckableProof[],
  signal?: AbortSignal,
): Promise<(ProofCuts | null)[]> {
  const results = new Array<ProofCuts | null>(proofs.length).fill(null);
  const byPreamble = new Map<string, number[]>();
  for (const [i, { preamble }] of proofs.entries()) {
    byPreamble.set(preamble, [...(byPreamble.get(preamble) ?? []), i]);
  }
  const pieces = [...byPreamble.values()].flatMap((all) =>
    Array.from({ length: Math.ceil(all.length / TOGETHER) }, (_, k) =>
      all.slice(k * TOGETHER, (k + 1) * TOGETHER),
    ),
  );
  await concurrently(lean.slots, pieces, async (piece) => {
    const found = await cutTogether(
      lean,
      piece.map((i) => proofs[i]),
      signal,
    );
    for (const [k, i] of piece.entries()) results[i] = found[k];
  });
  return results;
}

/** Proofs below the same definitions in one file; where Lean does not finish it, in two. */
async function cutTogether(
  lean: LeanSession,
  proofs: readonly CheckableProof[],
  signal?: AbortSignal,
): Promise<(ProofCuts | null)[]> {
  const { preamble } = proofs[0];
  const heads = proofs.map(({ statement }, k) => renamed(statement, `case${k}`));
  const texts = proofs.map(({ proof }, k) => `${heads[k]}${proof.trimEnd()}\n`);
  const answer = await lean.check(
    { ...(preamble !== "" && { preamble, trustedPreamble: true }), code: texts.join("") },
    { steps: true, timeout: LIMIT, signal },
  );
  if (answer.failure !== null || answer.refused !== null) {
    if (proofs.length === 1) return [null];
    const half = proofs.length >> 1;
    return [
      ...(await cutTogether(lean, proofs.slice(0, half), signal)),
      ...(await cutTogether(lean, proofs.slice(half), signal)),
    ];
  }
  let from = 0;
  return proofs.map((proof, k): ProofCuts | null => {
    const [text, start] = [texts[k], heads[k].length];
    const own = partOf(answer, from, from + text.length);
    from += text.length;
    if (!own.complete) return null;
    const segments = segment(text, start, own).map(({ code, comment }) => ({ code, comment }));
    return { ...proof, segments, blocks: proofBlocks(text, start, own.steps) };
  });
}

/** What an answer that came to its end says of a part of the text, with the indices of the part. */
function partOf(answer: CheckAnswer, from: number, to: number): CheckAnswer {
  const within = ({ start }: { readonly start: { readonly index: number } }) =>
    start.index >= from && start.index < to;
  const moved = <T extends { readonly index: number }>(place: T): T => ({
    ...place,
    index: place.index - from,
  });
  const messages = answer.messages.filter(within);
  const sorries = answer.sorries.filter(within);
  return {
    ...answer,
    complete: sorries.length === 0 && messages.every(({ severity }) => severity !== "error"),
    // Of an accepted proof nothing else is read.
    messages: [],
    sorries: [],
    steps: answer.steps
      .filter(within)
      .map((step) => ({ ...step, start: moved(step.start), end: moved(step.end) })),
  };
}

/** Items from here on, apart from those that whole proofs are taken from. */
const FIRST = 2 ** 21;
const PIECE = 200;

/** The cuts of `count` scripted proofs of levels 1 and 2, the same for all seeds. @throws the signal's reason */
export async function scriptedCuts(
  lean: LeanSession,
  count: number,
  { signal, print }: { readonly signal?: AbortSignal; readonly print?: (line: string) => void } = {},
): Promise<readonly ProofCuts[]> {
  const cuts: ProofCuts[] = [];
  for (let index = FIRST; cuts.length < count; ) {
    const proofs: CheckableProof[] = [];
    while (proofs.length < Math.min(PIECE, count - cuts.length)) {
      const { preamble, statement, proof } = corpusItem({ seed: 1, levels: [40, 60, 0] }, index++);
      if (proof !== null) proofs.push({ preamble, statement, proof });
    }
    const found = (await cutProofs(lean, proofs, signal)).filter((each) => each !== null);
    if (found.length === 0) throw new Error(`Lean accepts none of ${proofs.length} scripted proofs`);
    cuts.push(...found);
    print?.(`states of ${cuts.length} of ${count} proofs`);
  }
  return cuts;
}
