/**
 * The token: from the fragment of the address, which no request carries, or for the code in it, into what this tab alone remembers.
 * Cookies would go to every port of this machine.
 */
const KEY = "studio.token";

const tokenIn = (text: string): string | null =>
  /(?:^|[#&])token=([A-Za-z0-9_-]{16,})/.exec(text)?.[1] ?? null;

const CODE = /(?:^|[#&])code=([A-Za-z0-9_-]{16,})/;

/** The token for a code; null where the server gives none, which the page then asks for. */
async function tokenFor(code: string): Promise<string | null> {
  const headers = { "content-type": "application/json" };
  const body = JSON.stringify({ code });
  const answer = await fetch("/studio/api/enter", { method: "POST", headers, body }).catch(() => null);
  return answer?.ok ? (await answer.json()).token : null;
}

/** Moves the token out of the address, or takes the one that the code in it gives. */
export async function takeToken(): Promise<void> {
  const code = CODE.exec(location.hash)?.[1] ?? null;
  const given = tokenIn(location.hash);
  if (code === null && given === null) return;
  // Before anything else: a code is good for one request.
  history.replaceState(null, "", location.pathname + location.search);
  const found = given ?? (await tokenFor(code!));
  if (found !== null) sessionStorage.setItem(KEY, found);
}

export const currentToken = (): string | null => sessionStorage.getItem(KEY);

/** @param text the token, or the whole address with it; false if there is none in it */
export function enterToken(text: string): boolean {
  const trimmed = text.trim();
  const found = tokenIn(trimmed) ?? (/^[A-Za-z0-9_-]{16,}$/.test(trimmed) ? trimmed : null);
  if (found !== null) sessionStorage.setItem(KEY, found);
  return found !== null;
}
