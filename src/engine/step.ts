/**
 * One step of generation for one or many sequences: a single pass of the model reads the next tokens of all of them,
 * one each while they are decoding, a chunk each while prompts are read, and every sequence that has read all its
 * tokens gets its next one. Sequences that draft read a drafted token beside it (see `speculative.ts`).
 *
 * The passes run outside the caller's scopes and tape, so that other work on the device may go on between steps.
 */
import type { TokenModel } from "../models/token-model.ts";
import type { MlaForm, Segment } from "../nn/context.ts";
import type { RouterOutput } from "../nn/moe.ts";
import { joinRows } from "../nn/segments.ts";
import { copyRows } from "../tensor/ops/memory.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { ExpertReport } from "./expert-report.ts";
import type { Guest, GuestRows } from "./guests.ts";
import { rowsOfLogits } from "./prompt-scores.ts";
import { type Candidates, LogitsError, type SamplingBuffers } from "./sampling.ts";
import type { EmbeddedRows, Sequence } from "./sequence.ts";
import { verify } from "./speculative.ts";
import type { GeneratedToken, TokenInside } from "./token-sampler.ts";

/** The number of tokens that a sequence processes in a step, at most those not yet processed. */
export interface ScheduledTokens {
  readonly sequence: Sequence;
  readonly tokens: number;
}

export interface StepOptions {
  /** Form of latent attention; default "auto". */
  readonly mlaForm?: MlaForm;
  /** Memory for distributions, the same in every step. */
  readonly buffers?: SamplingBuffers;
  /**
   * Asked before each layer: a promise to wait for, or null. What it throws ends the step and leaves the caches as they
   * were. The sequences must not be disposed of at that time.
   */
  readonly between?: () => Promise<void> | null;
  /** Others whose rows join the pass. */
  readonly guests?: readonly Guest[];
}

/** The outcome of a sequence in a step. */
export interface Outcome {
  readonly sequence: Sequence;
  /** The tokens decided, none to two; also before an error. */
  readonly tokens: readonly GeneratedToken[];
  /** What choosing a token threw; it concerns this sequence only. */
  readonly error?: unknown;
}

interface Draft {
  readonly distribution: Candidates;
  readonly id: number;
}

/** Whether the last token is about to be chosen: there is nothing to draft any more. */
function ending({ unread, remaining }: Sequence): boolean {
  return unread === 1 && remaining < 2;
}

/** Whether the module can draft for the sequence now. */
function draftsNext(sequence: Sequence): boolean {
  const { pending, unread, generatedTokens } = sequence;
  return pending !== null && unread === 1 && generatedTokens > 0 && !ending(sequence);
}

/** What a pass reads: ids `[1, N]`; if embeddings are among them, the embeddings of all, `[1, N, d]`. */
function inputOf(model: TokenModel, ids: readonly number[], embedded: readonly EmbeddedRows[]): Tensor {
  const input = model.ids([ids]);
  if (embedded.length === 0) return input;
  const y = model.embed(input); // [1, N, d]
  for (const { rows, at } of embedded) {
    copyRows(rows, y, 1, rows.size, rows.size, rows.size, 0, at * y.shape[2]);
  }
  return y;
}

/** Gives the module the states that wait for it; the logits of the last of each sequence that drafts, `[n, V]`. */
function feedModule(model: TokenModel, feeding: readonly Sequence[], mlaForm: MlaForm): Tensor {
  return model.device.inference(() => {
    const { device } = model;
    const states = joinRows(feeding.map(({ pending }) => pending!.view([1, ...pending!.shape]))); // [1, n, d]
    const next: number[] = [];
    const embedded: EmbeddedRows[] = [];
    const last: number[] = [];
    const segments = feeding.map((sequence) => {
      const cache = sequence.draftCache!;
      const tokens = sequence.pending!.shape[0];
      const [from, to] = [cache.length + 1, cache.length + 1 + tokens];
      embedded.push(...sequence.embeddedRows(from, to, next.length));
      next.push(...sequence.tokens.slice(from, to));
      if (draftsNext(sequence)) last.push(next.length - 1);
      return { cache, tokens };
    });
    const { normed } = model.mtp(states, inputOf(model, next, embedded), { segments, mlaForm });
    return last.length === 0 ? device.empty([0, 0]) : model.logits(model.rows(normed, last)); // [n, V]
  });
}

