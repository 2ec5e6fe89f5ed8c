/** What `manifest.json` of a folder with Lean for pages says; src/prove/lean/wasm/page-folder.ts writes it. */

/** Raised when pages must read folders differently. */
export const PAGE_FORMAT = 1;

export interface PageFile {
  /** In the folder. */
  readonly name: string;
  /** Its bytes, packed if it is. */
  readonly bytes: number;
  /** Of a packed file: its bytes unpacked, and the SHA-256 of what is packed, in hexadecimal. */
  readonly unpacked?: number;
  readonly sha256?: string;
}

export interface PageManifest {
  readonly format: number;
  /** As `PreparedLean.version`. */
  readonly version: string;
  readonly worker: PageFile;
  readonly glue: PageFile;
  readonly wasm: Required<PageFile>;
  readonly library: Required<PageFile>;
  /** What lies in the library one after the other: path as Lean sees it, bytes. */
  readonly places: readonly (readonly [path: string, bytes: number])[];
}
