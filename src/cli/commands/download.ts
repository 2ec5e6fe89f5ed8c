/** `deepseek-ts download`: brings a model from the Hugging Face hub into the shared cache. */

import { Command } from "commander";
import { downloadModel } from "../../pretrained/hub.ts";
import { formatBytes, plural } from "../../text/units.ts";
import { flowing } from "../help.ts";
import { listenForInterrupt } from "../interrupt.ts";
import { ProgressLine } from "../progress-line.ts";
import { positiveInteger } from "./options.ts";

const help = `
Cached files are not downloaded again, and the same command resumes an interrupted download. Files are verified by
hash. The cache is shared with the Python library (HF_HOME, HF_HUB_CACHE). HF_TOKEN or the login of \`hf auth login\`
gives access to gated and private models; HF_ENDPOINT selects another hub.

Examples:
  deepseek-ts download deepseek-ai/DeepSeek-V2-Lite-Chat
  deepseek-ts download org/name@v1.0
  deepseek-ts download org/name-GGUF --file Q4_0`;

interface DownloadFlags {
  readonly revision?: string;
  readonly file?: string;
  readonly parallel?: number;
  readonly json?: boolean;
}

export function downloadCommand(): Command {
  return new Command("download")
    .summary("download a model from the Hugging Face hub")
    .description(
      "Downloads the files a model needs (configuration, tokenizer, and safetensors, PyTorch files or one GGUF file) and " +
        "prints the path.",
    )
    .argument("<name>", "org/name or org/name@revision")
    .option("--revision <revision>", "branch, tag or commit (default: main)")
    .option("--file <file>", "GGUF file to download: its name or part of it, such as Q4_0")
    .option("--parallel <n>", "number of parallel downloads (default: 3)", positiveInteger)
    .option("--json", "print one JSON object: path, commit, files")
    .addHelpText("after", flowing(help))
    .action(async (name: string, { revision, file, parallel, json }: DownloadFlags) => {
      const line = new ProgressLine(process.stderr, 0);
      using interrupt = listenForInterrupt(() =>
        line.note("Stopping. Run the same command again to resume."),
      );
      const { signal } = interrupt;
      let bytes = 0;
      try {
        const model = await downloadModel(name, {
          ...{ revision, file, parallel, signal, onNotice: line.note },
          onProgress: (progress) => {
            bytes = progress.total;
            line.update(progress);
          },
        });
        line.clear();
        const { path, commit, files, fromCache } = model;
        if (json) process.stdout.write(`${JSON.stringify(model)}\n`);
        else {
          const size = fromCache ? "from the cache" : formatBytes(bytes);
          if (process.stderr.isTTY)
            process.stderr.write(`${plural(files.length, "file")}, ${size}, commit ${commit}\n`);
          process.stdout.write(`${path}\n`);
        }
      } catch (error) {
        line.clear();
        if (!signal.aborted) throw error;
        process.exitCode = interrupt.exitCode;
      }
    });
}
