/** `deepseek-ts check-parity`: compares this package with the reference implementation on a fixture folder. */
import { Command, Option } from "commander";
import { nodeFolder } from "../../checkpoint/node-files.ts";
import { checkParity, type ParityOutput, type ParityReport } from "../../parity/parity.ts";
import { createCpuDevice } from "../../tensor/cpu/backend.ts";
import { createReferenceDevice } from "../../tensor/reference/backend.ts";
import type { Device } from "../../tensor/tensor.ts";
import { flowing } from "../help.ts";

interface ParityFlags {
  readonly json?: boolean;
  readonly device: "cpu" | "reference";
  readonly allDevices?: boolean;
}

const examples = `
The folder holds config.json, model.safetensors (or its index with shards), inputs.json, expected.safetensors,
meta.json with the tolerances, and optionally grads.safetensors. Cases of post-training (test/fixtures/align: losses, gradients,
updates, packing, spans that are learned) and of scaling laws (test/fixtures/scaling: fits) are told by their name in meta.json; some
hold no model.

Exit status: 0 where every output is within its tolerance, 1 otherwise.

--json writes one object: {case, device, outputs: [{name, maxAbs, maxRel, tolerance, measure, within}], within};
with --all-devices {within, reports: [..]}. A figure that is infinite (an output that is missing, NaN, or of another
size) is null.

Examples:
  deepseek-ts check-parity fixtures/v3/mtp
  deepseek-ts check-parity fixtures/align/dpo
  deepseek-ts check-parity fixtures/scaling/isoflop-noise
  deepseek-ts check-parity fixtures/v2/lite --all-devices --json`;

const devices = {
  cpu: { label: "cpu", open: () => createCpuDevice() },
  baseline: {
    label: "cpu, one thread, baseline SIMD",
    open: () => createCpuDevice({ threads: 1, relaxed: false }),
  },
  reference: { label: "reference", open: async () => createReferenceDevice() },
} satisfies Record<string, { label: string; open: () => Promise<Device> }>;

function table({ outputs, within, device }: ParityReport, name: string): string {
  const width = Math.max(...outputs.map((output) => output.name.length), 6);
  const figure = (n: number) => n.toExponential(2).padStart(10);
  const row = (o: ParityOutput) =>
    `${o.name.padEnd(width)} ${figure(o.maxAbs)} ${figure(o.maxRel)} ${figure(o.tolerance)} ` +
    `${o.measure.slice(0, 3)}  ${o.within ? "ok" : "OUTSIDE"}`;
  const outside = outputs.filter((output) => !output.within).length;
  return [
    `${name} on ${device}`,
    `${"output".padEnd(width)} ${"max abs".padStart(10)} ${"max rel".padStart(10)} ${"tolerance".padStart(10)}`,
    ...outputs.map(row),
    within
      ? `all ${outputs.length} outputs within tolerance`
      : `${outside} of ${outputs.length} outputs OUTSIDE their tolerance`,
    "",
  ].join("\n");
}

export function checkParityCommand(): Command {
  return new Command("check-parity")
    .summary("compare a model with recorded reference outputs")
    .description(
      "Loads a model with recorded inputs and reference outputs, runs it in every form (training, with and without a " +
        "cache, greedy generation) and prints the largest absolute and relative error of each named output.",
    )
    .argument("<folder>", "folder in the layout of test/fixtures")
    .option("--json", "print one JSON object")
    .addOption(new Option("--device <name>", "backend").choices(["cpu", "reference"]).default("cpu"))
    .option("--all-devices", "run on every backend: cpu, cpu without relaxed SIMD and threads, reference")
    .addHelpText("after", flowing(examples))
    .action(async (folder: string, flags: ParityFlags) => {
      const chosen = flags.allDevices ? Object.values(devices) : [devices[flags.device]];
      const reports: ParityReport[] = [];
      for (const { label, open } of chosen) {
        await using device = await open();
        const report = { ...(await checkParity(nodeFolder(folder), device)), device: label };
        reports.push(report);
        if (!flags.json) process.stdout.write(table(report, report.case));
      }
      const within = reports.every((report) => report.within);
      // JSON has no infinity: JSON.stringify writes null.
      if (flags.json)
        process.stdout.write(`${JSON.stringify(flags.allDevices ? { within, reports } : reports[0])}\n`);
      process.exitCode = within ? 0 : 1;
    });
}
