/**
 * The server under load: `node bench/run.ts serve-load [minutes] [streams]`, default 10 minutes of 64 streams. A random
 * model of 33 million parameters, stored in 8 bits, is served by its own process; clients stream, some leave midway,
 * some ask nonsense. Every prompt has its own marker and is asked again and again: greedily the answer must be the
 * one recorded at first. A prompt that gave several is asked at the end of a new server, alone: once with an empty cache
 * and once from its cached beginning, whose last bits differ and may send a token to another expert. What is neither of
 * these two answers was mixed up with another's.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { sampleTexts, writeModelFolder } from "../src/engine/testing-folder.ts";
import { Random } from "../src/tensor/random.ts";

export const name = "serve-load";

const PROMPTS = 400;

/** Bytes of an answer's tokens; as text, half characters would be alike. */
type Answer = readonly string[];

interface Prompt {
  readonly text: string;
  readonly maxTokens: number;
  /** The answers that came, each once. */
  readonly answers: Set<string>;
}

interface Tally {
  answered: number;
  canceled: number;
  malformed: number;
  refused: number;
  /** Answers without an end, or with too few tokens. */
  lost: number;
  erroneous: number;
  /** The first of each kind, in words. */
  readonly notes: string[];
  /** Milliseconds. */
  readonly firstToken: number[];
  readonly health: number[];
}

function makePrompts(): Prompt[] {
  const random = new Random(11);
  const texts = sampleTexts(PROMPTS, 12);
  return texts.map((text, i) => ({
    text: `item ${i * 7919}: ${text}${texts[random.int(PROMPTS)]}`,
    maxTokens: 8 + random.int(40),
    answers: new Set<string>(),
  }));
}

async function startServer(folder: string, streams: number): Promise<{ child: ChildProcess; url: string }> {
  const main = fileURLToPath(new URL("../src/cli/main.ts", import.meta.url));
  const sizes = ["--max-batch", String(streams), "--cache-tokens", "16384", "--context", "512"];
  const child = spawn(process.execPath, [main, "serve", folder, "--port", "0", "--dtype", "q8", ...sizes], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  for await (const line of createInterface({ input: child.stdout! })) {
    const url = /^listening on (\S+)\/v1$/.exec(line)?.[1];
    if (url !== undefined) return { child, url };
  }
  throw new Error("the server did not start");
}

interface Event {
  readonly usage?: { completion_tokens: number } | null;
  readonly choices: { logprobs: { content: { bytes: number[] }[] } | null }[];
  readonly error?: { message: string };
}

/** Events of a streamed answer; the return value says whether it ended as it should. */
async function* events(response: Response): AsyncGenerator<Event, boolean> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const bytes of response.body!) {
    rest += decoder.decode(bytes as Uint8Array, { stream: true });
    for (let at = rest.indexOf("\n\n"); at >= 0; at = rest.indexOf("\n\n")) {
      const line = rest.slice(0, at);
      rest = rest.slice(at + 2);
      if (line === "data: [DONE]") return true;
      if (line.startsWith("data: ")) yield JSON.parse(line.slice(6)) as Event;
    }
  }
  return false;
}

const NONSENSE = [
  "{",
  "[]",
  '{"messages": 5}',
  '{"messages": [{"role": "user", "content": "a"}], "temperature": "hot"}',
  '{"messages": [{"role": "user", "content": "a"}], "logit_bias": {"99999": 1}}',
];

function post(url: string, body: string, signal?: AbortSignal): Promise<Response> {
  const headers = { "content-type": "application/json" };
  return fetch(`${url}/v1/chat/completions`, { method: "POST", body, headers, signal });
}

/** Asks greedily; `onToken` may end it by its signal. */
async function ask(
  url: string,
  { text, maxTokens }: Prompt,
  signal?: AbortSignal,
  onToken: (tokens: number) => void = () => {},
): Promise<{ status: number; answer: Answer; counted: number; whole: boolean }> {
  const messages = [{ role: "user", content: text }];
  const options = { temperature: 0, ignore_eos: true, logprobs: true, stream: true };
  const usage = { stream_options: { include_usage: true } };
  const body = JSON.stringify({ messages, max_tokens: maxTokens, ...options, ...usage });
  const response = await post(url, body, signal);
  const answer: string[] = [];
  let counted = 0;
  if (response.status !== 200) {
    const refusal = await response.text();
    if (response.status !== 429) throw new Error(`${response.status} ${refusal}`);
    return { status: 429, answer, counted, whole: false };
  }
  const reader = events(response);
  for (;;) {
    const next = await reader.next();
    if (next.done) return { status: 200, answer, counted, whole: next.value };
    if (next.value.error) throw new Error(next.value.error.message);
    counted = next.value.usage?.completion_tokens ?? counted;
    const entries = next.value.choices[0]?.logprobs?.content ?? [];
    answer.push(...entries.map(({ bytes }) => bytes.join(" ")));
    if (entries.length > 0) onToken(answer.length);
  }
}