/** A drafted token for every sequence that can use one; what choosing it threw goes to `failed`. */
async function draft(
  model: TokenModel,
  sequences: readonly Sequence[],
  mlaForm: MlaForm,
  buffers: SamplingBuffers | undefined,
  failed: Map<Sequence, unknown>,
): Promise<Map<Sequence, Draft>> {
  const drafts = new Map<Sequence, Draft>();
  const feeding = sequences.filter((sequence) => sequence.pending !== null && !ending(sequence));
  if (feeding.length === 0) return drafts;
  const drafting = feeding.filter(draftsNext);
  using output = feedModule(model, feeding, mlaForm);
  for (const sequence of feeding) {
    sequence.pending?.dispose();
    sequence.pending = null;
  }
  if (drafting.length === 0) return drafts;
  const logits = await rowsOfLogits(output);
  drafting.forEach((sequence, i) => {
    try {
      const { ids, probabilities } = sequence.sampler.distribution(logits[i], buffers);
      // It is needed beside the main model's.
      const distribution = { ids: ids.slice(), probabilities: probabilities.slice() };
      drafts.set(sequence, { distribution, id: sequence.sampler.draw(distribution) });
    } catch (error) {
      failed.set(sequence, error);
    }
  });
  return drafts;
}

interface Placed extends ScheduledTokens {
  readonly draft: Draft | null;
  /** Position of the first token. */
  readonly start: number;
  /** Its row. */
  readonly row: number;
  /** Rows at the end whose logits are needed. */
  readonly wanted: number;
  /** Of the rows that score the prompt: the first, and their number. */
  readonly scored: { readonly first: number; readonly rows: number };
}

const NONE = { first: 0, rows: 0 };

/** A guest in a pass. */
interface Visit {
  readonly guest: Guest;
  readonly rows: GuestRows;
  /** Its first row. */
  readonly row: number;
}

function visitsOf(guests: readonly Guest[]): Visit[] {
  let row = 0;
  return guests.flatMap((guest) => {
    const rows = guest.rows();
    if (rows === null) return [];
    const visit = { guest, rows, row };
    row += rows.ids.length;
    return [visit];
  });
}

/** What one pass of the main model is over: guests first, whose rows are mostly as short as those of decoding sequences. */
interface Pass {
  readonly visits: readonly Visit[];
  readonly placed: readonly Placed[];
}

interface Contents {
  readonly ids: readonly number[];
  readonly segments: readonly Segment[];
  /** Rows of sequences whose logits are wanted. */
  readonly wanted: readonly number[];
  /** Of all rows; absent where each goes on from what its cache holds. */
  readonly positions?: readonly number[];
}

/** Positions that go on from what caches hold. */
const following = (segments: readonly Segment[]) =>
  segments.flatMap(({ cache, tokens }) => Array.from({ length: tokens }, (_, i) => cache.length + i));

/** All scheduled tokens. */
function contentsOf({ visits, placed }: Pass): Contents {
  const ids = visits.flatMap(({ rows }) => rows.ids);
  const wanted: number[] = [];
  const own = placed.map(({ sequence, tokens, draft, wanted: rows }) => {
    const { cache } = sequence;
    ids.push(...sequence.tokens.slice(cache.length, cache.length + tokens));
    if (draft) ids.push(draft.id);
    for (let i = rows; i > 0; i--) wanted.push(ids.length - i);
    return { cache, tokens: tokens + (draft ? 1 : 0) };
  });
  const segments = [...visits.flatMap(({ rows }) => rows.segments), ...own];
  if (visits.every(({ rows }) => rows.positions === undefined)) return { ids, segments, wanted };
  const given = visits.flatMap(({ rows }) => rows.positions ?? following(rows.segments));
  return { ids, segments, wanted, positions: [...given, ...following(own)] };
}

/** The embeddings that a pass reads in place of ids. */
function embeddedIn({ visits, placed }: Pass): EmbeddedRows[] {
  return [
    ...visits.flatMap(({ rows, row }) =>
      rows.embedded().map((each) => ({ rows: each.rows, at: row + each.at })),
    ),
    ...placed.flatMap(({ sequence, tokens, start, row }) =>
      sequence.embeddedRows(start, start + tokens, row),
    ),
  ];
}

