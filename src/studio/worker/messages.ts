/** What the page and the worker that does its work say to each other, and what that one gives to a worker with an engine. */
import type { EngineSettings } from "../../serve/engine-settings.ts";
import type { Backend, PickedFile } from "../backend/backend.ts";

export type { PickedFile };

/** The first message to the worker. */
export interface WorkerSettings {
  readonly version: string;
  /** Of the hub. */
  readonly hub: string;
  /** Bytes of the machine's memory, as far as the browser tells. */
  readonly memory: number;
}

/** What is asked of it: methods of the backend, and what a page alone can give it. */
export type CallName =
  | keyof Pick<
      Backend,
      "models" | "inspect" | "closeModel" | "deleteModel" | "jobs" | "job" | "stop" | "start" | "events"
    >
  | "add";

export interface Call {
  readonly call: number;
  readonly name: CallName;
  readonly args: readonly unknown[];
}

/** Ends the reading of events. */
export interface Leave {
  readonly call: number;
  readonly leave: true;
}

/** Why a call failed, as `BackendError` has it. */
export interface CallFault {
  readonly message: string;
  readonly status: number | null;
  readonly code: string | null;
}

/** `value` is the answer, after any number of `event`s. */
export type Reply =
  | { readonly call: number; readonly event: unknown }
  | { readonly call: number; readonly value: unknown }
  | { readonly call: number; readonly fault: CallFault };

/** The first message to a worker with an engine. */
export interface EngineStart {
  readonly settings: EngineSettings;
  readonly name: string;
  readonly files: readonly PickedFile[];
  /** A GGUF file among them that is the model; null for a folder. */
  readonly gguf: string | null;
  /** The autoencoder that JanusFlow draws with, where one is kept. */
  readonly vae: readonly PickedFile[];
}
