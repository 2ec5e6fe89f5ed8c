/** Turns for others within long work: what runs on the device keeps the thread, where input and timers wait. */
import { yieldToEventLoop } from "../yield-to-event-loop.ts";

/** Called where others may have a turn; what it returns is awaited, and what it throws gives up the work. */
export type Turn = () => Promise<void> | null;

/** Milliseconds of work after which others get a turn. */
const TURN_MS = 50;

/** Lets others run now and then, and ends the work once the signal says so. */
export function turnsOf(signal?: AbortSignal): Turn {
  let since = performance.now();
  const others = async () => {
    await yieldToEventLoop();
    since = performance.now();
    signal?.throwIfAborted();
  };
  return () => {
    signal?.throwIfAborted();
    return performance.now() - since < TURN_MS ? null : others();
  };
}

/** Gives others their turn. @throws what `turn` throws */
export async function pause(turn: Turn): Promise<void> {
  const wait = turn();
  if (wait !== null) await wait;
}

/** Runs work that pauses, with a turn at each pause; stopped there, it frees what it holds. */
export async function inTurns<T>(work: Generator<void, T, void>, turn: Turn): Promise<T> {
  try {
    for (;;) {
      await pause(turn);
      const { done, value } = work.next();
      if (done) return value;
    }
  } finally {
    work.return(undefined as never);
  }
}