/**
 * Takes from the states `[1, N, d]` what is needed later: guests get theirs; those of the rows that score a prompt,
 * `[1, n, d]`, go to `scored`; those that the prediction module reads wait in their sequence. Returns logits of the wanted
 * rows, `[n, V]`.
 */
function useStates(
  model: TokenModel,
  hidden: Tensor,
  { visits, placed }: Pass,
  wanted: readonly number[],
  scored: Map<Sequence, Tensor>,
): Tensor {
  for (const { guest, rows, row } of visits) {
    if (rows.wanted.length === 0) continue;
    guest.take(
      model.rows(
        hidden,
        rows.wanted.map((each) => row + each),
      ),
    );
  }
  for (const { sequence, tokens, draft, row, scored: due } of placed) {
    if (due.rows > 0) {
      const rows = Array.from({ length: due.rows }, (_, i) => row + due.first + i);
      const states = model.rows(hidden, rows);
      scored.set(
        sequence,
        model.device.unscoped(() => states.view([1, ...states.shape])),
      );
    }
    // Where states still wait the sequence is ending, and the module is done with it.
    if (!sequence.draftCache || sequence.pending) continue;
    const rows = Array.from({ length: tokens + (draft ? 1 : 0) }, (_, i) => row + i);
    sequence.pending = model.device.unscoped(() => model.rows(hidden, rows));
  }
  return wanted.length === 0 ? model.device.empty([0, 0]) : model.logits(model.rows(hidden, wanted));
}

/** The pass of the main model over all scheduled: logits of the wanted rows, in order, `[n, V]`; see `useStates`. */
async function readTokens(
  model: TokenModel,
  pass: Pass,
  mlaForm: MlaForm,
  scored: Map<Sequence, Tensor>,
  report: ExpertReport | null,
  between: StepOptions["between"],
): Promise<Tensor> {
  const { device } = model;
  const { ids, segments, wanted, positions } = contentsOf(pass);
  const routers: RouterOutput[] | null = report && [];
  const options = { segments, mlaForm, routers, positions };
  if (between === undefined) {
    return device.inference(() => {
      const hidden = model.hidden(inputOf(model, ids, embeddedIn(pass)), options); // [1, N, d]
      report?.take(routers!);
      return useStates(model, hidden, pass, wanted, scored);
    });
  }
  using input = device.inference(() => inputOf(model, ids, embeddedIn(pass)));
  using hidden = await model.hiddenByLayer(input, options, between); // [1, N, d]
  report?.take(routers!);
  return device.inference(() => useStates(model, hidden, pass, wanted, scored));
}

/** Scores prompts' tokens by the states of their rows, which it frees; what that throws goes to `failed`. */
async function scorePrompts(
  model: TokenModel,
  scored: ReadonlyMap<Sequence, Tensor>,
  failed: Map<Sequence, unknown>,
): Promise<void> {
  try {
    for (const [sequence, states] of scored) {
      try {
        if (sequence.attached) await sequence.scoring!.add(model, states);
      } catch (error) {
        if (!(error instanceof LogitsError)) throw error;
        failed.set(sequence, error);
      }
    }
  } finally {
    for (const states of scored.values()) states.dispose();
  }
}

/** Of a token that no draft came before. */
const UNDRAFTED: Pick<TokenInside, "drafted" | "refused"> = { drafted: false, refused: null };

/** Keeps or drops the draft and chooses what follows, into `tokens`. */
function choose(
  { sequence, draft, row, tokens: read }: Placed,
  logits: readonly Float32Array[],
  tokens: GeneratedToken[],
  buffers: SamplingBuffers | undefined,
  report: ExpertReport | null,
): void {
  const { sampler, reportsExperts, reportsInside } = sequence;
  const [first, second] = logits;
  const decide = (id: number, logits: Float32Array, row: number, fate = UNDRAFTED) => {
    const token = sequence.accept(id, logits);
    const told = reportsExperts ? { ...token, experts: report!.at(row) } : token;
    const experts = reportsInside && report !== null ? report.weightedAt(row) : null;
    tokens.push(reportsInside ? { ...told, inside: { ...fate, experts } } : told);
  };
  const last = row + read - 1;
  if (!draft) {
    decide(sampler.draw(sampler.distribution(first, buffers)), first, last);
    return;
  }
  const target = sampler.distribution(first, buffers);
  const { id, accepted } = verify(target, draft.distribution, draft.id, sampler);
  sequence.drafts.drafted++;
  decide(id, first, last, { drafted: accepted, refused: accepted ? null : draft.id });
  if (!accepted) {
    forgetDraft(sequence);
    return;
  }
  sequence.drafts.accepted++;
  if (sequence.stopReason !== null) return;
  decide(sampler.draw(sampler.distribution(second, buffers)), second, last + 1);
}

