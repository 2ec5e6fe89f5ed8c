/** A worker in a process of its own, which tests kill: `node testing-worker.ts URL NAME`. */
import { setTimeout as wait } from "node:timers/promises";
import { BullmqQueue } from "./bullmq-queue.ts";

const [url, name] = process.argv.slice(2);
const queue = await BullmqQueue.open(url, { lockSeconds: 1 });
queue.process(
  "square",
  async (value: number, { emit, signal }) => {
    emit({ worker: name, value });
    await wait(150, undefined, { signal });
    return value * value;
  },
  { concurrency: 2 },
);
process.on("SIGTERM", () => void queue.close().then(() => process.exit(0)));
console.log("ready");
