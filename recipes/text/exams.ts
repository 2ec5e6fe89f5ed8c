/** What trained arms are asked besides their loss: lines to fill in, lines to go on with, drafts, and how evenly experts work. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Engine } from "../../src/engine/engine.ts";
import { editSimilarity } from "../../src/evaluate/edit-similarity.ts";
import { likelihood } from "../../src/evaluate/requests.ts";
import { cacheValues } from "../../src/models/memory-needs.ts";
import type { Run } from "../../src/runs/run.ts";
import { Random } from "../../src/tensor/random.ts";
import { fimPrompt } from "../../src/tokenizer/fim.ts";
import type { TextExam, TrainedArm } from "./declaration.ts";
import { meanViolation } from "./held-out.ts";

/** Streams of the numbers that holes and places are drawn from: the same for all arms and seeds. */
const [HOLE_STREAM, PLACE_STREAM] = [81, 82];
const [MOST_HOLES, MOST_PLACES, SMALL] = [300, 200, 6] as const;
/** Tokens that are written at most. */
const MOST_TOKENS = 64;
/** Of a line. */
export const LINE_TOKENS = 40;
/** Tokens before the place that a line is asked for at. */
const CONTEXT = 96;

/** The held-out documents as texts; the first and the last are parts. */
export function documentsOf({ run, heldOut }: TrainedArm): string[] {
  const { tokenizer } = run;
  const documents: string[] = [];
  let start = 0;
  heldOut.tokens.forEach((id, i) => {
    if (id !== tokenizer.specialIds.eos) return;
    documents.push(tokenizer.decode(Array.from(heldOut.tokens.subarray(start, i))));
    start = i + 1;
  });
  return documents.slice(1);
}

/** Of an arm that cannot be asked. */
export const NOTHING: Awaited<ReturnType<TextExam>> = { scores: {}, figures: {}, items: {} };

export interface Hole {
  readonly kind: "line" | "span" | "lines";
  readonly prefix: string;
  readonly middle: string;
  readonly suffix: string;
}

/** A hole of each kind in turn: one whole line, 5 to 40 characters, three lines; of documents that have room for it. */
export function holesIn(documents: readonly string[], most: number): Hole[] {
  const random = new Random(1, HOLE_STREAM);
  const holes: Hole[] = [];
  const kinds = ["line", "span", "lines"] as const;
  for (const document of documents) {
    if (holes.length === most) break;
    const kind = kinds[holes.length % kinds.length];
    const starts = [0, ...[...document.matchAll(/\n/g)].map(({ index }) => index + 1)];
    let from: number;
    let to: number;
    if (kind === "span") {
      const size = 5 + random.int(36);
      if (document.length < size + 20) continue;
      from = random.int(document.length - size);
      to = from + size;
    } else {
      const lines = kind === "line" ? 1 : 3;
      // Something stands before and after the hole.
      if (starts.length < lines + 3) continue;
      const first = 1 + random.int(starts.length - lines - 2);
      [from, to] = [starts[first], starts[first + lines] - 1];
      if (document.slice(from, to).trim().length < 3) continue;
    }
    holes.push({
      kind,
      ...{ prefix: document.slice(0, from), middle: document.slice(from, to), suffix: document.slice(to) },
    });
  }
  return holes;
}

/** With the ids of prefix and suffix as a model is asked for the middle. */
interface AskedHole extends Hole {
  readonly prompt: readonly number[];
}

/** Ids of plain text. */
export const encoded = (run: Run, text: string): number[] =>
  Array.from(run.tokenizer.encode(text, { addSpecialTokens: false, parseSpecial: false }));

export const share = (flags: readonly boolean[]) => ({
  right: flags.filter(Boolean).length,
  of: flags.length,
});

/** Greedy continuations of all prompts. */
export async function write(
  { run }: TrainedArm,
  prompts: readonly (readonly number[])[],
  maxTokens: number,
  speculative = false,
) {
  await using engine = new Engine(run.model, { maxBatch: 32, maxQueue: 1000, cacheTokens: 32_768 });
  const end = run.tokenizer.specialIds.eos!;
  const answers = await Promise.all(
    prompts.map(async (prompt) => {
      const ids: number[] = [];
      const request = { prompt: [...prompt], maxTokens, stopIds: [end], temperature: 0, speculative };
      for await (const { id } of engine.submit(request)) ids.push(id);
      const stopped = ids.at(-1) === end;
      return { text: run.tokenizer.decode(stopped ? ids.slice(0, -1) : ids), stopped };
    }),
  );
  return { answers, metrics: engine.metrics() };
}

/**
 * Mean nats of a token of the middles, and their sums by hole: read after prefix and suffix where documents were turned, else after the
 * prefix alone, all that such a model can make use of.
 */
async function middleNats({ run }: TrainedArm, holes: readonly AskedHole[]) {
  await using engine = new Engine(run.model, { maxBatch: 32, maxQueue: 1000, cacheTokens: 32_768 });
  const turned = run.config.data.fimRate > 0;
  const { signal } = new AbortController();
  const found = await Promise.all(
    holes.map(async ({ prompt: both, prefix, middle }) => {
      const prompt = turned ? both : encoded(run, prefix);
      const continuation = encoded(run, middle);
      const { logprob } = await likelihood(engine, { prompt, continuation }, { greedy: false, signal });
      return { nats: -logprob, tokens: continuation.length };
    }),
  );
  const tokens = found.reduce((sum, each) => sum + each.tokens, 0);
  // Scaled so that their mean is the mean of a token.
  const items = found.map(({ nats }) => Math.round((1e3 * nats * found.length) / tokens) / 1e3);
  return { mean: found.reduce((sum, { nats }) => sum + nats, 0) / tokens, items };
}

