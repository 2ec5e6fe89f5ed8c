/** What the palette offers. */
import { signal } from "@preact/signals";

export interface Action {
  readonly name: string;
  /** Shown beside the name: where it is, or its key. */
  readonly hint: string;
  readonly act: () => void;
}

/** Actions of the screens that were opened, by what offers them. */
export const offered = signal<ReadonlyMap<string, () => readonly Action[]>>(new Map());

export function offerActions(by: string, actions: () => readonly Action[]): void {
  offered.value = new Map(offered.value).set(by, actions);
}
