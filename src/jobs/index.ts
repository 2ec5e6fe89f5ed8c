/** Long work with an id, numbered events, a result, and a way to cancel it. */
export type * from "./job.ts";
export { JobCancelledError, MemoryQueue, type MemoryQueueOptions } from "./memory-queue.ts";
