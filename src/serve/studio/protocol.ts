/**
 * What the studio's page and its server say to each other, under `/studio/api`. Everything but the files of the page asks
 * for the token, as `Authorization: Bearer TOKEN`; `/v1` of the models that are open is beside it, under the same token.
 * All bodies and answers are JSON; events of a job are JSON lines. Errors have the form of `/v1`'s.
 *
 *     POST   enter {code}                   -> {token}      without a token: for the code of the address that the command opened, once
 *     GET    hello                          -> Hello
 *     GET    models                         -> ModelList
 *     GET    models/inspect?model=M         -> Inspection
 *     DELETE models?model=M                 -> Freed        what the cache or a root has of it; refused while it is open
 *     POST   models/close {model}           -> ModelList
 *     GET    files?root=R&path=P            -> FileList     below the roots alone
 *     POST   jobs JobRequest                -> JobView      201
 *     GET    jobs                           -> JobView[]    newest first, without the results
 *     GET    jobs/ID                        -> JobView
 *     GET    jobs/ID/events?after=N         -> lines of JobEvent until the job has ended; N counts from 0
 *     DELETE jobs/ID                        -> JobView      answered once it has stopped
 *     GET    runs                           -> RunList
 *     GET    runs/RUN                       -> RunDetail    RUN: `ROOT/PATH`, each part percent-encoded
 *     GET    train/presets                  -> TrainPresets
 *     POST   train/check TrainBody          -> TrainCheck   refused as the job would be; nothing is begun
 *     GET    series?run=ROOT/PATH&bins=N    -> RunSeries
 */
import type { InsideFigures, InsidePicture } from "../../engine/host/inside.ts";
import type { ModelInfo } from "../../engine/host/protocol.ts";
import type { JobState } from "../../jobs/job.ts";

/** An object of JSON, as `JSON.parse` gives it. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** Name of the mark in the head of a page without a server, which `studio --export` writes; its content is the hub's address. */
export const PAGE_MARK = "deepseek-ts-studio-hub";

/** The server, as the page sees it first. */
export interface Hello {
  readonly version: string;
  /** Changes with each start of the server: what the page knows of jobs is void then. */
  readonly session: string;
  readonly threads: number;
  readonly processor: string;
  readonly memory: MemoryFigures;
  readonly roots: readonly Root[];
  /** Whether proofs can be verified, and if not, what to do. */
  readonly lean: { readonly version: string | null; readonly missing: string | null };
  /** Kinds of job that this server does. */
  readonly kinds: readonly JobKind[];
}

export interface MemoryFigures {
  /** Bytes of the machine. */
  readonly total: number;
  readonly available: number;
  /** Bytes of weights and caches of the open models. */
  readonly models: number;
}

/** A folder named at the start: nothing outside of them is listed, read or written. */
export interface Root {
  /** Its last part, made unique. */
  readonly name: string;
  /** For people; the page never sends it. */
  readonly path: string;
}

/** A file or folder of a root. */
export interface RootPath {
  readonly root: string;
  /** With `/`, without a first one; empty for the root itself. */
  readonly path: string;
}

export interface FileEntry {
  readonly name: string;
  readonly folder: boolean;
  /** Bytes of a file; null for folders. */
  readonly size: number | null;
  /** Milliseconds since 1970. */
  readonly changed: number;
  /** What a folder is, as far as its files say. */
  readonly holds: "model" | "run" | null;
}

export interface FileList extends RootPath {
  readonly entries: readonly FileEntry[];
  /** Whether there are more than are listed. */
  readonly more: boolean;
}

