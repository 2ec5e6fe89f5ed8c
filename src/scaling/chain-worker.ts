/** A thread that trains chains of a sweep, one after the other on one device: opening one costs more than a small run. */
import { parentPort, workerData } from "node:worker_threads";
import { failureOf } from "../runs/thread-end.ts";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import type { ChainThreadData, FromChainThread, ToChainThread } from "./chain-threads.ts";
import { trainChain } from "./train-chain.ts";

const port = parentPort!;
const send = (message: FromChainThread) => port.postMessage(message);
const { plan, folder, threads } = workerData as ChainThreadData;
await using device = await createCpuDevice({ threads });
let controller = new AbortController();

async function train(chain: Extract<ToChainThread, { type: "chain" }>["chain"]): Promise<void> {
  controller = new AbortController();
  try {
    await trainChain(
      device,
      plan,
      folder,
      chain,
      (event) => send({ type: "event", event }),
      controller.signal,
    );
    send({ type: "done" });
  } catch (error) {
    send(failureOf(error));
  }
}

await new Promise<void>((end) => {
  port.on("message", (message: ToChainThread) => {
    if (message.type === "chain") void train(message.chain);
    else if (message.type === "stop") controller.abort();
    else end();
  });
});
port.close();
