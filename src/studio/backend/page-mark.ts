/** How the page knows that it has no server. */
import { PAGE_MARK } from "../../serve/studio/protocol.ts";

/** The hub of a page without a server; null for one that a server made. */
export function pageHub(): string | null {
  return document.querySelector<HTMLMetaElement>(`meta[name="${PAGE_MARK}"]`)?.content ?? null;
}
