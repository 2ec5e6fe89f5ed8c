/**
 * The typed errors of the package. A message states the fault, then expected and found values and, if there is one, the
 * next step; the parts are kept as fields for programs.
 */

export interface ErrorDetail {
  /** Operation, file or option that failed. */
  where?: string;
  /** Name of the tensor, key or token concerned. */
  name?: string;
  expected?: unknown;
  found?: unknown;
  /** What the reader can do next. */
  hint?: string;
  cause?: unknown;
}

function show(value: unknown): string {
  if (Array.isArray(value)) return `[${value.join(", ")}]`;
  return typeof value === "string" ? value : String(value);
}

/** Base of every error thrown on purpose. */
export class DeepseekError extends Error {
  override name = "DeepseekError";
  readonly detail: ErrorDetail;

  constructor(message: string, detail: ErrorDetail = {}) {
    const parts = [detail.where ? `${detail.where}: ${message}` : message];
    if (detail.name !== undefined) parts.push(`name: ${detail.name}`);
    if ("expected" in detail) parts.push(`expected: ${show(detail.expected)}`);
    if ("found" in detail) parts.push(`found: ${show(detail.found)}`);
    super(
      parts.join("; ") + (detail.hint ? `. ${detail.hint}` : ""),
      detail.cause ? { cause: detail.cause } : {},
    );
    this.detail = detail;
  }
}

/** Shapes or dtypes that do not fit an operation. */
export class ShapeError extends DeepseekError {
  override name = "ShapeError";
}

/** A configuration value that is missing, malformed or not supported. */
export class ConfigError extends DeepseekError {
  override name = "ConfigError";
}

/** A checkpoint, tokenizer or data file that is damaged or not what it claims to be. */
export class FormatError extends DeepseekError {
  override name = "FormatError";
}

/** A loss, gradient, weight or logit that is infinite or not a number. */
export class NotFiniteError extends DeepseekError {
  override name = "NotFiniteError";
}

/** A tensor, tape or device used after it was freed. */
export class DisposedError extends DeepseekError {
  override name = "DisposedError";
}
