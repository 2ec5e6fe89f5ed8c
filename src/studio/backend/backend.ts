/**
 * What the page asks of whatever does the work: a server, or a worker of the page. It follows `serve/studio/protocol.ts`;
 * nothing else of the page knows where models run.
 */
import type {
  FileList,
  Freed,
  Hello,
  Inspection,
  JobEvent,
  JobRequest,
  JobView,
  ModelList,
  RootPath,
  RunDetail,
  RunList,
  RunSeries,
  TrainBody,
  TrainCheck,
  TrainPresets,
} from "./wire.ts";

/** `lost`: nobody answers; `denied`: the token is not the server's; `refused`: it answered that it will not. */
export type Fault = "lost" | "denied" | "refused";

export class BackendError extends Error {
  override name = "BackendError";
  readonly fault: Fault;
  readonly status: number | null;
  readonly code: string | null;
  /** The field of the request that is wrong: `body.config.training.steps`. */
  readonly param: string | null;

  constructor(
    fault: Fault,
    message: string,
    status: number | null = null,
    code: string | null = null,
    param: string | null = null,
  ) {
    super(message);
    this.param = param;
    this.fault = fault;
    this.status = status;
    this.code = code;
  }
}

export const isFault = (error: unknown, fault: Fault): error is BackendError =>
  error instanceof BackendError && error.fault === fault;

/** What an error says to people. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** A file of a model, by its path in the folder that was picked. */
export interface PickedFile {
  readonly path: string;
  readonly file: File;
}

/** What a page that runs models itself has beside. */
export interface PagePlace {
  /** What keeps models from running here, and what to do; null: nothing. */
  readonly missing: string | null;
  /** Makes a model of picked files, which stay where they are. @returns its name */
  add(files: readonly PickedFile[]): Promise<string>;
  /** Bytes that this page has of the browser's storage and may have; `lasting`: they are not deleted when the disk is full. */
  storage(): Promise<{ readonly used: number; readonly quota: number; readonly lasting: boolean }>;
}

/** All methods reject with `BackendError`. */
export interface Backend {
  /** Null where a server does the work. */
  readonly page: PagePlace | null;
  hello(): Promise<Hello>;
  models(): Promise<ModelList>;
  inspect(model: string): Promise<Inspection>;
  closeModel(model: string): Promise<ModelList>;
  deleteModel(model: string): Promise<Freed>;
  files(at: RootPath): Promise<FileList>;
  start(request: JobRequest): Promise<JobView>;
  jobs(): Promise<readonly JobView[]>;
  job(id: string): Promise<JobView>;
  /** Events after number `after`, until the job or the connection has ended. */
  events(id: string, after: number, signal: AbortSignal): AsyncIterable<JobEvent>;
  /** Answered once it has stopped. */
  stop(id: string): Promise<JobView>;
  runs(): Promise<RunList>;
  run(run: RootPath): Promise<RunDetail>;
  series(run: RootPath, bins: number): Promise<RunSeries>;
  trainPresets(): Promise<TrainPresets>;
  /** Refuses what a training with this body would be refused for. */
  checkTraining(body: TrainBody): Promise<TrainCheck>;
}
