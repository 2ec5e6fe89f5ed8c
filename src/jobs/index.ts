/** Long work with an id, numbered events, a result, and a way to cancel it. */

export { JobCanceledError, JobFailedError } from "./errors.ts";
export type * from "./job.ts";
export { MemoryQueue, type MemoryQueueOptions } from "./memory-queue.ts";