/** A model that could be opened or is open. */
export interface ModelEntry {
  /** What `open` and the bodies of `/v1` name it by: a repository's name, or `ROOT/PATH` of a folder or GGUF file. */
  readonly model: string;
  /** `package`: it comes with this program, and is not deleted. */
  readonly from: "hub" | "package" | RootPath;
  /** Bytes on disk; of a download that has stopped, what is there. */
  readonly size: number;
  /** Whether files are missing: the download did not end. */
  readonly partial: boolean;
  /** As `config.json` names it; null where it cannot be read. */
  readonly architecture: string | null;
  /** System of the family: `DeepSeek-V3`, `Janus`, .. */
  readonly system: string | null;
  readonly parameters: number | null;
  readonly state: "closed" | "opening" | "open" | "failed";
  /** Of an open model. */
  readonly info: ModelInfo | null;
  /** Why it could not be opened, or failed since. */
  readonly error: string | null;
  /** The job that opens it. */
  readonly job: string | null;
}

export interface ModelList {
  readonly models: readonly ModelEntry[];
  readonly memory: MemoryFigures;
}

export interface Inspection {
  readonly model: string;
  /** What `inspect --json` prints. */
  readonly report: JsonObject;
  /** Whether weights and the cache of its context fit beside what is open, with the figures that say so. */
  readonly fits: { readonly yes: boolean; readonly needed: number; readonly available: number };
}

export interface Freed {
  readonly model: string;
  readonly bytes: number;
}

/** How a model is opened: the flags of `serve` that concern it, by their names. */
export interface OpenBody {
  readonly model: string;
  /** `f32`, `bf16`, `q8`, `q4`, or `auto`. */
  readonly dtype?: string;
  readonly context?: number;
  readonly speculative?: boolean;
}

export interface TrainBody {
  /** The run's folder, new. */
  readonly out: RootPath;
  /**
   * A folder of text or a file; `typescript`: that of the packages installed here, which `demo` learns; null for a configuration with
   * stages, which says itself where its pictures come from.
   */
  readonly data: RootPath | "typescript" | null;
  /** What `train --config` and `train --stages` read. */
  readonly config: JsonObject;
}

/** What a training can begin with. */
export interface TrainPresets {
  readonly presets: readonly TrainPreset[];
  /**
   * What the times follow from, by the operations of a token: a run that trained here, else tokens a second of the demo's model, as
   * measured for the benchmarks on so many cores.
   */
  readonly speed: {
    readonly run: string | null;
    readonly measured: { readonly tokens: number; readonly cores: number } | null;
  };
  /** Names of kinds of files that `data.extensions` takes. */
  readonly extensions: readonly string[];
  /** Settings of `data` for the text of `typescript`. */
  readonly builtIn: JsonObject;
  /** Models that see, each with a run in stages that goes on with it on the picture world. */
  readonly pictures: readonly {
    readonly model: string;
    readonly draws: boolean;
    readonly config: JsonObject;
  }[];
}

export interface TrainPreset {
  readonly name: string;
  /** What it is, in a few words. */
  readonly note: string;
  readonly system: string | null;
  /** Of the whole model, of one token, of its multi-token prediction. */
  readonly parameters: { readonly total: number; readonly activated: number; readonly mtp: number };
  /** Bytes that its training holds at once, about. */
  readonly memory: number;
  /** Estimated. */
  readonly tokensPerSecond: number;
  /** As its settings say, else estimated. */
  readonly seconds: number;
  /** All its settings. */
  readonly config: JsonObject;
}

export interface TrainCheck {
  /** What it needs of the memory and what there is, in a line. */
  readonly memory: string;
}

export interface ProveBody {
  readonly model: string;
  /** A Lean file or statement; its `sorry`s are filled one after another. */
  readonly source: string;
  readonly search: "sample" | "resume" | "rmaxts";
  /** Samples of each `sorry`. */
  readonly budget: number;
  readonly seed?: number;
}

