import { DeepseekError } from "../tensor/errors.ts";

/** A job that was canceled, or whose queue was closed. */
export class JobCanceledError extends DeepseekError {
  override name = "JobCanceledError";
}

/** A job that failed in another process; the message is that of its error. */
export class JobFailedError extends DeepseekError {
  override name = "JobFailedError";
}
