/** How the engine's thread of a server opens its model. */
import type { HostSettings } from "../engine/host/protocol.ts";

export interface EngineSettings extends HostSettings {
  /** What `load` takes: a folder, a hub repository, a GGUF file. */
  readonly model: string;
  /** Of a model on the hub: branch, tag or commit. */
  readonly revision?: string;
  /** Which GGUF file of several. */
  readonly file?: string;
  /** Use only what is in the hub's cache. */
  readonly offline?: boolean;
  readonly threads?: number;
  /** Whether a model that draws is opened to draw; default true. */
  readonly drawing?: boolean;
  /** JanusFlow's autoencoder, as `load` takes it. */
  readonly vae?: string;
  /** A folder with a low-rank adapter. */
  readonly adapter?: string;
}
