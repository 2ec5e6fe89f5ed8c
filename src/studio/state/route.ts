/** Where the page is: the fragment of its address, since exported pages have no server that knows paths. */
import { signal } from "@preact/signals";

const SCREENS = ["chat", "draw", "train", "prove", "models"] as const;
export type Screen = (typeof SCREENS)[number];

export interface Route {
  readonly screen: Screen;
  /** What the screen shows: a conversation, a picture, a run, a model; null for its list. */
  readonly item: string | null;
}

/** @param hash as the address has it: `#/chat/ID` */
function parseRoute(hash: string): Route {
  const [, screen, ...rest] = hash.replace(/^#/, "").split("/");
  if (!SCREENS.includes(screen as Screen)) return { screen: "chat", item: null };
  let item: string | null = rest.join("/");
  try {
    item = decodeURIComponent(item);
  } catch {
    // A percent sign of somebody's own: taken as it is.
  }
  return { screen: screen as Screen, item: item === "" ? null : item };
}

export const routeHash = ({ screen, item }: Route): string =>
  `#/${screen}${item === null ? "" : `/${encodeURIComponent(item)}`}`;

export const route = signal<Route>({ screen: "chat", item: null });

/** Begins to follow the address. */
export function followAddress(): void {
  const read = () => {
    route.value = parseRoute(location.hash);
  };
  addEventListener("hashchange", read);
  read();
}

/** @param replace whether the place before is forgotten: for what nobody would go back to */
export function goTo(screen: Screen, item: string | null = null, replace = false): void {
  const hash = routeHash({ screen, item });
  if (location.hash === hash) return;
  if (replace) history.replaceState(null, "", hash);
  else history.pushState(null, "", hash);
  route.value = { screen, item };
}
