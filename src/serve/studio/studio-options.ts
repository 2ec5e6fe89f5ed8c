/** How the studio is started. */
import type { HubOptions } from "../../pretrained/hub-settings.ts";
import type { MeasureMemory } from "./open-models.ts";

export interface StudioOptions {
  /** 0: any free one. */
  readonly port: number;
  /** Folders that the page may list, read and write below. */
  readonly roots: readonly string[];
  /** Names of a proxy before it. */
  readonly allowHosts?: readonly string[];
  /** Asks for no token: for programs on a machine with no other users. */
  readonly withoutToken?: boolean;
  /** Folder of the built page; default: that of the package. */
  readonly page?: string;
  /** Of this program, for the page to compare with its own. */
  readonly version: string;
  /** Threads of each model; default: the machine's cores. */
  readonly threads?: number;
  /** Where the hub is and its cache lies; default: by the environment. */
  readonly hub?: HubOptions;
  /** Folder of the text that is there without being brought; default: the TypeScript nearest to where the studio was started. */
  readonly text?: string;
  /** Folder where running jobs are written down; default: in the user's cache. */
  readonly journal?: string;
  readonly memory?: MeasureMemory;
  readonly log?: (line: string) => void;
  /** Told the address as soon as the page can be opened, before everything behind it is loaded. */
  readonly onListening?: (address: {
    readonly url: string;
    readonly token: string | null;
    /** Gives the token once; see `RunningStudio`. */
    readonly code: string | null;
  }) => void;
}
