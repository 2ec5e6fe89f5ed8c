/** The protocol's types as the page meets them: its JSON objects are plain ones, where the server keeps digits and order. */
import type * as protocol from "../../serve/studio/protocol.ts";

export type PlainObject = { readonly [key: string]: unknown };

type Plain<T> = T extends protocol.JobView["result"] & ReadonlyMap<string, unknown>
  ? PlainObject
  : T extends readonly (infer Item)[]
    ? readonly Plain<Item>[]
    : T extends object
      ? { readonly [Key in keyof T]: Plain<T[Key]> }
      : T;

export type FileList = protocol.FileList;
export type Freed = protocol.Freed;
export type Hello = protocol.Hello;
export type InsideFigures = protocol.InsideFigures;
export type InsideNews = Plain<protocol.InsideNews>;
export type InsidePicture = Plain<protocol.InsidePicture>;
export type InsideToken = Plain<protocol.InsideToken>;
export type Inspection = Plain<protocol.Inspection>;
export type JobEvent = Plain<protocol.JobEvent>;
export type JobKind = protocol.JobKind;
export type JobProgress = protocol.JobProgress;
export type JobRequest = Plain<protocol.JobRequest>;
export type JobView = Plain<protocol.JobView>;
export type ModelEntry = Plain<protocol.ModelEntry>;
export type ModelList = Plain<protocol.ModelList>;
export type OpenBody = protocol.OpenBody;
export type TrainBody = Plain<protocol.TrainBody>;
export type TrainCheck = protocol.TrainCheck;
export type TrainPreset = Plain<protocol.TrainPreset>;
export type TrainPresets = Plain<protocol.TrainPresets>;
export type RootPath = protocol.RootPath;
export type RunDetail = Plain<protocol.RunDetail>;
export type RunEntry = protocol.RunEntry;
export type RunList = protocol.RunList;
export type RunSeries = Plain<protocol.RunSeries>;