/** What each kind of job takes. */
export interface JobBodies {
  /** The body of `/v1/chat/completions`. */
  readonly chat: JsonObject;
  /** That of `/v1/completions`. */
  readonly complete: JsonObject;
  /** That of `/v1/images/generations`. */
  readonly draw: JsonObject;
  readonly open: OpenBody;
  readonly download: { readonly model: string };
  readonly quantize: { readonly model: string; readonly dtype: "q8" | "q4"; readonly out: RootPath };
  /** To a GGUF file; `type`: `f32`, `f16`, `bf16`, `q8_0` or `q4_0`. */
  readonly convert: { readonly model: string; readonly type: string; readonly out: RootPath };
  readonly train: TrainBody;
  /** Goes on with a run that was stopped. */
  readonly resume: { readonly run: RootPath };
  readonly prove: ProveBody;
  /** The body of `/v1/verify`; the result has its `data`. */
  readonly verify: JsonObject;
  /**
   * What Lean says of a text while it is written, which is no verdict. The result has `messages`, `sorries`, and with `steps`
   * (default true) each tactic with its `goalsBefore` and `goalsAfter`: a `CheckAnswer` of `src/prove/lean/session.ts`.
   */
  readonly check: { readonly source: string; readonly steps?: boolean };
}

export type JobKind = keyof JobBodies;

export type JobRequest = {
  readonly [K in JobKind]: {
    readonly kind: K;
    readonly body: JobBodies[K];
    /** Of the page's making, so that asking again after a lost answer does not do it twice: 16 to 64 of `A-Za-z0-9_-`. */
    readonly id?: string;
    /** Whether frames of the inside come with the tokens (chat, complete). */
    readonly inside?: boolean;
  };
}[JobKind];

/** `interrupted`: the server ended before the job did; what it had written is on disk. */
export type StudioJobState = JobState | "interrupted";

export interface JobView {
  readonly id: string;
  readonly kind: JobKind;
  readonly state: StudioJobState;
  /** What it does, in a line. */
  readonly title: string;
  readonly model: string | null;
  /** The run that it trains, as `ROOT/PATH`; absent for other kinds. Before it is prepared there is nothing at that place. */
  readonly run?: string;
  /** Milliseconds since 1970. */
  readonly added: number;
  readonly started: number | null;
  readonly ended: number | null;
  readonly lastEvent: number;
  readonly firstEvent: number;
  readonly progress: JobProgress | null;
  readonly error: JobError | null;
  /** What it gave: a folder, a run, proofs; null before, where the events say all, and in the list of all jobs. */
  readonly result: JsonObject | null;
}

export interface JobError {
  readonly message: string;
  /** `code` of `/v1`'s errors, where there is one. */
  readonly code: string | null;
}

export interface JobProgress {
  readonly done: number;
  /** Null where nobody knows. */
  readonly total: number | null;
  readonly unit: "bytes" | "tokens" | "steps" | "pictures" | "samples" | "checks";
  /** What is being done, in a few words: `reads the prompt`, `loads the weights`. */
  readonly text: string;
}

/**
 * A line of `jobs/ID/events`. Progress comes at least every five seconds, also while a prompt is read. The last line is always
 * `end`, also for a job that ended long ago. Empty lines say that the server is there, while a job waits for its turn.
 */
export interface JobEvent {
  /** From 1, rising by one; a larger step: what is between was dropped. */
  readonly number: number;
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly event:
    | { readonly type: "progress"; readonly progress: JobProgress }
    /** A chunk of the stream of `/v1/chat/completions` or `/v1/completions`. */
    | { readonly type: "chunk"; readonly chunk: JsonObject }
    /** An event of the stream of `/v1/images/generations`. */
    | { readonly type: "picture"; readonly picture: JsonObject }
    /** What a chunk had under `inside`. */
    | ({ readonly type: "inside" } & InsideNews)
    /**
     * Of a training: its `kind` says what it is. `step` and `evaluation`: a row of its metrics; `prepare` (`stage`, `message`) before
     * it begins; `opened` (`step`, `parameters`); `note` (`text`).
     */
    | { readonly type: "training"; readonly row: JsonObject }
    /**
     * Of `verify`: `type` `verdict` with what `/v1/verify` gives of each proof. Of `prove`: `plan` (`units`: titles of the `sorry`s, `left`),
     * then for each of them (`title`) `unit`, `root` (`state`), and of each generation `sample`, a `TracedSample` of
     * `src/prove/search/trace.ts` with `checks` (questions to Lean so far), or for a place inside a proof `tried` (`seq`, `text`, `fault`,
     * `checks`); then `proved` (`code`, `axioms`) or `exhausted`, and `ended` (`outcome`: `proved` with `proof` and `axioms`, `open`,
     * `failed` with `reason`); at the end `filled` (`text`, `fault`, and `ends`: how each ended after the whole
     * text was looked at once more).
     */
    | { readonly type: "proof"; readonly news: JsonObject }
    /** The last one. */
    | { readonly type: "end"; readonly job: JobView };
}

