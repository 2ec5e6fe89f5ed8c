/** API keys: what may be one, and their check in constant time. Node only. */
import { createHash, timingSafeEqual } from "node:crypto";
import { ConfigError } from "../tensor/errors.ts";
import { ApiError } from "./errors.ts";

const digest = (text: string) => createHash("sha256").update(text, "utf8").digest();

/** Refuses keys that no `Authorization` header can carry as they are. @throws ConfigError */
export function checkKeys(keys: readonly string[]): void {
  keys.forEach((key, i) => {
    const bad = /[^\x21-\x7e]/u.exec(key);
    if (key !== "" && bad === null) return;
    throw new ConfigError("this API key cannot be sent in a header", {
      where: `API key ${i + 1} of ${keys.length}`,
      expected: "visible ASCII characters without spaces",
      // The key itself must not get into a log.
      found:
        bad === null
          ? "nothing"
          : `U+${bad[0].codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")} at character ${bad.index + 1}`,
      hint: "Generate one with: openssl rand -hex 32",
    });
  });
}

/**
 * A check of `Authorization` headers; without keys, all requests are accepted.
 * @param name what the key is called @throws ApiError 401
 */
export function keyCheck(
  keys: readonly string[],
  name = "API key",
): (authorization: string | undefined) => void {
  const known = keys.map(digest);
  return (authorization) => {
    if (known.length === 0) return;
    const given = /^Bearer\s+(\S+)\s*$/i.exec(authorization ?? "")?.[1];
    const hash = digest(given ?? "");
    // All keys are compared, so that the time says nothing about which one was near.
    let matches = 0;
    for (const key of known) matches += timingSafeEqual(key, hash) ? 1 : 0;
    if (given !== undefined && matches > 0) return;
    const message =
      given === undefined
        ? `No ${name} was given. Send it as 'Authorization: Bearer ${name.toUpperCase().split(" ").at(-1)}'.`
        : `The ${name} is not one of this server's.`;
    throw new ApiError({
      status: 401,
      message,
      type: "invalid_request_error",
      param: null,
      code: "invalid_api_key",
    });
  };
}
