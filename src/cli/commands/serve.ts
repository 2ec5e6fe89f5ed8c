/** `deepseek-ts serve`: an OpenAI-compatible HTTP server for one model. */

import { basename, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Command, InvalidArgumentError, Option } from "commander";
import type { ModelInfo } from "../../engine/host/protocol.ts";
import type { CacheDtype } from "../../nn/cache.ts";
import type { LeanSession } from "../../prove/lean/session.ts";
import { givenAdapter, modelPath } from "../../runs/model-path.ts";
import { checkKeys } from "../../serve/access.ts";
import { imageLoader } from "../../serve/image-loader.ts";
import { BODY_LIMIT, type RunningServer, startServer } from "../../serve/server.ts";
import { formatBytes, formatCompact, formatCount, formatDuration } from "../../text/units.ts";
import { flowing } from "../help.ts";
import { listenForInterrupt } from "../interrupt.ts";
import { chosenLean, type LeanFlags, openChosenLean, orNoLean, withLean } from "../lean-session.ts";
import { ProgressLine } from "../progress-line.ts";
import { hubFlags, MODEL_ARGUMENT, type ModelFlags, withModel } from "./open-model.ts";
import { naturalNumber, numberThat, positiveInteger, usageError, withThreads } from "./options.ts";

interface ServeFlags extends ModelFlags, LeanFlags {
  readonly port: number;
  readonly host: string;
  readonly apiKey: readonly string[];
  readonly maxBatch: number;
  readonly maxQueue: number;
  readonly context?: number;
  readonly cacheTokens?: number;
  readonly cacheDtype?: CacheDtype;
  readonly prefillChunk?: number;
  readonly speculative: boolean;
  readonly allowOrigin: readonly string[];
  readonly allowHost: readonly string[];
  /** The older name of `--allow-origin`. */
  readonly cors: readonly string[];
  readonly drain: number;
  readonly servedName: readonly string[];
  readonly allowImageUrls: boolean;
  readonly drawing: boolean;
  readonly vae?: string;
  /** In MiB. */
  readonly maxBody: number;
  readonly threads?: number;
}

const examples = `
Examples:
  deepseek-ts serve runs/demo-1
  deepseek-ts serve deepseek-ai/DeepSeek-V2-Lite-Chat --dtype q4 --context 8192
  DEEPSEEK_TS_API_KEY=secret deepseek-ts serve ./model.gguf --host 0.0.0.0 --port 80 --served-name my-model
  deepseek-ts serve ./model --max-batch 32 --cache-tokens 100000 --allow-origin https://chat.example
  deepseek-ts serve deepseek-ai/deepseek-vl2-tiny --dtype q8 --allow-image-urls
  deepseek-ts serve deepseek-ai/Janus-Pro-1B --dtype q4
  deepseek-ts serve ./model --adapter ./my-adapter                       a LoRA adapter beside the model
  deepseek-ts serve models/world-prover --lean wasm     also verifies Lean proofs

Endpoints: /v1/chat/completions, /v1/responses, /v1/completions, /v1/images/generations, /v1/verify, /v1/models, /tokenize, /detokenize, /health, /metrics.
Ctrl-C stops accepting requests and waits up to --drain seconds for running ones; a second Ctrl-C, at least a second
later, exits at once. API keys can also be set in DEEPSEEK_TS_API_KEY, separated by commas. Without a key, requests from
web pages of other origins and for other host names are refused unless allowed by --allow-origin and --allow-host.`;

const MIB = 2 ** 20;

const bodySize = numberThat("1 to 256", (n) => Number.isInteger(n) && n >= 1 && n <= 256);

const port = numberThat("a port, 0 to 65535", (n) => Number.isInteger(n) && n >= 0 && n <= 65535);

function origin(text: string, all: readonly string[]): string[] {
  if (text === "*" || /^[a-z][a-z0-9+.-]*:\/\/[^/]+$/i.test(text)) return [...all, text];
  throw new InvalidArgumentError("Expected an origin such as https://chat.example, or *.");
}

function hostName(text: string, all: readonly string[]): string[] {
  if (text === "*" || /^[^\s/:@]+$/.test(text)) return [...all, text];
  throw new InvalidArgumentError("Expected a host name such as chat.example, without port, or *.");
}

