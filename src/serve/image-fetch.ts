/**
 * Fetches images by URL for clients of a server. An address that leads into the server's own network is never connected
 * to: names are resolved once, and the connection goes to the addresses that were looked at, at every redirect anew.
 */
import { lookup } from "node:dns/promises";
import { Agent as HttpAgent, type IncomingMessage, type RequestOptions, request } from "node:http";
import { Agent as HttpsAgent, request as secureRequest } from "node:https";
import { isIP, type LookupFunction } from "node:net";
import { type ApiError, invalidRequest } from "./errors.ts";
import { isPublicAddress } from "./public-addresses.ts";

/** An address that a name resolves to. */
export interface Address {
  readonly address: string;
  readonly family: number;
}

/** What may be fetched; the defaults are those of a server. */
export interface FetchPolicy {
  readonly resolve: (host: string) => Promise<readonly Address[]>;
  readonly allowed: (address: string) => boolean;
  readonly ports: readonly string[];
  readonly maxBytes: number;
  readonly maxRedirects: number;
  readonly seconds: number;
}

export const FETCH_POLICY: FetchPolicy = {
  resolve: (host) => lookup(host, { all: true, verbatim: true }),
  allowed: isPublicAddress,
  ports: ["", "80", "443"],
  maxBytes: 20 * 2 ** 20,
  maxRedirects: 3,
  seconds: 10,
};

/** Own agents: the shared ones may be set to use a proxy, which would resolve names itself. */
const plain = new HttpAgent({ keepAlive: false });
const secure = new HttpsAgent({ keepAlive: false });

const HEADERS = {
  accept: "image/png, image/jpeg, image/webp, image/gif",
  "accept-encoding": "identity",
  "user-agent": "deepseek-ts",
};

const REDIRECTS: readonly number[] = [301, 302, 303, 307, 308];

const fetchError = (param: string, why: string): ApiError =>
  invalidRequest(`The image at '${param}' could not be fetched: ${why}.`, param, "image_not_fetched");

const addressError = (param: string, host: string): ApiError =>
  invalidRequest(
    `The image at '${param}' is not fetched: '${host}' is not an address of the public internet.`,
    param,
    "image_address_refused",
  );

/** @throws ApiError for what is never fetched */
function checked(text: string, base: URL | null, param: string, { ports }: FetchPolicy): URL {
  if (!URL.canParse(text, base ?? undefined)) throw fetchError(param, "not a URL");
  const url = new URL(text, base ?? undefined);
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw fetchError(param, `URLs of '${url.protocol}' are not fetched, only http and https`);
  }
  if (url.username !== "" || url.password !== "") throw fetchError(param, "the URL holds credentials");
  if (!ports.includes(url.port)) throw fetchError(param, `port ${url.port} is not fetched from`);
  return url;
}

/** The host as an address where it is one: `[::1]` loses its brackets. */
const bare = (hostname: string): string => hostname.replace(/^\[|\]$/g, "");

/** Rejects once the signal says so: name resolution itself cannot be stopped. */
function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

/** The addresses of a host, all of which must be allowed: one among several could be what a rebinding name adds. */
async function addressesOf(
  url: URL,
  param: string,
  policy: FetchPolicy,
  signal: AbortSignal,
): Promise<readonly Address[]> {
  const host = bare(url.hostname);
  const family = isIP(host);
  const resolved = () => Promise.race([policy.resolve(host).catch(() => []), aborted(signal)]);
  const found = family > 0 ? [{ address: host, family }] : await resolved();
  if (found.length === 0) throw fetchError(param, `the host '${host}' is not known`);
  if (found.every(({ address }) => policy.allowed(address))) return found;
  throw addressError(param, host);
}

/** Answers every question for the host's name with the addresses that were looked at. */
function pinned(addresses: readonly Address[]): LookupFunction {
  return (_host, { all }, callback) => {
    if (all) callback(null, [...addresses]);
    else callback(null, addresses[0].address, addresses[0].family);
  };
}

function open(url: URL, addresses: readonly Address[], signal: AbortSignal): Promise<IncomingMessage> {
  const encrypted = url.protocol === "https:";
  const options: RequestOptions = {
    agent: encrypted ? secure : plain,
    headers: HEADERS,
    lookup: pinned(addresses),
    maxHeaderSize: 16_384,
    signal,
  };
  return new Promise((resolve, reject) => {
    (encrypted ? secureRequest : request)(url, options, resolve).on("error", reject).end();
  });
}

/** @throws ApiError for a body that is no plain file or too large */
async function bodyOf(response: IncomingMessage, param: string, { maxBytes }: FetchPolicy) {
  const tooLarge = () => fetchError(param, `it is larger than ${maxBytes} bytes`);
  const encoding = response.headers["content-encoding"] ?? "identity";
  if (encoding !== "identity") throw fetchError(param, `it is encoded as '${encoding.slice(0, 40)}'`);
  if (Number(response.headers["content-length"] ?? 0) > maxBytes) throw tooLarge();
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of response as AsyncIterable<Uint8Array>) {
    length += part.length;
    if (length > maxBytes) throw tooLarge();
    parts.push(part);
  }
  return new Uint8Array(Buffer.concat(parts, length));
}

/**
 * The bytes behind an http or https URL. Their kind is not checked here: they say themselves what they are.
 * @param param the field that holds the URL @param signal the client's
 * @throws ApiError 400 naming the field, the signal's reason
 */
export async function fetchImage(
  text: string,
  param: string,
  signal: AbortSignal,
  policy: FetchPolicy = FETCH_POLICY,
): Promise<Uint8Array> {
  const timeout = AbortSignal.timeout(policy.seconds * 1000);
  const either = AbortSignal.any([signal, timeout]);
  let response: IncomingMessage | null = null;
  try {
    let url = checked(text, null, param, policy);
    for (let redirects = 0; ; redirects++) {
      response = await open(url, await addressesOf(url, param, policy, either), either);
      const { statusCode = 0, headers } = response;
      if (!REDIRECTS.includes(statusCode) || headers.location === undefined) break;
      response.destroy();
      if (redirects === policy.maxRedirects) {
        throw fetchError(param, `it is redirected more than ${policy.maxRedirects} times`);
      }
      url = checked(headers.location, url, param, policy);
    }
    const { statusCode } = response;
    if (statusCode !== 200) throw fetchError(param, `the server answered with status ${statusCode}`);
    return await bodyOf(response, param, policy);
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    if (timeout.aborted) throw fetchError(param, `it took longer than ${policy.seconds} s`);
    // Failures of the network: their messages would tell of the server's surroundings.
    if (error instanceof Error && "code" in error) throw fetchError(param, "the connection failed");
    throw error;
  } finally {
    response?.destroy();
  }
}
