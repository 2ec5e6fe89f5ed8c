/** Bytes as base64, without what Node alone has for it. */

/** ECMAScript 2026; types of it are not there yet. */
const { toBase64 } = Uint8Array.prototype as { readonly toBase64?: (this: Uint8Array) => string };

/** Bytes whose characters are made at once: arguments of a call are bounded. */
const AT_ONCE = 1 << 13;

export function base64Of(bytes: Uint8Array): string {
  if (toBase64 !== undefined) return toBase64.call(bytes);
  const parts: string[] = [];
  for (let at = 0; at < bytes.length; at += AT_ONCE)
    parts.push(String.fromCharCode(...bytes.subarray(at, at + AT_ONCE)));
  return btoa(parts.join(""));
}
