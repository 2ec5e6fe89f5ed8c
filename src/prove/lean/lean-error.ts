import { DeepseekError } from "../../tensor/errors.ts";

/** Lean cannot run here: it is not installed, does not start, or is not the version that is needed. */
export class LeanError extends DeepseekError {
  override name = "LeanError";
}
