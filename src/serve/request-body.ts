/** Reads the bodies of requests: JSON by their own word, in UTF-8 or the charset they name, up to a limit. */
import { ApiError, invalidRequest, unavailable } from "./errors.ts";

/** Most bytes of all bodies that are being read at once; at least so many bodies of the largest size. */
const BYTES_AT_ONCE = 256 * 2 ** 20;
const BODIES_AT_ONCE = 4;
/** Most characters of a body besides its images: about two million tokens. */
const TEXT_LIMIT = 8 * 2 ** 20;

function tooLarge(limit: number): ApiError {
  return new ApiError({
    status: 413,
    message: `The body is larger than ${limit} bytes.`,
    type: "invalid_request_error",
    param: null,
    code: "request_too_large",
  });
}

/** @throws ApiError 413 for texts that are longer than any body without images may be */
export function checkTextLength(length: number): void {
  if (length > TEXT_LIMIT) throw tooLarge(TEXT_LIMIT);
}

function unsupportedMedia(message: string, code: string): ApiError {
  return new ApiError({ status: 415, message, type: "invalid_request_error", param: null, code });
}

/**
 * The decoder that a JSON body asks for. Pages of other sites can send bodies of other types, or of none, without
 * asking first; they cannot send this one. @throws ApiError 415
 */
function decoderOf(contentType: string | null): TextDecoder {
  const [essence, ...parameters] = (contentType ?? "").toLowerCase().split(";");
  if (!/^application\/([\w.+-]+\+)?json$/.test(essence.trim())) {
    throw unsupportedMedia(
      `Bodies are JSON and must say so; expected the header 'Content-Type: application/json', found ${
        contentType === null ? "none" : `'${contentType.slice(0, 100)}'`
      }.`,
      "unsupported_media_type",
    );
  }
  const charset = parameters
    .map((text) => /^\s*charset\s*=\s*"?([^"\s]+)"?\s*$/.exec(text)?.[1])
    .find(Boolean);
  try {
    return new TextDecoder(charset ?? "utf-8", { fatal: true });
  } catch {
    throw unsupportedMedia(
      `Bodies in the charset '${charset}' are not read; send UTF-8.`,
      "unsupported_charset",
    );
  }
}

function joined(parts: readonly Uint8Array[], length: number): Uint8Array {
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** A reader of bodies up to `limit` bytes each. */
export function bodyReader(limit: number): (request: Request) => Promise<string> {
  let reading = 0;
  const most = Math.max(limit * BODIES_AT_ONCE, BYTES_AT_ONCE);

  /** @throws ApiError 413, 503 */
  async function bytesOf(request: Request): Promise<Uint8Array> {
    if (Number(request.headers.get("content-length") ?? 0) > limit) throw tooLarge(limit);
    const parts: Uint8Array[] = [];
    let length = 0;
    const reader = request.body?.getReader();
    try {
      for (;;) {
        const next = await reader?.read();
        if (next === undefined || next.done) return joined(parts, length);
        length += next.value.length;
        reading += next.value.length;
        if (length > limit) throw tooLarge(limit);
        if (reading > most) throw unavailable("Too many bodies arrive at once. Try again later.", "busy", 1);
        parts.push(next.value);
      }
    } finally {
      reading -= length;
    }
  }

  /**
   * The body as text. @throws ApiError 413 beyond `limit`, 415 if it is no JSON or compressed, 400 for a broken
   * encoding, 503 if all bodies together are too large
   */
  return async (request) => {
    const encoding = request.headers.get("content-encoding");
    if (encoding !== null && encoding.toLowerCase() !== "identity") {
      throw unsupportedMedia(
        `Bodies encoded as '${encoding.slice(0, 100)}' are not read; send it as it is.`,
        "unsupported_encoding",
      );
    }
    const decoder = decoderOf(request.headers.get("content-type"));
    const bytes = await bytesOf(request);
    try {
      return decoder.decode(bytes);
    } catch {
      throw invalidRequest(
        `The body is not valid ${decoder.encoding.toUpperCase()}.`,
        null,
        "invalid_encoding",
      );
    }
  };
}
