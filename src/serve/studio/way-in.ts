/**
 * How the browser that the command opens gets the token. The address that it is started with stands in the list of processes, which
 * every user of the machine can read; so it carries a code that gives the token once, within a minute, and is nothing afterwards.
 */
import { randomBytes } from "node:crypto";
import { keyCheck } from "../access.ts";
import { ApiError } from "../errors.ts";

/** Milliseconds in which a browser must have come. */
const VALID = 60_000;

export interface WayIn {
  readonly code: string;
  /** The token, for the code. @throws ApiError 401 for another one, or where it was used or is too old */
  enter(code: string): string;
}

/** @param now milliseconds, rising */
export function wayIn(token: string, now: () => number = () => performance.now()): WayIn {
  const code = randomBytes(32).toString("base64url");
  const check = keyCheck([code], "code");
  const made = now();
  let used = false;
  return {
    code,
    enter(given) {
      check(`Bearer ${given}`);
      if (!used && now() - made <= VALID) {
        used = true;
        return token;
      }
      throw new ApiError({
        status: 401,
        message:
          "This address was opened already, or is older than a minute. Open the one that the command printed.",
        type: "invalid_request_error",
        param: "code",
        code: "code_used",
      });
    },
  };
}
