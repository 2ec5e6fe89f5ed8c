/** Who may ask what: API keys, compared in constant time, and bodies read up to a limit. Node only. */
import { createHash, timingSafeEqual } from "node:crypto";
import { ApiError, invalidRequest } from "./errors.ts";

const digest = (text: string) => createHash("sha256").update(text, "utf8").digest();

/** A check of `Authorization` headers; with no keys everybody may ask. @throws ApiError 401 */
export function keyCheck(keys: readonly string[]): (authorization: string | undefined) => void {
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
        ? "No API key was given. Send it as 'Authorization: Bearer KEY'."
        : "The API key is not one of this server's.";
    throw new ApiError({
      status: 401,
      message,
      type: "invalid_request_error",
      param: null,
      code: "invalid_api_key",
    });
  };
}

function tooLarge(limit: number): ApiError {
  return new ApiError({
    status: 413,
    message: `The body is larger than ${limit} bytes.`,
    type: "invalid_request_error",
    param: null,
    code: "request_too_large",
  });
}

/** The body as text. @throws ApiError 413 beyond `limit` bytes, 415 where it is compressed, 400 for broken UTF-8 */
export async function readBody(request: Request, limit: number): Promise<string> {
  const encoding = request.headers.get("content-encoding");
  if (encoding !== null && encoding.toLowerCase() !== "identity") {
    throw new ApiError({
      status: 415,
      message: `Bodies encoded as '${encoding}' are not read; send it as it is.`,
      type: "invalid_request_error",
      param: null,
      code: "unsupported_encoding",
    });
  }
  if (Number(request.headers.get("content-length") ?? 0) > limit) throw tooLarge(limit);
  const parts: Uint8Array[] = [];
  let length = 0;
  const reader = request.body?.getReader();
  for (;;) {
    const next = await reader?.read();
    if (next === undefined || next.done) break;
    length += next.value.length;
    if (length > limit) throw tooLarge(limit);
    parts.push(next.value);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(parts, length));
  } catch {
    throw invalidRequest("The body is not valid UTF-8.", null, "invalid_encoding");
  }
}
