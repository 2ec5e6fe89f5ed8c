/**
 * The token: from the fragment of the address that the command opened, which no request carries, into what this tab
 * alone remembers. Cookies would go to every port of this machine.
 */
const KEY = "studio.token";

const tokenIn = (text: string): string | null =>
  /(?:^|[#&])token=([A-Za-z0-9_-]{16,})/.exec(text)?.[1] ?? null;

/** Moves the token out of the address. */
export function takeToken(): void {
  const found = tokenIn(location.hash);
  if (found === null) return;
  sessionStorage.setItem(KEY, found);
  history.replaceState(null, "", location.pathname + location.search);
}

export const currentToken = (): string | null => sessionStorage.getItem(KEY);

/** @param text the token, or the whole address with it; false if there is none in it */
export function enterToken(text: string): boolean {
  const trimmed = text.trim();
  const found = tokenIn(trimmed) ?? (/^[A-Za-z0-9_-]{16,}$/.test(trimmed) ? trimmed : null);
  if (found !== null) sessionStorage.setItem(KEY, found);
  return found !== null;
}
