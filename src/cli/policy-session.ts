/** Learning from rewards as a person at a terminal sees it: the rewards that judge, the live view, Ctrl-C, what it all took. */
import { join } from "node:path";
import { readJson } from "../runs/json-file.ts";
import { savedPolicyRun } from "../runs/policy/config.ts";
import { type PolicyEvent, policyJob, type TrainedPolicy } from "../runs/policy/policy-thread.ts";
import type { TrainingTask } from "../runs/training-thread.ts";
import { basePath } from "../runs/tuned/base-model.ts";
import { formatCompact } from "../text/units.ts";
import type { Reward } from "../train/policy/rewards.ts";
import { runJob } from "./job-session.ts";
import type { Output } from "./output.ts";
import { PolicyView, passText } from "./policy-view.ts";
import { memoryText, quote } from "./training-session.ts";

function show(view: PolicyView, event: PolicyEvent): void {
  if (event.type === "note") view.note(event.text);
  else if (event.type === "step") view.step(event.metrics, event.length);
  else if (event.type === "evaluation") view.evaluation(event.step, event.evaluation);
  else {
    const { modelType, parameters, step } = event.run;
    const { total, activated } = parameters;
    const begin = step > 0 ? `, continuing after step ${step}` : "";
    view.note(
      `model     ${modelType}, ${formatCompact(total)} parameters (${formatCompact(activated)} per token)${begin}`,
    );
  }
}

/** Where the model is, how good it is, and commands to try it. */
async function nextSteps(folder: string, { modelFolder, evaluation }: TrainedPolicy): Promise<string> {
  const held = evaluation === null ? "" : `, ${passText(evaluation)}`;
  const path = join(folder, "run.json");
  const { lora, model } = savedPolicyRun(await readJson(path), path);
  const run = lora === undefined ? quote(folder) : `${quote(basePath(model))} --adapter ${quote(folder)}`;
  return [
    `saved     ${modelFolder}${held}`,
    "Try:",
    `  npx deepseek-ts complete ${run} TEXT`,
    `  npx deepseek-ts chat ${run}`,
    "",
  ].join("\n");
}

/** Trains the run in `task.folder` from where it stands. @returns the status to exit with */
export async function trainPolicyWithView(
  task: TrainingTask,
  reward: Reward,
  output: Output,
): Promise<number> {
  const view = new PolicyView(output);
  const { result, exitCode, cause } = await runJob((queue) => policyJob(queue, task, reward), {
    onEvent: (event) => show(view, event),
    onInterrupt: () => view.note("saving the steps that are made; Ctrl-C again exits at once without saving"),
    outlivesReader: true,
  });
  // A run that is canceled saves, and says how far it came: else that failed.
  if (result === null) throw cause ?? new Error("a canceled training returned nothing");
  if (result.finished) {
    view.end();
    output.write(`${memoryText(result.memory)}\n${await nextSteps(task.folder, result)}`);
    return 0;
  }
  view.note(`stopped and saved after step ${result.step}. Continue with:`);
  output.write(`  npx deepseek-ts grpo --resume ${quote(task.folder)}\n`);
  return exitCode;
}
