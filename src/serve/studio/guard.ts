/**
 * Who may speak to the studio. It listens on this machine alone, and yet every page that the browser shows can reach it: by a name
 * that resolves to this machine (which shows in `Host`), or from another site or port (which shows in `Origin`). Only names
 * that no public name can be pointed at are answered, only pages of the studio's own origin, and only with its token.
 */
import { keyCheck } from "../access.ts";
import { refused, shown } from "../browser-guard.ts";

export interface GuardOptions {
  /** Port that the server listens on; it is known only once it does. */
  readonly port: () => number;
  /** Names of a proxy before it, under any port. */
  readonly allowHosts: readonly string[];
  /** Null: none is asked for. */
  readonly token: string | null;
}

export interface StudioGuard {
  /** Refuses a request by what its headers say of where it comes from. @throws ApiError 403 */
  checkOrigin(headers: Headers): void;
  /** @throws ApiError 401 without the token */
  checkToken(headers: Headers): void;
}

const LOOPBACK = ["127.0.0.1", "[::1]", "localhost"];

/** The guard of a studio that was started with `options`. */
export function studioGuard({ port, allowHosts, token }: GuardOptions): StudioGuard {
  const names = new Set(allowHosts.map((name) => name.toLowerCase()));
  const checkKey = keyCheck(token === null ? [] : [token], "token");

  function isOwnHost(host: string): boolean {
    const [, name = host, given] = /^(\[[^\]]*\]|[^:]*)(?::(\d+))?$/.exec(host) ?? [];
    if (names.has(name)) return true;
    return LOOPBACK.includes(name) && Number(given ?? 80) === port();
  }

  return {
    checkOrigin(headers) {
      const host = (headers.get("host") ?? "").toLowerCase();
      if (!isOwnHost(host)) {
        throw refused(
          `The studio answers only as 127.0.0.1, [::1] and localhost with its own port, and ${shown(host)} is none of them. ` +
            "To let requests for that name in, start it with --allow-host.",
          "host_not_allowed",
        );
      }
      const origin = headers.get("origin");
      // A proxy before it may speak TLS.
      if (origin !== null && origin !== `http://${host}` && origin !== `https://${host}`) {
        throw refused(`Pages of ${shown(origin)} may not use the studio.`, "origin_not_allowed");
      }
      const site = headers.get("sec-fetch-site");
      // Links from elsewhere may open the page; nothing else may come from there.
      const opens = headers.get("sec-fetch-mode") === "navigate";
      if (site !== null && !["same-origin", "none"].includes(site) && !opens) {
        throw refused(
          `Requests from pages of other sites (${shown(site)}) are refused.`,
          "origin_not_allowed",
        );
      }
    },
    checkToken: (headers) => checkKey(headers.get("authorization") ?? undefined),
  };
}

/**
 * What keeps the page to itself: no script or style but its own files, no HTML from strings, nothing from other origins, no frame
 * around it, isolation that shared memory needs.
 */
export const SAFETY_HEADERS: Readonly<Record<string, string>> = {
  "content-security-policy": [
    "default-src 'none'",
    "script-src 'self' 'wasm-unsafe-eval'",
    "style-src 'self'",
    "img-src 'self' blob: data:",
    "font-src 'self'",
    "connect-src 'self'",
    "worker-src 'self'",
    "manifest-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types studio",
  ].join("; "),
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-embedder-policy": "require-corp",
  "cross-origin-resource-policy": "same-origin",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "permissions-policy": [
    "clipboard-read=(self)",
    "clipboard-write=(self)",
    ...[
      "accelerometer",
      "autoplay",
      "camera",
      "display-capture",
      "geolocation",
      "gyroscope",
      "hid",
      "microphone",
      "midi",
      "payment",
      "serial",
      "usb",
      "xr-spatial-tracking",
    ].map((feature) => `${feature}=()`),
  ].join(", "),
};
