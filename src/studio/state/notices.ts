/** Notices: what needs no action, or can be undone. Errors stand where the work is, never here. */
import { signal } from "@preact/signals";

export interface Notice {
  readonly id: number;
  readonly text: string;
  /** Takes back what was done; null where there is nothing to take back. */
  readonly undo: (() => void) | null;
}

export const notices = signal<readonly Notice[]>([]);
/** What this browser refuses to keep, in words; null while it keeps what it is given. */
export const storageFault = signal<string | null>(null);
/** What a screen reader is told, politely: the state of an answer, never its words. */
export const announcement = signal("");

/** Milliseconds that a notice stays. */
const NOTICE_TIME = 8000;
export const UNDO_TIME = 10_000;

let count = 0;

export function dismiss(id: number): void {
  notices.value = notices.value.filter((notice) => notice.id !== id);
}

export function notify(text: string, undo: Notice["undo"] = null): void {
  const id = ++count;
  notices.value = [...notices.value.slice(-2), { id, text, undo }];
  setTimeout(() => dismiss(id), undo === null ? NOTICE_TIME : UNDO_TIME);
}

export function announce(text: string): void {
  announcement.value = text;
}
