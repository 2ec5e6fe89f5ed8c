/** Errors as OpenAI's interface reports them: an HTTP status and `{error: {message, type, param, code}}`. */
import { type FaultKind, RequestError } from "../engine/host/errors.ts";

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

const PLACES: Readonly<Record<FaultKind, Pick<ErrorShape, "status" | "type">>> = {
  invalid: { status: 400, type: "invalid_request_error" },
  busy: { status: 429, type: "rate_limit_error" },
  failed: { status: 500, type: "server_error" },
  unavailable: { status: 503, type: "server_error" },
};

/** An error as clients get it; null if it is none of the interface's and none of the engine's host. */
export function apiError(error: unknown): ApiError | null {
  if (error instanceof ApiError) return error;
  if (!(error instanceof RequestError)) return null;
  const { kind, ...rest } = error.fault;
  return new ApiError({ ...PLACES[kind], ...rest });
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