const repeated = (text: string, all: readonly string[]): string[] => [...all, text];

const KEYS_VARIABLE = "DEEPSEEK_TS_API_KEY";

const shellQuoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;

/** API keys, and how a shell spells the first of them. */
interface Keys {
  readonly all: readonly string[];
  /** The header that carries one, quoted for a shell; null if there are no keys. */
  readonly header: string | null;
}

/** The given keys and those of the environment. A key from the environment is shown as the variable it came from. */
export function apiKeys(given: readonly string[], environment: string | undefined): Keys {
  const more = (environment ?? "").split(",").map((key) => key.trim());
  const all = [...new Set([...given, ...more.filter((key) => key !== "")])];
  if (all.length === 0) return { all, header: null };
  if (given.length > 0) {
    return { all, header: shellQuoted(`Authorization: Bearer ${given[0]}`) };
  }
  const [first] = all;
  let shown = `<a key of ${KEYS_VARIABLE}>`;
  if (environment === first) shown = `$${KEYS_VARIABLE}`;
  else if (environment!.startsWith(`${first},`)) shown = `\${${KEYS_VARIABLE}%%,*}`;
  return { all, header: `"Authorization: Bearer ${shown}"` };
}

/** What is printed once the model is loaded. */
export function startupText(
  server: Pick<RunningServer, "url">,
  info: ModelInfo,
  name: string,
  keyHeader: string | null = null,
  lean: Pick<LeanSession, "version"> | null = null,
): string {
  const path = info.chat ? "chat/completions" : "completions";
  const input = info.chat ? '"messages": [{"role": "user", "content": "Hello"}]' : '"prompt": "Hello"';
  const body = `{"model": ${JSON.stringify(name)}, ${input}, "max_tokens": 64}`;
  return [
    `${name}: ${info.architecture}, ${formatCompact(info.parameters)} parameters, loaded in ${formatDuration(info.loadSeconds)}`,
    `weights ${formatBytes(info.weightBytes)}; context ${formatCount(info.context)} tokens; ` +
      `cache ${formatCount(info.cacheTokens)} tokens; ` +
      `max batch ${info.maxBatch}, queue ${info.maxQueue}`,
    ...(lean === null ? [] : [`proofs are verified at /v1/verify by ${lean.version}`]),
    `listening on ${server.url}/v1`,
    "",
    `curl ${server.url}/v1/${path} -H 'Content-Type: application/json' \\`,
    ...(keyHeader === null ? [] : [`  -H ${keyHeader} \\`]),
    `  -d ${shellQuoted(body)}`,
    "",
    "",
  ].join("\n");
}

/** The Lean that the flags name, if they name one; the embedded one starts beside the model. */
async function openLean(
  flags: ServeFlags,
  command: Command,
  signal: AbortSignal,
): Promise<LeanSession | undefined> {
  if (flags.lean === undefined && flags.project === undefined) {
    if (flags.parallel !== undefined) usageError(command, "--parallel goes with --lean");
    return undefined;
  }
  return await openChosenLean(chosenLean(command, flags), flags, new ProgressLine(process.stderr), signal);
}