class Client {
  readonly #url: string;
  readonly #prompts: readonly Prompt[];
  readonly #tally: Tally;
  readonly #random: Random;

  constructor(url: string, prompts: readonly Prompt[], tally: Tally, seed: number) {
    this.#url = url;
    this.#prompts = prompts;
    this.#tally = tally;
    this.#random = new Random(seed, 2);
  }

  async runUntil(deadline: number): Promise<void> {
    while (Date.now() < deadline) {
      const kind = this.#random.uniform();
      try {
        if (kind < 0.05) await this.#nonsense();
        else await this.#ask(kind < 0.2);
      } catch (error) {
        this.#note("erroneous", String(error));
      }
    }
  }

  #note(kind: "lost" | "erroneous", text: string): void {
    if (this.#tally[kind]++ < 3) this.#tally.notes.push(`${kind}: ${text}`);
  }

  async #nonsense(): Promise<void> {
    const response = await post(this.#url, NONSENSE[this.#random.int(NONSENSE.length)]);
    const { error } = (await response.json()) as Event;
    this.#tally.malformed++;
    if (response.status !== 400 || !error) this.#note("erroneous", `nonsense got ${response.status}`);
  }

  async #ask(leaves: boolean): Promise<void> {
    const tally = this.#tally;
    const prompt = this.#prompts[this.#random.int(this.#prompts.length)];
    const leaveAt = leaves ? 1 + this.#random.int(prompt.maxTokens) : Number.POSITIVE_INFINITY;
    const controller = new AbortController();
    const started = performance.now();
    let first = true;
    const onToken = (tokens: number) => {
      if (first) tally.firstToken.push(performance.now() - started);
      first = false;
      if (tokens >= leaveAt) controller.abort();
    };
    const asked = ask(this.#url, prompt, controller.signal, onToken);
    const { status, answer, counted, whole } = await asked.catch((error: unknown) => {
      if (!controller.signal.aborted) throw error;
      return { status: 0, answer: [], counted: 0, whole: false };
    });
    if (controller.signal.aborted) {
      tally.canceled++;
    } else if (status === 429) {
      tally.refused++;
    } else {
      tally.answered++;
      const { maxTokens } = prompt;
      if (whole && answer.length === maxTokens && counted === maxTokens) prompt.answers.add(answer.join());
      else this.#note("lost", `${answer.length} tokens, counted as ${counted}, of ${maxTokens}`);
    }
  }
}

/** Of the prompts that gave several answers: answers in total, and those that a server without load does not give. */
async function verify(
  folder: string,
  prompts: readonly Prompt[],
): Promise<{ several: number; mixed: number }> {
  const doubtful = prompts.filter(({ answers }) => answers.size > 1);
  if (doubtful.length === 0) return { several: 0, mixed: 0 };
  const { child, url } = await startServer(folder, 1);
  let mixed = 0;
  try {
    for (const prompt of doubtful) {
      const alone = new Set<string>();
      for (let time = 0; time < 2; time++) alone.add((await ask(url, prompt)).answer.join());
      for (const answer of prompt.answers) if (!alone.has(answer)) mixed++;
    }
  } finally {
    child.kill("SIGKILL");
  }
  return { several: doubtful.length, mixed };
}

interface Sample {
  readonly minutes: number;
  readonly mib: number;
}

/** Value of a metric in Prometheus' text. */
const metric = (text: string, name: string) =>
  Number(
    text
      .split("\n")
      .find((line) => line.startsWith(`${name} `))
      ?.slice(name.length) ?? Number.NaN,
  );