export type { InsideFigures, InsidePicture };

/**
 * What chunks of `/v1/chat/completions` and `/v1/completions`, and their whole answers, have under `inside` beside
 * `choices`, where `"inside": true` asks for it: what is new since the last chunk.
 */
export interface InsideNews {
  /** In order: those that `logprobs` would tell of. */
  readonly tokens: readonly InsideToken[];
  /** Pictures of the prompt, in their order; with the first chunk of a prompt that has some. */
  readonly pictures?: readonly InsidePicture[];
  /** With the last chunk of the answer. */
  readonly figures?: InsideFigures;
}

/** What the engine did for one token, taken in the pass that gave it. */
export interface InsideToken {
  readonly id: number;
  readonly text: string;
  /** Natural logarithm of its probability. */
  readonly logprob: number;
  /** Likeliest first. */
  readonly alternatives: readonly { readonly id: number; readonly text: string; readonly logprob: number }[];
  /** `drafted`: a draft that was accepted; `sampled`: by the model itself. */
  readonly from: "sampled" | "drafted";
  /** The draft that was refused in its place; null for none. */
  readonly refused: { readonly id: number; readonly text: string } | null;
  /** Of each layer with experts: ids, best first, and their weights. Empty for models without. */
  readonly experts: readonly { readonly ids: readonly number[]; readonly weights: readonly number[] }[];
}

export interface RunEntry {
  readonly run: RootPath;
  readonly kind: "train" | "stages" | "sft" | "dpo" | "grpo";
  readonly state: "running" | "stopped" | "finished";
  readonly step: number;
  readonly steps: number | null;
  readonly loss: number | null;
  /** Bits a byte of held-out text, the last. */
  readonly heldOut: number | null;
  /** Tokens a second, or what else its steps count, at the last step. */
  readonly speed: number | null;
  readonly changed: number;
  /** Some forty losses for a small curve. */
  readonly curve: readonly number[];
}

export interface RunList {
  readonly runs: readonly RunEntry[];
}

export interface RunDetail extends RunEntry {
  readonly config: JsonObject;
  /**
   * How the model went on from a beginning, as runs on text write it at their evaluations: at most 100, evenly over the last of them;
   * empty for other runs and those of earlier versions.
   */
  readonly samples: readonly { readonly step: number; readonly prompt: string; readonly text: string }[];
  /** The job that trains it here; null for runs of the command line. */
  readonly job: string | null;
}

/** Curves of a run, thinned so that spikes stay: least, most and last value of each bin of steps. */
export interface RunSeries {
  /** Lines of the metrics that were read, and bytes of the file, read and whole. */
  readonly read: { readonly lines: number; readonly bytes: number; readonly of: number };
  /** Last step of each bin. */
  readonly steps: readonly number[];
  readonly curves: Readonly<
    Record<
      string,
      {
        readonly least: readonly (number | null)[];
        readonly most: readonly (number | null)[];
        readonly last: readonly (number | null)[];
      }
    >
  >;
  /** Load of the experts over time; null for models without. `[bins][layers][experts]`, shares of the even load. */
  readonly experts: readonly (readonly (readonly number[])[])[] | null;
}
