/** What passes between the reader of a Parquet file and its thread. */

export interface ParquetLimits {
  /** Most bytes of a row group, compressed or not. */
  readonly groupBytes: number;
  /** Most characters of a row as JSON. */
  readonly rowBytes: number;
}

export interface ParquetTask {
  readonly path: string;
  readonly limits: ParquetLimits;
}

/** Rows of a message. */
export const PART_ROWS = 256;

/** From the thread; after each `rows` it waits for a message. */
export type FromParquet =
  | { readonly type: "opened"; readonly columns: readonly string[]; readonly rows: number }
  | { readonly type: "rows"; readonly texts: readonly string[] }
  | { readonly type: "ended" }
  | {
      readonly type: "failed";
      readonly message: string;
      readonly expected?: string;
      readonly found?: string;
    };
