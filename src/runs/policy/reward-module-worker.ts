/** The thread of a reward module: loads it, judges one group after the other. See `reward-module.ts`. */
import { parentPort, workerData } from "node:worker_threads";
import { shownValue } from "../../tensor/check-value.ts";
import { sampleText } from "../../train/policy/rewards.ts";
import type { FromModule, ModuleSample } from "./reward-module.ts";

const port = parentPort!;
const send = (message: FromModule) => port.postMessage(message);

/** Tells an error with the first line of the module that it came through. */
function fail(error: unknown): void {
  const message = error instanceof Error ? error.message : String(error);
  const stack = error instanceof Error ? (error.stack ?? "") : "";
  const line = stack.split("\n").find((each) => each.includes(workerData as string));
  const place = line === undefined ? "" : ` (${line.trim().replace(`${workerData as string}:`, "line ")})`;
  send({ type: "failed", message: message + place });
}

type Judge = (samples: readonly ModuleSample[]) => unknown;

/** The numbers of an answer. @throws TypeError naming the sample whose reward is none */
function numbersOf(answer: unknown, samples: readonly ModuleSample[]): (number | null)[] {
  if (!Array.isArray(answer) && !(ArrayBuffer.isView(answer) && !(answer instanceof DataView))) {
    throw new TypeError(`its answer is no list of numbers: ${shownValue(answer)}`);
  }
  const values: unknown[] = Array.from(answer as ArrayLike<unknown>);
  if (values.length !== samples.length) {
    throw new TypeError(`it answered with ${values.length} rewards for ${samples.length} samples`);
  }
  return values.map((value, i) => {
    if (value === null || (typeof value === "number" && Number.isFinite(value))) return value;
    const found = typeof value === "number" ? String(value) : shownValue(value);
    throw new TypeError(`reward ${i} is ${found}, no finite number; it is of ${sampleText(samples[i])}`);
  });
}

async function load(): Promise<Judge> {
  const module = (await import(workerData as string)) as { default?: unknown };
  if (typeof module.default === "function") return module.default as Judge;
  throw new TypeError(`its default export is no function but ${shownValue(module.default)}`);
}

try {
  const judge = await load();
  port.on("message", async (samples: ModuleSample[]) => {
    try {
      // The function may change what it gets; faults show what it was given.
      send({ type: "rewards", rewards: numbersOf(await judge(structuredClone(samples)), samples) });
    } catch (error) {
      fail(error);
    }
  });
  send({ type: "ready" });
} catch (error) {
  fail(error);
}
