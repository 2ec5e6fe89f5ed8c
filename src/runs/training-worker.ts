/** The thread that trains: opens device and run, tells what happens, stops when told to. See `training-thread.ts`. */
import { join } from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import { countParameters } from "../models/count.ts";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import { DeepseekError } from "../tensor/errors.ts";
import { readJson } from "./json-file.ts";
import { Run } from "./run.ts";
import { isStaged } from "./staged/config.ts";
import { StagedRun } from "./staged/run.ts";
import type { FromTraining, ToTraining, TrainedRun, TrainingTask } from "./training-thread.ts";

const port = parentPort!;
const send = (message: FromTraining) => port.postMessage(message);

/** Parameters of a run's model. */
function describe(run: Run | StagedRun) {
  if (run instanceof Run) {
    const { config } = run.model;
    return { modelType: config.modelType, ...countParameters(config) };
  }
  const { config, parameters } = run.model;
  const language = countParameters(config.language);
  const seeing = parameters.count - run.model.language.parameters.count;
  return {
    modelType: config.modelType,
    ...{ total: language.total + seeing, activated: language.activated + seeing, mtp: language.mtp },
  };
}

async function train({ folder, threads }: TrainingTask): Promise<TrainedRun> {
  const controller = new AbortController();
  port.on("message", (message: ToTraining) => {
    if (message.type === "stop") controller.abort();
  });
  await using device = await createCpuDevice({ threads });
  const onNotice = (text: string) => send({ type: "note", text });
  const staged = isStaged(await readJson(join(folder, "run.json")));
  await using run = await (staged ? StagedRun : Run).open(folder, device, { onNotice });
  const { modelType, ...counted } = describe(run);
  const { total, activated, mtp } = counted;
  send({ type: "opened", run: { modelType, parameters: { total, activated, mtp }, step: run.trainer.step } });
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

try {
  // Told only once the run is closed and its lock is free.
  const run = await train(workerData as TrainingTask);
  send({ type: "ended", run });
} catch (error) {
  const { message, stack, code }: NodeJS.ErrnoException =
    error instanceof Error ? error : new Error(String(error));
  send({ type: "failed", message, stack, code, foreseen: error instanceof DeepseekError });
}
port.close();
