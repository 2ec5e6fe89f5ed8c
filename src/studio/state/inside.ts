/** The drawer that shows the inside of an answer: whether it is open, and which answer it was opened for. Its program is loaded when it opens. */
import { signal } from "@preact/signals";
import { remembered } from "./preferences.ts";

/** While it is open, answers are asked for with their inside. */
export const insideShown = remembered<"yes" | "no">("studio.inside", ["yes", "no"], "no");
/** A turn of the conversation; null: the newest answer. */
export const insideTurn = signal<string | null>(null);

export function openInside(turn: string | null = null): void {
  insideTurn.value = turn;
  insideShown.value = "yes";
}

/** @returns whether it was open */
export function closeInside(): boolean {
  const open = insideShown.peek() === "yes";
  insideShown.value = "no";
  return open;
}

export function toggleInside(): void {
  if (!closeInside()) openInside();
}