async function watch(url: string, tally: Tally, samples: Sample[], stop: AbortSignal): Promise<void> {
  const started = Date.now();
  while (!stop.aborted) {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const asked = performance.now();
    await (await fetch(`${url}/health`)).arrayBuffer();
    tally.health.push(performance.now() - asked);
    const text = await (await fetch(`${url}/metrics`)).text();
    const mib = metric(text, "process_resident_memory_bytes") / 2 ** 20;
    samples.push({ minutes: (Date.now() - started) / 60_000, mib });
  }
}

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / Math.max(1, values.length);

/** Least-squares slope of memory over time. */
function slope(samples: readonly Sample[]): number {
  const [x, y] = [mean(samples.map(({ minutes }) => minutes)), mean(samples.map(({ mib }) => mib))];
  let [above, below] = [0, 0];
  for (const { minutes, mib } of samples) {
    above += (minutes - x) * (mib - y);
    below += (minutes - x) ** 2;
  }
  return below === 0 ? 0 : above / below;
}

function percentile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? Number.NaN;
}

/** Runs the load; a figure under "must be 0" other than 0 is a defect. */
export async function run(
  log: (line: string) => void,
  args: string[] = [],
): Promise<{ metrics: Record<string, number> }> {
  const [minutes, streams] = [Number(args[0] ?? 10), Number(args[1] ?? 64)];
  const folder = mkdtempSync(join(tmpdir(), "deepseek-ts-load-"));
  let child: ChildProcess | null = null;
  try {
    await writeModelFolder(folder, { hidden: 512, layers: 9, std: 0.08, maxPositions: 512 });
    const started = await startServer(folder, streams);
    const { url } = started;
    child = started.child;
    const counts = { answered: 0, canceled: 0, malformed: 0, refused: 0 };
    const faults = { lost: 0, erroneous: 0 };
    const tally: Tally = { ...counts, ...faults, notes: [], firstToken: [], health: [] };
    const samples: Sample[] = [];
    const prompts = makePrompts();
    const over = new AbortController();
    const watching = watch(url, tally, samples, over.signal);
    const begin = Date.now();
    const deadline = begin + minutes * 60_000;
    await Promise.all(
      Array.from({ length: streams }, (_, i) => new Client(url, prompts, tally, i).runUntil(deadline)),
    );
    const seconds = (Date.now() - begin) / 1000;
    over.abort();
    await watching;
    const figures = await (await fetch(`${url}/metrics`)).text();
    const left =
      metric(figures, "deepseek_ts_generations_running") +
      metric(figures, "deepseek_ts_generations_waiting") +
      metric(figures, "deepseek_ts_jobs_active");
    child.kill("SIGTERM");
    const [code] = (await once(child, "exit")) as [number | null];
    child = null;

    const { several, mixed } = await verify(folder, prompts);
    const third = Math.floor(samples.length / 3);
    const settled = samples.slice(third);
    const middle = mean(samples.slice(third, 2 * third).map(({ mib }) => mib));
    const last = mean(samples.slice(2 * third).map(({ mib }) => mib));
    const metrics = {
      minutes,
      streams,
      answered: tally.answered,
      "left midway": tally.canceled,
      nonsense: tally.malformed,
      "refused with 429": tally.refused,
      "must be 0: lost": tally.lost,
      "must be 0: mixed up": mixed,
      "must be 0: erroneous": tally.erroneous,
      "must be 0: still running at the end": left,
      "must be 0: exit status": code ?? -1,
      "prompts with several answers": several,
      "generated tokens/s": metric(figures, "deepseek_ts_generated_tokens_total") / seconds,
      "prompt tokens/s": metric(figures, "deepseek_ts_prompt_tokens_total") / seconds,
      "cached share of prompts":
        metric(figures, "deepseek_ts_cached_tokens_total") /
        metric(figures, "deepseek_ts_prompt_tokens_total"),
      "first token ms, p50": percentile(tally.firstToken, 0.5),
      "first token ms, p99": percentile(tally.firstToken, 0.99),
      "health ms, p50": percentile(tally.health, 0.5),
      "health ms, p99": percentile(tally.health, 0.99),
      "memory MiB, middle third": middle,
      "memory MiB, last third": last,
      "memory MiB per minute, last two thirds": slope(settled),
      "memory, last over middle third": last / middle,
    };
    for (const note of tally.notes) log(note);
    for (const [label, value] of Object.entries(metrics)) {
      log(`${label.padEnd(42)} ${Number.isInteger(value) ? value : value.toFixed(3)}`);
    }
    return { metrics };
  } finally {
    child?.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  }
}
