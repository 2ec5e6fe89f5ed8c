/** Long work with an id, numbered events, a result, and a way to cancel it. */
export type * from "./job.ts";
export { JobCanceledError, MemoryQueue, type MemoryQueueOptions } from "./memory-queue.ts";
