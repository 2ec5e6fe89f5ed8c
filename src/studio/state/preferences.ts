/** What this browser remembers of how the page looks. Without storage it holds until the page closes. */
import { effect, type Signal, signal } from "@preact/signals";

export type Theme = "auto" | "light" | "dark";

export function remembered<T extends string>(key: string, allowed: readonly T[], otherwise: T): Signal<T> {
  const read = (): T => {
    try {
      const found = localStorage.getItem(key) as T;
      return allowed.includes(found) ? found : otherwise;
    } catch {
      return otherwise;
    }
  };
  const value = signal<T>(read());
  effect(() => {
    try {
      localStorage.setItem(key, value.value);
    } catch {
      // Private windows may refuse.
    }
  });
  return value;
}

export const theme = remembered<Theme>("studio.theme", ["auto", "light", "dark"], "auto");
/** Whether there is no room for one thing beside another; the styles have the same width. False outside of a page. */
export const isNarrow = (): boolean => globalThis.matchMedia?.("(max-width: 820px)").matches ?? false;

/** Where it would cover all else it is not what a page begins with. */
export const listShown = remembered<"yes" | "no">("studio.list", ["yes", "no"], isNarrow() ? "no" : "yes");
/** Whether single keys and combinations do anything; Enter and Escape always do. */
export const shortcuts = remembered<"on" | "off">("studio.shortcuts", ["on", "off"], "on");

/** Lets the document follow the theme. */
export function applyTheme(): void {
  effect(() => {
    if (theme.value === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme.value;
  });
}
