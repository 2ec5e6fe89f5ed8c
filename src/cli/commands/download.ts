/** `deepseek-ts download`: brings a model from the Hugging Face hub into the shared cache. */

import { Command } from "commander";
import { downloadModel } from "../../pretrained/hub.ts";
import { formatBytes, plural } from "../../text/units.ts";
import { flowing } from "../help.ts";
import { listenForInterrupt } from "../interrupt.ts";
import { ProgressLine } from "../progress-line.ts";
import { positiveInteger } from "./options.ts";

const help = `
What is there already is not fetched again, and an interrupted download is continued by the same command. Files are
checked against the hub's hashes. The cache is the one of the Python library: HF_HOME or HF_HUB_CACHE say where.
HF_TOKEN, or the login of \`hf auth login\`, opens gated and private models; HF_ENDPOINT names another hub.

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
    .summary("fetch a model from the Hugging Face hub")
    .description(
      "Downloads what a model needs (configuration, tokenizer, safetensors, or torch's files where there are none; or " +
        "one GGUF file) and prints its path.",
    )
    .argument("<name>", "org/name or org/name@revision")
    .option("--revision <revision>", "branch, tag or commit (default: main)")
    .option("--file <file>", "one GGUF file: its name or a part of it, such as Q4_0")
    .option("--parallel <n>", "files at a time (default: 3)", positiveInteger)
    .option("--json", "write one JSON object: path, commit, files")
    .addHelpText("after", flowing(help))
    .action(async (name: string, { revision, file, parallel, json }: DownloadFlags) => {
      const line = new ProgressLine(process.stderr, 0);
      using interrupt = listenForInterrupt(() =>
        line.note("Stopping. What came is kept; the same command continues."),
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
