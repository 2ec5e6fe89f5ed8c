/** The thread that learns from rewards: opens device and run, asks for rewards, tells what happens. See `policy-thread.ts`. */
import { parentPort, workerData } from "node:worker_threads";
import { countParameters } from "../../models/count.ts";
import { createCpuDevice } from "../../tensor/cpu/backend.ts";
import { DeepseekError } from "../../tensor/errors.ts";
import type { Reward } from "../../train/policy/rewards.ts";
import { tellEnd } from "../thread-end.ts";
import type { TrainingTask } from "../training-thread.ts";
import type { FromPolicy, ToPolicy, TrainedPolicy } from "./policy-thread.ts";
import { PolicyRun } from "./run.ts";

const port = parentPort!;
const send = (message: FromPolicy) => port.postMessage(message);

type Answer = Extract<ToPolicy, { id: number }>;
const waiting = new Map<number, (answer: Answer) => void>();
let asked = 0;

/** The program's judgment. */
const reward: Reward = async (samples, { signal }) => {
  signal.throwIfAborted();
  const id = asked++;
  const answered = new Promise<Answer>((resolve) => waiting.set(id, resolve));
  const drop = () => send({ type: "drop", id });
  signal.addEventListener("abort", drop, { once: true });
  send({ type: "judge", id, samples });
  try {
    const answer = await answered;
    if (answer.type === "rewards") return answer.rewards;
    throw answer.foreseen ? new DeepseekError(answer.message) : new Error(answer.message);
  } finally {
    signal.removeEventListener("abort", drop);
    waiting.delete(id);
  }
};

async function train({ folder, threads }: TrainingTask): Promise<TrainedPolicy> {
  const controller = new AbortController();
  port.on("message", (message: ToPolicy) => {
    if (message.type === "stop") controller.abort(new Error("stopped"));
    else waiting.get(message.id)?.(message);
  });
  await using device = await createCpuDevice({ threads });
  const onNotice = (text: string) => send({ type: "note", text });
  await using run = await PolicyRun.open(folder, device, { onNotice, reward });
  const { modelType } = run.model.config;
  const { total, activated, mtp } = countParameters(run.model.config);
  const parameters = { total, activated, mtp };
  send({ type: "opened", run: { modelType, parameters, step: run.policy.steps } });
  const result = await run.train(
    {
      onStep: (metrics, length) => send({ type: "step", metrics, length }),
      onNotice,
      onEvaluation: (step, evaluation) => send({ type: "evaluation", step, evaluation }),
    },
    controller.signal,
  );
  return { ...result, memory: run.memory() };
}

await tellEnd(port, () => train(workerData as TrainingTask));
