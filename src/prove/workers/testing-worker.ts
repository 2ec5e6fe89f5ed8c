/** A worker of a toy world, which tests kill: `node testing-worker.ts URL PREFIX STORE KIND`. */
import { setTimeout as wait } from "node:timers/promises";
import { BullmqQueue } from "../../jobs/bullmq-queue.ts";
import { corridorTools } from "../search/testing-world.ts";
import { ProofStore } from "../store/store.ts";
import { queuedTools } from "./queued-prover.ts";
import { serveGenerate, serveSearch, serveVerify } from "./serve.ts";

const [url, prefix, path, kind] = process.argv.slice(2);
const store = await ProofStore.open(path);
const queue = await BullmqQueue.open(url, { prefix, lockSeconds: 1 });
const { generator, lean } = corridorTools(() => wait(1 + Math.random() * 4));
if (kind === "generate") serveGenerate(queue, store, generator);
else if (kind === "verify") serveVerify(queue, store, lean);
else serveSearch(queue, store, await queuedTools(queue, store, (text) => text.length));
console.log("ready");
