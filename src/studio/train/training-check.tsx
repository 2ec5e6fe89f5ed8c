/** The server's word on a training that is being described, and its refusals beside the fields that they are about. */
import { useEffect, useState } from "preact/hooks";
import { BackendError, messageOf } from "../backend/backend.ts";
import type { TrainPresets } from "../backend/wire.ts";
import { useStudio } from "../state/studio.ts";
import { bodyOf, type RunForm } from "./new-run-settings.ts";

/** Milliseconds without a change after which the server is asked. */
const QUIET = 500;

/** A refusal, by the field that it is about. */
export interface Refusal {
  readonly message: string;
  /** `body.out`, `body.config.training.steps`, ..; null for none in particular. */
  readonly param: string | null;
}

export const refusalOf = (error: unknown): Refusal => ({
  message: messageOf(error),
  param: error instanceof BackendError ? error.param : null,
});

/** Asks the server whether the training could be begun, once nothing has changed for a while. */
export function useCheck(form: RunForm | null, presets: TrainPresets | null) {
  const studio = useStudio();
  const [memory, setMemory] = useState<string | null>(null);
  const [refusal, setRefusal] = useState<Refusal | null>(null);
  const body = form && presets && bodyOf(form, presets);
  const key = JSON.stringify(body);
  useEffect(() => {
    setRefusal(null);
    if (!body) {
      setMemory(null);
      return;
    }
    let current = true;
    const timer = setTimeout(() => {
      studio.backend.checkTraining(body).then(
        (found) => {
          if (current) setMemory(found.memory);
        },
        (error) => {
          if (!current) return;
          setMemory(null);
          setRefusal(refusalOf(error));
        },
      );
    }, QUIET);
    return () => {
      current = false;
      clearTimeout(timer);
    };
  }, [key]);
  return { body, memory, refusal, setRefusal };
}

/** A fault beside the field that has it. */
export const FieldFault = ({ id, refusal }: { readonly id: string; readonly refusal: Refusal | null }) =>
  refusal && (
    <p id={id} class="fault" role="alert">
      {refusal.message}
    </p>
  );
