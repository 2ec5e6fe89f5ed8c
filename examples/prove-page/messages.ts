/** What the page and its worker say to each other. */

export type ToWorker =
  /** Addresses of Lean's files and of the model's folder. */
  | { readonly lean: string; readonly model: string }
  /** A theorem up to `:= by`, and most proofs to try. */
  | { readonly statement: string; readonly samples: number }
  | { readonly stop: true };

export type FromWorker =
  | { readonly state: string }
  | { readonly ready: true }
  /** What the model wrote, and what Lean says of it. */
  | { readonly tried: string; readonly verdict: string }
  | { readonly proved: string }
  | { readonly done: string };