async function serve(argument: string, flags: ServeFlags, command: Command): Promise<void> {
  const { stdout, stderr } = process;
  const log = (line: string) => void stderr.write(`${line}\n`);
  const keys = apiKeys(flags.apiKey, process.env[KEYS_VARIABLE]);
  // Before the model is opened, which can take minutes.
  checkKeys(keys.all);
  using interrupt = listenForInterrupt(() =>
    log(`shutting down; running requests have ${flags.drain} s to finish`),
  );
  const { maxBatch, maxQueue, context, dtype, threads, cacheTokens, cacheDtype, prefillChunk } = flags;
  const model = await modelPath(argument);
  // A run's folder has the better name: the one inside is "model".
  const ownName = model === argument ? undefined : basename(resolve(argument));
  const servedName = flags.servedName.length > 0 ? flags.servedName : ownName;
  let server: RunningServer;
  let opened: LeanSession | undefined;
  try {
    opened = await openLean(flags, command, interrupt.signal);
  } catch (error) {
    if (interrupt.signal.aborted) return;
    throw error;
  }
  await using lean = opened ?? null;
  try {
    server = await startServer({
      lean: opened,
      port: flags.port,
      host: flags.host,
      servedName,
      apiKeys: keys.all,
      allowOrigins: [...flags.allowOrigin, ...flags.cors],
      allowHosts: flags.allowHost,
      bodyLimit: flags.maxBody * MIB,
      images: imageLoader({ allowUrls: flags.allowImageUrls }),
      log,
      signal: interrupt.signal,
      engine: {
        model,
        ...hubFlags(flags),
        adapter: await givenAdapter(flags),
        ...{ maxBatch, maxQueue, context, dtype, threads, cacheTokens, cacheDtype, prefillChunk },
        ...{ speculative: flags.speculative, drawing: flags.drawing, vae: flags.vae },
      },
    });
  } catch (error) {
    // Interrupted while the model was loading.
    if (interrupt.signal.aborted) return;
    throw error;
  }
  const [name] = [servedName ?? server.info.name].flat();
  stdout.write(startupText(server, server.info, name, keys.header, lean));
  const local = ["127.0.0.1", "::1", "localhost"].includes(flags.host);
  if (!local && keys.all.length === 0) {
    log("warning: listening on a network interface without an API key; see --api-key");
  }
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
  // Clients receive the reason first; then a supervisor may restart the process.
  await sleep(1000, undefined, { signal: interrupt.signal }).catch(() => {});
  await server.close(1);
}

export function serveCommand(): Command {
  const command = new Command("serve")
    .summary("serve a model through an OpenAI-compatible HTTP API")
    .description(
      "Serves a model through an OpenAI-compatible HTTP API: chat, responses, completions, tool calls, structured output.",
    )
    .argument("<model>", MODEL_ARGUMENT)
    .option("--port <n>", "port to listen on; 0 picks a free one", port, 8080)
    .option("--host <address>", "address to listen on; 0.0.0.0 for all interfaces", "127.0.0.1")
    .option("--api-key <key>", "API key required of clients; may be repeated", repeated, [] as string[])
    .option("--max-batch <n>", "maximum number of sequences generated at once", positiveInteger, 16)
    .option(
      "--max-queue <n>",
      "maximum number of queued sequences; further requests get 429",
      naturalNumber,
      256,
    )
    .option(
      "--context <n>",
      "maximum tokens of prompt and output together (default: the model's)",
      positiveInteger,
    )
    .option("--cache-tokens <n>", "total KV cache size in tokens, over all sequences", positiveInteger)
    .addOption(new Option("--cache-dtype <dtype>", "KV cache format").choices(["f32", "bf16", "f16"]))
    .option("--prefill-chunk <n>", "prompt tokens processed per pass", positiveInteger)
    .option("--speculative", "speculative decoding with the model's multi-token-prediction module", false)
    .option("--no-drawing", "open a model that draws without what it draws with, to save memory")
    .option(
      "--vae <path>",
      "JanusFlow: the autoencoder, a folder, a .safetensors file or org/name on the hub",
    )
    .option(
      "--allow-origin <origin>",
      "also accept requests from web pages of this origin; * for all; may be repeated",
      origin,
      [] as string[],
    )
    .option(
      "--allow-host <name>",
      "also accept requests for this host name, such as that of a proxy; * for all; may be repeated",
      hostName,
      [] as string[],
    )
    .option("--allow-image-urls", "fetch images that requests name by http(s) URL", false)
    .option("--max-body <MiB>", "maximum size of a request, images included", bodySize, BODY_LIMIT / MIB)
    .addOption(
      new Option("--cors <origin>", "older name of --allow-origin").argParser(origin).default([]).hideHelp(),
    )
    .option("--drain <seconds>", "time for running requests to finish on shutdown", naturalNumber, 30)
    .option(
      "--served-name <name>",
      "model name in the API (default: its own); may be repeated for aliases",
      repeated,
      [] as string[],
    );
  return withLean(withThreads(withModel(command)), "also verify Lean proofs (/v1/verify)")
    .addHelpText("after", flowing(examples))
    .action((argument: string, flags: ServeFlags) => orNoLean(() => serve(argument, flags, command)));
}
