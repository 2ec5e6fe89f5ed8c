/**
 * Errors as OpenAI's interface reports them: an HTTP status and `{error: {message, type, param, code}}`. They cross
 * from the engine's thread as plain objects (`ErrorShape`).
 */

export interface ErrorShape {
  readonly status: number;
  readonly message: string;
  readonly type: string;
  /** The field of the request that is wrong. */
  readonly param: string | null;
  readonly code: string | null;
  /** Seconds after which trying again makes sense. */
  readonly retryAfter?: number;
}

/** An error with its place in the interface; whatever else is thrown becomes a 500 without details. */
export class ApiError extends Error {
  override name = "ApiError";
  readonly shape: ErrorShape;

  constructor(shape: ErrorShape) {
    super(shape.message);
    this.shape = shape;
  }
}

/** A request that cannot be served as it is: 400. */
export function invalidRequest(
  message: string,
  param: string | null = null,
  code: string | null = null,
): ApiError {
  return new ApiError({ status: 400, message, type: "invalid_request_error", param, code });
}

/** A field or value that exists in OpenAI's interface and would change the answer, but is not served here: 400. */
export function unsupported(param: string, why: string): ApiError {
  return invalidRequest(`'${param}' is not supported here: ${why}`, param, "unsupported_parameter");
}

/** Prompt and new tokens exceed the context: 400 `context_length_exceeded`. */
export function contextExceeded(
  limit: number,
  promptTokens: number,
  newTokens: number | null,
  param: string,
): ApiError {
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

/** The queue is full: 429 with the time after which to try again. */
export function queueFull(running: number, waiting: number, retryAfter: number): ApiError {
  return new ApiError({
    status: 429,
    message: `The server is busy: ${running} generations run and ${waiting} wait, which is the most it queues. Try again later.`,
    type: "rate_limit_error",
    param: null,
    code: "queue_full",
    retryAfter,
  });
}

/** The server cannot generate now: 503. */
export function unavailable(message: string, code: string, retryAfter?: number): ApiError {
  return new ApiError({ status: 503, message, type: "server_error", param: null, code, retryAfter });
}

/** Something failed that should not have: 500. The cause is for the log, not for the client. */
export function internal(
  message = "The server failed to answer this request; its log says why.",
  code = "internal_error",
): ApiError {
  return new ApiError({ status: 500, message, type: "server_error", param: null, code });
}

/** The body of an error. */
export function errorBody({ message, type, param, code }: ErrorShape): { error: Record<string, unknown> } {
  return { error: { message, type, param, code } };
}