/** Exact middles of holes (`infill`, and by kind), how alike they are, and how many answers end. */
export const infilling: TextExam = async (trained) => {
  const { run, small } = trained;
  const { maxPositions } = run.model.config;
  const holes = holesIn(documentsOf(trained), small ? SMALL : MOST_HOLES)
    .map((hole): AskedHole => ({ ...hole, prompt: fimPrompt(run.tokenizer, hole.prefix, hole.suffix) }))
    .filter(({ prompt }) => prompt.length + MOST_TOKENS < maxPositions);
  const { answers } = await write(
    trained,
    holes.map(({ prompt }) => prompt),
    MOST_TOKENS,
  );
  const middles = await middleNats(trained, holes);
  const exact = holes.map(({ middle }, i) => answers[i].text === middle);
  const alike = holes.map(({ middle }, i) => editSimilarity(answers[i].text, middle));
  const of = (kind: Hole["kind"]) => share(exact.filter((_, i) => holes[i].kind === kind));
  return {
    scores: {
      ...{ infill: share(exact), "infill line": of("line"), "infill span": of("span") },
      ...{ "infill lines": of("lines"), "infill stops": share(answers.map(({ stopped }) => stopped)) },
    },
    figures: {
      ...{ "nats of middles": middles.mean },
      "infill similarity": alike.reduce((a, b) => a + b, 0) / alike.length,
    },
    items: { infill: exact.map(Number), "nats of middles": middles.items },
  };
};

export interface Place {
  readonly prefix: string;
  readonly line: string;
}

/** Places at the beginning of a line that says something, one of a document, with what stands before it. */
export function placesIn(documents: readonly string[], most: number): Place[] {
  const random = new Random(1, PLACE_STREAM);
  const places: Place[] = [];
  for (let turn = 0; turn < 20 && places.length < most; turn++) {
    for (const document of documents) {
      if (places.length === most) break;
      const starts = [...document.matchAll(/\n/g)].map(({ index }) => index + 1);
      if (starts.length < 6) continue;
      const at = starts[3 + random.int(starts.length - 4)];
      const line = document.slice(at).split("\n", 1)[0];
      if (line.trim().length >= 4) places.push({ prefix: document.slice(0, at), line });
    }
  }
  return places;
}

/** Held-out places with the ids that stand before them. */
function askedPlaces(trained: TrainedArm) {
  const places = placesIn(documentsOf(trained), trained.small ? SMALL : MOST_PLACES);
  const prompts = places.map(({ prefix }) => encoded(trained.run, prefix).slice(-CONTEXT));
  return { places, prompts };
}

/** The next line of held-out places, exact but for spaces at its ends. */
export const nextLine: TextExam = async (trained) => {
  const { places, prompts } = askedPlaces(trained);
  const { answers } = await write(trained, prompts, LINE_TOKENS);
  const exact = places.map(({ line }, i) => answers[i].text.split("\n", 1)[0].trim() === line.trim());
  return { scores: { "next line": share(exact) }, figures: {}, items: { "next line": exact.map(Number) } };
};

/** How many of the prediction module's drafts the main model keeps, greedily; nothing without a trained module. */
export const drafts: TextExam = async (trained) => {
  const { run } = trained;
  const { mtpLayers } = run.model.config;
  if (mtpLayers === 0 || run.config.training.mtpWeight === 0) return NOTHING;
  const { prompts } = askedPlaces(trained);
  const { metrics } = await write(trained, prompts, LINE_TOKENS, true);
  return {
    scores: { "drafts kept": { right: metrics.acceptedTokens, of: metrics.draftedTokens } },
    figures: {},
    items: {},
  };
};

/** The last part of a training, over which batches are looked at. */
const LAST = 0.2;

/** MaxVio as papers have it, the mean over layers: over the held-out text, and of batches at the end of training. */
export const balance: TextExam = async ({ run, heldOut }) => {
  if (heldOut.loads.length === 0) return NOTHING;
  const lines = (await readFile(join(run.folder, "metrics.jsonl"), "utf8"))
    .split("\n")
    .filter((line) => line !== "");
  const steps = lines
    .map((line) => JSON.parse(line) as { kind: string; experts?: { counts: number[] }[] })
    .filter(({ kind, experts = [] }) => kind === "step" && experts.length > 0);
  const last = steps.slice(-Math.ceil(LAST * steps.length));
  const batches = last.map(({ experts = [] }) => meanViolation(experts.map(({ counts }) => counts)));
  const idle = heldOut.loads.flat().filter((count) => count === 0).length;
  return {
    scores: {},
    figures: {
      "MaxVio held out": meanViolation(heldOut.loads),
      "MaxVio batches": batches.reduce((a, b) => a + b, 0) / batches.length,
      "experts never used": idle,
    },
    items: {},
  };
};

/** Values that a token adds to the cache in each layer, and the loss where a sequence has half of its context behind it. */
export const context: TextExam = async ({ run, heldOut }) => {
  const { sequenceLength: length } = run.config.training;
  const late = heldOut.nats.filter((_, i) => i % length >= length / 2);
  const { config } = run.model;
  return {
    scores: {},
    figures: {
      "cache values": cacheValues(config).own / config.layers,
      "loss in second halves": late.reduce((a, b) => a + b, 0) / late.length,
    },
    items: {},
  };
};
