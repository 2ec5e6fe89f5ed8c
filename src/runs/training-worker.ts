/** The thread that trains: opens device and run, tells what happens, stops when told to. See `training-thread.ts`. */
import { join } from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import { countParameters } from "../models/count.ts";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import { readJson } from "./json-file.ts";
import { Run } from "./run.ts";
import { isStaged } from "./staged/config.ts";
import { StagedRun } from "./staged/run.ts";
import { tellEnd } from "./thread-end.ts";
import type { FromTraining, ToTraining, TrainedRun, TrainingTask } from "./training-thread.ts";
import { isTuned } from "./tuned/config.ts";
import { TunedRun } from "./tuned/run.ts";

const port = parentPort!;
const send = (message: FromTraining) => port.postMessage(message);

/** Parameters of a run's model, and steps made. */
function describe(run: Run | StagedRun | TunedRun) {
  if (!(run instanceof StagedRun)) {
    const { config } = run.model;
    const step = run instanceof Run ? run.trainer.step : run.step;
    return { modelType: config.modelType, step, ...countParameters(config) };
  }
  const { config, parameters } = run.model;
  const language = countParameters(config.language);
  const seeing = parameters.count - run.model.language.parameters.count;
  return {
    ...{ modelType: config.modelType, step: run.trainer.step },
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
  const json = await readJson(join(folder, "run.json"));
  const Kind = isTuned(json) ? TunedRun : isStaged(json) ? StagedRun : Run;
  await using run = await Kind.open(folder, device, { onNotice });
  const { modelType, step, total, activated, mtp } = describe(run);
  send({ type: "opened", run: { modelType, parameters: { total, activated, mtp }, step } });
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
