/** Where a command writes: standard output, standard error, or a test's list. */
export interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}
