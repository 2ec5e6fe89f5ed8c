/**
 * Learning from rewards in its own thread, so that the program's own thread is free to answer signals, to draw, and to judge: the
 * thread asks it for the rewards of each group, since commands, modules and verifiers are the program's. This file is the program's
 * side.
 */
import type { Job, JobContext, JobQueue } from "../../jobs/job.ts";
import { DeepseekError } from "../../tensor/errors.ts";
import type { TrainingMemory } from "../../train/memory.ts";
import type { PassAt } from "../../train/policy/evaluation.ts";
import type { PolicyMetrics } from "../../train/policy/policy-trainer.ts";
import type { Reward, RewardSample } from "../../train/policy/rewards.ts";
import type { RunLength } from "../loop.ts";
import { endOf, type OpenedRun, startThread, type ThreadEnd, type TrainingTask } from "../training-thread.ts";
import type { PolicyRunResult } from "./run.ts";

export interface TrainedPolicy extends PolicyRunResult {
  readonly memory: TrainingMemory;
}

/** What such a training tells. */
export type PolicyEvent =
  | { readonly type: "opened"; readonly run: OpenedRun }
  | { readonly type: "note"; readonly text: string }
  | { readonly type: "step"; readonly metrics: PolicyMetrics; readonly length: RunLength }
  | { readonly type: "evaluation"; readonly step: number; readonly evaluation: PassAt };

/** From the thread: events, its end, groups to judge, and that nobody waits for one any more. */
export type FromPolicy = PolicyEvent | ThreadEnd<TrainedPolicy> | JudgeRequest;

/** A group to judge, or that nobody waits for one any more. */
type JudgeRequest =
  | { readonly type: "judge"; readonly id: number; readonly samples: readonly RewardSample[] }
  | { readonly type: "drop"; readonly id: number };

/** To the thread. */
export type ToPolicy =
  | { readonly type: "stop" }
  | { readonly type: "rewards"; readonly id: number; readonly rewards: readonly (number | null)[] }
  | { readonly type: "fault"; readonly id: number; readonly message: string; readonly foreseen: boolean };

/** Judges what the thread asks for. */
class Desk {
  readonly #reward: Reward;
  readonly #send: (message: ToPolicy) => void;
  readonly #asked = new Map<number, AbortController>();

  constructor(reward: Reward, send: (message: ToPolicy) => void) {
    this.#reward = reward;
    this.#send = send;
  }

  async judge(id: number, samples: readonly RewardSample[]): Promise<void> {
    const controller = new AbortController();
    this.#asked.set(id, controller);
    try {
      const rewards = await this.#reward(samples, { signal: controller.signal });
      // What is not plain data could not be told; the thread checks the rest.
      this.#send({
        type: "rewards",
        id,
        rewards: Array.from(rewards, (each) => (each === null ? null : Number(each))),
      });
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.#send({ type: "fault", id, message, foreseen: error instanceof DeepseekError });
    } finally {
      this.#asked.delete(id);
    }
  }

  drop(id: number): void {
    this.#asked.get(id)?.abort(new Error("no longer needed"));
  }

  dropAll(): void {
    for (const id of this.#asked.keys()) this.drop(id);
  }
}

/**
 * Trains the run of `task` from where it stands until its end, or until `signal` aborts: then the rollout in progress is given up
 * and all steps before are saved. @throws DeepseekError and what the thread threw
 */
export async function trainPolicyInThread(
  task: TrainingTask,
  reward: Reward,
  onEvent: (event: PolicyEvent) => void,
  signal?: AbortSignal,
): Promise<TrainedPolicy> {
  const worker = startThread(import.meta.url, "policy-worker", task);
  const desk = new Desk(reward, (message) => worker.postMessage(message));
  const take = (message: PolicyEvent | JudgeRequest) => {
    if (message.type === "judge") void desk.judge(message.id, message.samples);
    else if (message.type === "drop") desk.drop(message.id);
    else onEvent(message);
  };
  try {
    return await endOf(worker, take, signal);
  } finally {
    desk.dropAll();
  }
}

/**
 * Training as a job of `queue`, of a kind of its own, since its reward is no data. Canceled, it saves and gives what it has.
 * @throws ConfigError as `JobQueue.add`
 */
export function policyJob(
  queue: JobQueue,
  task: TrainingTask,
  reward: Reward,
): Promise<Job<PolicyEvent, TrainedPolicy>> {
  queue.process("train-policy", (given: TrainingTask, { emit, signal }: JobContext<PolicyEvent>) =>
    trainPolicyInThread(given, reward, emit, signal),
  );
  return queue.add("train-policy", task);
}
