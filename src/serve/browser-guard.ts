/**
 * Keeps web pages of other sites from using a local server. A server without keys trusts every request that reaches it, and a
 * browser on the same machine does, on behalf of any page: directly (cross-site requests, which carry an `Origin`), or
 * by a host name that resolves to this machine (DNS rebinding, which shows in `Host`). Where keys are asked for, pages
 * cannot know them, and only the names given by hand are enforced. Node only.
 */
import { isIP } from "node:net";
import { hostname } from "node:os";
import { ApiError } from "./errors.ts";

export interface GuardOptions {
  /** Origins whose pages may ask in addition to those of this machine; `*`: all. */
  readonly allowOrigins: readonly string[];
  /** Host names to answer under in addition to those of this machine; `*`: all. */
  readonly allowHosts: readonly string[];
  /** Whether requests need a key. */
  readonly keyed: boolean;
}

export interface Guard {
  /** Refuses a request by its `Host` and `Origin`. @throws ApiError 403 */
  check(host: string | undefined, origin: string | undefined): void;
  /** Whether pages of `origin` may read answers (CORS). */
  readable(origin: string, host: string | undefined): boolean;
}

/** Names that only a resolver on this machine knows: no public name can be pointed at them. */
const CONTAINER_NAMES = ["host.docker.internal", "host.containers.internal"];

/** Lower case, without port, brackets and a final dot. */
function hostName(host: string): string {
  const bare = /^\[([^\]]*)\](:\d*)?$/.exec(host)?.[1] ?? host.replace(/:\d*$/, "");
  return bare.toLowerCase().replace(/\.$/, "");
}

const isLoopback = (name: string) =>
  name === "localhost" || name.endsWith(".localhost") || name === "::1" || /^127(\.\d{1,3}){3}$/.test(name);

/** A request that is refused for where it comes from. */
export function refused(message: string, code: string): ApiError {
  return new ApiError({ status: 403, message, type: "invalid_request_error", param: null, code });
}

/** A header's value as messages have it: short, of visible characters. */
export const shown = (text: string): string => `'${text.slice(0, 100).replace(/[^\x21-\x7e]/g, "?")}'`;

/** The guard of a server that was started with `options`. */
export function browserGuard({ allowOrigins, allowHosts, keyed }: GuardOptions): Guard {
  const own = hostname().toLowerCase();
  const names = new Set([own, `${own}.local`, ...CONTAINER_NAMES, ...allowHosts.map(hostName)]);
  const anyHost = allowHosts.includes("*") || (keyed && allowHosts.length === 0);
  const origins = new Set(allowOrigins.map((origin) => origin.toLowerCase()));

  /** An address cannot be rebound: only names are resolved. */
  const knownHost = (host: string) => {
    const name = hostName(host);
    return anyHost || isLoopback(name) || isIP(name) !== 0 || names.has(name);
  };

  function knownOrigin(origin: string, host: string | undefined): boolean {
    const given = origin.toLowerCase();
    if (origins.has("*") || origins.has(given)) return true;
    // Pages without their own origin, among them frames that any site can make.
    if (given === "null") return false;
    const [, scheme, rest] = /^([a-z][a-z0-9+.-]*):\/\/(.*)$/.exec(given) ?? [];
    if (scheme === undefined) return false;
    // Schemes of installed programs and extensions: no web site has them.
    if (scheme !== "http" && scheme !== "https") return true;
    return (
      isLoopback(hostName(rest)) || (host !== undefined && rest === host.toLowerCase() && knownHost(host))
    );
  }

  return {
    check(host, origin) {
      // Programs that speak HTTP/1.0 send none, browsers always do.
      if (host !== undefined && host !== "" && !knownHost(host)) {
        throw refused(
          `This server answers only under names of its own machine, and ${shown(host)} is none of them. ` +
            "To let requests for that name in, start it with --allow-host, or with --api-key.",
          "host_not_allowed",
        );
      }
      if (keyed || origin === undefined || knownOrigin(origin, host)) return;
      throw refused(
        `Pages of ${shown(origin)} may not use this server. To let them, start it with --allow-origin, or with --api-key.`,
        "origin_not_allowed",
      );
    },
    readable: (origin, host) => knownOrigin(origin, host),
  };
}
