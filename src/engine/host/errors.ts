/**
 * Why a request gets no answer. Errors cross from the engine's thread as plain objects (`Fault`); an HTTP server maps
 * their kinds to statuses.
 */

/**
 * `invalid`: it cannot be served as it is. `busy`: the queue is full. `failed`: something went wrong that should not
 * have; the cause is for the log. `unavailable`: the engine has ended or is about to.
 */
export type FaultKind = "invalid" | "busy" | "failed" | "unavailable";

export interface Fault {
  readonly kind: FaultKind;
  readonly message: string;
  /** The field of the request that is wrong, in the names of OpenAI's interface. */
  readonly param: string | null;
  /** Short name of the fault for programs. */
  readonly code: string | null;
  /** Seconds after which trying again makes sense. */
  readonly retryAfter?: number;
}

/** A request that the engine's host refuses, or whose generation failed. */
export class RequestError extends Error {
  override name = "RequestError";
  readonly fault: Fault;

  constructor(fault: Fault) {
    super(fault.message);
    this.fault = fault;
  }
}

/** A request that cannot be served as it is. */
export function invalidRequest(
  message: string,
  param: string | null = null,
  code: string | null = null,
): RequestError {
  return new RequestError({ kind: "invalid", message, param, code });
}

/** A field or value that exists in OpenAI's interface and would change the answer, but is not served. */
export function unsupported(param: string, why: string): RequestError {
  return invalidRequest(`'${param}' is not supported here: ${why}`, param, "unsupported_parameter");
}

/** Prompt and new tokens exceed the context: `context_length_exceeded`. */
export function contextExceeded(
  limit: number,
  promptTokens: number,
  newTokens: number | null,
  param: string,
): RequestError {
  const asked =
    newTokens === null
      ? `the prompt alone has ${promptTokens} tokens, and at least one more must fit`
      : `${promptTokens + newTokens} tokens were asked for (${promptTokens} in the prompt, ${newTokens} to generate)`;
  return invalidRequest(
    `The maximum context length is ${limit} tokens, but ${asked}.`,
    param,
    "context_length_exceeded",
  );
}

/** The queue is full; `retryAfter` in seconds. */
export function queueFull(running: number, waiting: number, retryAfter: number): RequestError {
  return new RequestError({
    kind: "busy",
    message: `The engine is busy: ${running} generations run and ${waiting} wait, which is the most it queues. Try again later.`,
    param: null,
    code: "queue_full",
    retryAfter,
  });
}

/** The engine cannot generate now. */
export function unavailable(message: string, code: string): RequestError {
  return new RequestError({ kind: "unavailable", message, param: null, code });
}

/** Something failed that should not have. The cause is for the log, not for the client. */
export function requestFailed(
  message = "The engine failed to answer this request; its log says why.",
  code = "internal_error",
): RequestError {
  return new RequestError({ kind: "failed", message, param: null, code });
}
