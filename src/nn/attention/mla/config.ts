/** Sizes of multi-head latent attention (arXiv 2405.04434 section 2.1). */
export interface MlaConfig {
  readonly kind: "mla";
  readonly heads: number;
  /** Width of the compressed queries; null if queries are not compressed (V2-Lite). */
  readonly queryRank: number | null;
  readonly latentRank: number;
  readonly nopeDim: number;
  readonly ropeDim: number;
  readonly valueDim: number;
}