/** Takes the rejected token out of the cache and its state out of what waits for the module. */
function forgetDraft(sequence: Sequence): void {
  sequence.cache.truncate(sequence.cache.length - 1);
  const pair = sequence.pending!;
  sequence.pending = pair.device.unscoped(() => pair.slice(0, pair.shape[0] - 1));
  pair.dispose();
}

/** What the experts of a pass are read with; null where nobody asks, or there are none. */
function reportFor({ config }: TokenModel, placed: readonly Placed[]): ExpertReport | null {
  if (config.moe === null || !placed.some(({ sequence, wanted }) => sequence.wantsExperts(wanted > 0)))
    return null;
  const weighted = placed.some(({ sequence, wanted }) => wanted > 0 && sequence.reportsInside);
  return new ExpertReport(config.moe.experts, weighted);
}

/**
 * Moves every sequence on; outcomes in the order of the scheduled. A sequence that loses its caches on the way (because
 * it was canceled) is left out. Throws only what the device or the model threw: then no sequence can go on.
 */
export async function step(
  model: TokenModel,
  scheduled: readonly ScheduledTokens[],
  { mlaForm = "auto", buffers, between, guests = [] }: StepOptions = {},
): Promise<Outcome[]> {
  const failed = new Map<Sequence, unknown>();
  const sequences = scheduled.map(({ sequence }) => sequence);
  const drafts = await draft(model, sequences, mlaForm, buffers, failed);
  // Short scheduled together: they share the products of the absorbed form.
  const order = scheduled
    .filter(({ sequence }) => sequence.attached && !failed.has(sequence))
    .sort((a, b) => a.tokens - b.tokens);
  const visits = visitsOf(guests);
  let rows = visits.reduce((sum, { rows }) => sum + rows.ids.length, 0);
  const placed = order.map(({ sequence, tokens }): Placed => {
    const draft = drafts.get(sequence) ?? null;
    const last = tokens === sequence.unread && sequence.remaining > 0;
    const wanted = last ? (draft ? 2 : 1) : 0;
    const row = rows;
    rows += tokens + (draft ? 1 : 0);
    const start = sequence.cache.length;
    const scored = sequence.scoring?.due(start, tokens) ?? NONE;
    return { sequence, tokens, draft, start, row, wanted, scored };
  });
  const scored = new Map<Sequence, Tensor>();
  using report = reportFor(model, placed);
  const idle = placed.length === 0 && visits.length === 0;
  using output = idle ? null : await readTokens(model, { visits, placed }, mlaForm, scored, report, between);
  await scorePrompts(model, scored, failed);
  const logits = output === null ? [] : await rowsOfLogits(output);
  if (report) await report.read();
  const outcomes = new Map<Sequence, Outcome>();
  for (const [sequence, error] of failed) outcomes.set(sequence, { sequence, tokens: [], error });
  let at = 0;
  for (const part of placed) {
    const { sequence, wanted, start, row } = part;
    const own = logits.slice(at, at + wanted);
    at += wanted;
    if (!sequence.attached || failed.has(sequence)) continue;
    const tokens: GeneratedToken[] = [];
    if (report) sequence.keepPromptExperts(report, start, part.tokens, row);
    try {
      if (wanted > 0) choose(part, own, tokens, buffers, report);
      else if (sequence.remaining === 0 && sequence.unread === 0) sequence.finish();
      outcomes.set(sequence, { sequence, tokens });
    } catch (error) {
      outcomes.set(sequence, { sequence, tokens, error });
    }
  }
  // After the last look at logits, which may lie where what guests allocate moves memory.
  for (const { guest } of visits) await guest.decide();
  return sequences.flatMap((sequence) => outcomes.get(sequence) ?? []);
}
