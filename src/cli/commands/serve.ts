/** `deepseek-ts serve`: an OpenAI-compatible HTTP server for one model. */
import { basename, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Command, InvalidArgumentError, Option } from "commander";
import type { ModelInfo } from "../../serve/protocol.ts";
import { type RunningServer, startServer } from "../../serve/server.ts";
import { listenForInterrupt } from "../interrupt.ts";
import { hubFlags, MODEL_ARGUMENT, type ModelFlags, modelPath, withModel } from "./open-model.ts";
import { naturalNumber, numberThat, positiveInteger, withThreads } from "./options.ts";

interface ServeFlags extends ModelFlags {
  readonly port: number;
  readonly host: string;
  readonly apiKey: readonly string[];
  readonly maxBatch: number;
  readonly maxQueue: number;
  readonly context?: number;
  readonly cacheTokens?: number;
  readonly cacheDtype?: "f32" | "bf16";
  readonly prefillChunk?: number;
  readonly speculative: boolean;
  readonly cors?: string;
  readonly drain: number;
  readonly servedName?: string;
  readonly threads?: number;
}

const examples = `
Examples:
  deepseek-ts serve runs/demo-1
  deepseek-ts serve deepseek-ai/DeepSeek-V2-Lite-Chat --dtype q4 --context 8192
  DEEPSEEK_TS_API_KEY=secret deepseek-ts serve ./model.gguf --host 0.0.0.0 --port 80 --served-name my-model
  deepseek-ts serve ./model --max-batch 32 --cache-tokens 100000 --cors http://localhost:3000

Answers /v1/chat/completions, /v1/completions, /v1/models, /tokenize, /detokenize, /health and /metrics. Ctrl-C stops
accepting and lets answers finish for --drain seconds; a second one ends at once. API keys can also be given in
DEEPSEEK_TS_API_KEY, separated by commas.`;

const port = numberThat("a port, 0 to 65535", (n) => Number.isInteger(n) && n >= 0 && n <= 65535);

function origin(text: string): string {
  if (text === "*" || /^https?:\/\/[^/]+$/.test(text)) return text;
  throw new InvalidArgumentError("Expected an origin such as http://localhost:3000, or *.");
}

/** The given keys and those of the environment. */
function apiKeys(given: readonly string[], environment: string | undefined): string[] {
  const more = (environment ?? "").split(",").map((key) => key.trim());
  return [...new Set([...given, ...more.filter((key) => key !== "")])];
}

const scaled = (value: number, step: number, units: readonly string[]) => {
  let unit = 0;
  for (; value >= step && unit < units.length - 1; unit++) value /= step;
  return `${value >= 100 || unit === 0 ? value.toFixed(0) : value.toFixed(1)}${units[unit]}`;
};

/** What is said once the model is open. */
export function startupText(server: Pick<RunningServer, "url">, info: ModelInfo, name: string): string {
  const path = info.chat ? "chat/completions" : "completions";
  const input = info.chat ? '"messages": [{"role": "user", "content": "Hello"}]' : '"prompt": "Hello"';
  const parameters = scaled(info.parameters, 1000, ["", " K", " M", " B", " T"]);
  const memory = scaled(info.weightBytes, 1024, [" bytes", " KiB", " MiB", " GiB"]);
  return [
    `${name}: ${info.architecture}, ${parameters} parameters, loaded in ${info.loadSeconds.toFixed(1)} s`,
    `weights ${memory}; context ${info.context} tokens; cache ${info.cacheTokens} tokens; ` +
      `${info.maxBatch} at once, ${info.maxQueue} waiting`,
    `listening on ${server.url}/v1`,
    "",
    `curl ${server.url}/v1/${path} -H 'Content-Type: application/json' \\`,
    `  -d '{"model": "${name}", ${input}, "max_tokens": 64}'`,
    "",
    "",
  ].join("\n");
}

async function serve(argument: string, flags: ServeFlags): Promise<void> {
  const { stdout, stderr } = process;
  const log = (line: string) => void stderr.write(`${line}\n`);
  const keys = apiKeys(flags.apiKey, process.env.DEEPSEEK_TS_API_KEY);
  using interrupt = listenForInterrupt(() =>
    log(`stopping; what is under way has ${flags.drain} s to finish`),
  );
  const { maxBatch, maxQueue, context, dtype, threads, cacheTokens, cacheDtype, prefillChunk } = flags;
  const model = await modelPath(argument);
  // A run's folder has the better name: the one inside is "model".
  const servedName = flags.servedName ?? (model === argument ? undefined : basename(resolve(argument)));
  let server: RunningServer;
  try {
    server = await startServer({
      port: flags.port,
      host: flags.host,
      servedName,
      apiKeys: keys,
      cors: flags.cors ?? null,
      log,
      signal: interrupt.signal,
      engine: {
        model,
        ...hubFlags(flags),
        ...{ maxBatch, maxQueue, context, dtype, threads, cacheTokens, cacheDtype, prefillChunk },
        speculative: flags.speculative,
      },
    });
  } catch (error) {
    // Stopped while the model was loading: as asked for.
    if (interrupt.signal.aborted) return;
    throw error;
  }
  stdout.write(startupText(server, server.info, servedName ?? server.info.name));
  const local = ["127.0.0.1", "::1", "localhost"].includes(flags.host);
  if (!local && keys.length === 0) log("warning: anybody who reaches this machine can use it; see --api-key");
  const interrupted = new Promise<null>((resolve) => {
    if (interrupt.signal.aborted) resolve(null);
    interrupt.signal.addEventListener("abort", () => resolve(null));
  });
  const failure = await Promise.race([interrupted, server.failed]);
  if (failure === null) {
    await server.close(flags.drain);
    return;
  }
  process.exitCode = 1;
  // For a moment clients hear why; then whoever watches the process starts another one.
  await sleep(1000, undefined, { signal: interrupt.signal }).catch(() => {});
  await server.close(1);
}

export function serveCommand(): Command {
  const command = new Command("serve")
    .summary("answer requests over HTTP, as OpenAI's interface does")
    .description("Serves a model over HTTP with OpenAI's interface: chat, completions, tools, JSON schemas.")
    .argument("<model>", MODEL_ARGUMENT)
    .option("--port <n>", "port to listen on; 0 takes a free one", port, 8080)
    .option("--host <address>", "address to listen on; 0.0.0.0 is everywhere", "127.0.0.1")
    .option(
      "--api-key <key>",
      "key that requests must carry; may be repeated",
      (key: string, all: string[]) => [...all, key],
      [] as string[],
    )
    .option("--max-batch <n>", "most generations at once", positiveInteger, 16)
    .option("--max-queue <n>", "most generations that wait; beyond it requests get 429", naturalNumber, 256)
    .option(
      "--context <n>",
      "most tokens of prompt and answer together (default: the model's)",
      positiveInteger,
    )
    .option("--cache-tokens <n>", "tokens that the caches of all generations hold together", positiveInteger)
    .addOption(new Option("--cache-dtype <dtype>", "storage of the caches").choices(["f32", "bf16", "f16"]))
    .option("--prefill-chunk <n>", "prompt tokens read in one pass", positiveInteger)
    .option("--speculative", "draft with the model's multi-token-prediction module", false)
    .option("--cors <origin>", "web pages of this origin may ask; * for all", origin)
    .option("--drain <seconds>", "time that answers get to finish when stopped", naturalNumber, 30)
    .option("--served-name <name>", "name of the model in the interface (default: its own)");
  return withThreads(withModel(command)).addHelpText("after", examples).action(serve);
}
