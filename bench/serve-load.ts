/**
 * The server under load: `node bench/run.ts serve-load [minutes] [streams]`, default 10 minutes of 64 streams. A random
 * model of 33 million parameters, stored in 8 bits, is served by a process of its own; clients stream, some leave midway,
 * some ask nonsense. Every prompt has a marker of its own and is asked again and again: greedily the answer must be the
 * one recorded at first. Where it is not, the first token that differs decides: a near tie there is rounding (a cached
 * prefix was read in other pieces), anything else is an answer mixed up with another's.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { sampleTexts, writeModelFolder } from "../src/serve/testing.ts";
import { Random } from "../src/tensor/random.ts";

export const name = "serve-load";

const PROMPTS = 400;
/** Gap of log-probabilities below which two tokens count as tied. */
const TIE = 0.02;

interface Prompt {
  readonly text: string;
  readonly maxTokens: number;
}

interface Answer {
  /** Bytes of each: half characters are alike as text. */
  readonly tokens: string[];
  /** By how much the token was likelier than the next one. */
  readonly gaps: number[];
}

interface Tally {
  answered: number;
  cancelled: number;
  malformed: number;
  refused: number;
  /** Answers without an end, or with too few tokens. */
  lost: number;
  mixed: number;
  rounded: number;
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

interface TokenEntry {
  readonly logprob: number;
  readonly bytes: number[];
}

interface Event {
  readonly usage?: { completion_tokens: number } | null;
  readonly choices: {
    logprobs: { content: (TokenEntry & { top_logprobs: TokenEntry[] })[] } | null;
  }[];
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

class Client {
  readonly #url: string;
  readonly #prompts: readonly Prompt[];
  readonly #tally: Tally;
  readonly #recorded: (Answer | undefined)[];
  readonly #random: Random;

  constructor(
    url: string,
    prompts: readonly Prompt[],
    recorded: (Answer | undefined)[],
    tally: Tally,
    seed: number,
  ) {
    this.#url = url;
    this.#prompts = prompts;
    this.#recorded = recorded;
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

  #note(kind: "lost" | "mixed" | "rounded" | "erroneous", text: string): void {
    if (this.#tally[kind]++ < 3) this.#tally.notes.push(`${kind}: ${text}`);
  }

  #post(body: string, signal?: AbortSignal): Promise<Response> {
    const headers = { "content-type": "application/json" };
    return fetch(`${this.#url}/v1/chat/completions`, { method: "POST", body, headers, signal });
  }

  async #nonsense(): Promise<void> {
    const response = await this.#post(NONSENSE[this.#random.int(NONSENSE.length)]);
    const { error } = (await response.json()) as Event;
    this.#tally.malformed++;
    if (response.status !== 400 || !error) this.#note("erroneous", `nonsense got ${response.status}`);
  }

  async #ask(leaves: boolean): Promise<void> {
    const which = this.#random.int(this.#prompts.length);
    const { text: prompt, maxTokens } = this.#prompts[which];
    const controller = new AbortController();
    const started = performance.now();
    const options = { temperature: 0, ignore_eos: true, logprobs: true, top_logprobs: 2, stream: true };
    const usage = { stream_options: { include_usage: true } };
    const messages = [{ role: "user", content: prompt }];
    const body = JSON.stringify({ messages, max_tokens: maxTokens, ...options, ...usage });
    const response = await this.#post(body, controller.signal);
    if (response.status === 429) {
      this.#tally.refused++;
      await response.arrayBuffer();
      return;
    }
    if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`);
    const answer: Answer = { tokens: [], gaps: [] };
    const reader = events(response);
    const leaveAt = leaves ? this.#random.int(maxTokens) : Number.POSITIVE_INFINITY;
    let counted = 0;
    for (;;) {
      const next = await reader.next();
      if (next.done) {
        if (!next.value) this.#note("lost", `the stream broke off after ${answer.tokens.length} tokens`);
        break;
      }
      if (next.value.error) throw new Error(next.value.error.message);
      counted = next.value.usage?.completion_tokens ?? counted;
      if (next.value.choices.length === 0) continue;
      const { logprobs } = next.value.choices[0];
      for (const { bytes, top_logprobs: top } of logprobs?.content ?? []) {
        if (answer.tokens.length === 0) this.#tally.firstToken.push(performance.now() - started);
        answer.tokens.push(bytes.join(" "));
        answer.gaps.push(top[0].logprob - top[1].logprob);
      }
      if (answer.tokens.length > leaveAt) {
        controller.abort();
        this.#tally.cancelled++;
        return;
      }
    }
    this.#tally.answered++;
    if (answer.tokens.length !== maxTokens || counted !== maxTokens) {
      this.#note("lost", `${answer.tokens.length} tokens, counted as ${counted}, of ${maxTokens}`);
    }
    this.#compare(which, answer);
  }

  #compare(which: number, answer: Answer): void {
    const known = this.#recorded[which];
    this.#recorded[which] ??= answer;
    if (known === undefined) return;
    const at = answer.tokens.findIndex((token, i) => token !== known.tokens[i]);
    if (at < 0) return;
    const gap = Math.min(answer.gaps[at], known.gaps[at] ?? 0);
    const text = `prompt ${which}, token ${at}: bytes ${answer.tokens[at]} instead of ${known.tokens[at]}, gap ${gap}`;
    this.#note(gap < TIE ? "rounded" : "mixed", text);
  }
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
    const counts = { answered: 0, cancelled: 0, malformed: 0, refused: 0 };
    const faults = { lost: 0, mixed: 0, rounded: 0, erroneous: 0 };
    const tally: Tally = { ...counts, ...faults, notes: [], firstToken: [], health: [] };
    const samples: Sample[] = [];
    const prompts = makePrompts();
    const recorded = new Array<Answer | undefined>(prompts.length);
    const over = new AbortController();
    const watching = watch(url, tally, samples, over.signal);
    const begin = Date.now();
    const deadline = begin + minutes * 60_000;
    await Promise.all(
      Array.from({ length: streams }, (_, i) =>
        new Client(url, prompts, recorded, tally, i).runUntil(deadline),
      ),
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

    const third = Math.floor(samples.length / 3);
    const settled = samples.slice(third);
    const middle = mean(samples.slice(third, 2 * third).map(({ mib }) => mib));
    const last = mean(samples.slice(2 * third).map(({ mib }) => mib));
    const metrics = {
      minutes,
      streams,
      answered: tally.answered,
      "left midway": tally.cancelled,
      nonsense: tally.malformed,
      "refused with 429": tally.refused,
      "must be 0: lost": tally.lost,
      "must be 0: mixed up": tally.mixed,
      "must be 0: erroneous": tally.erroneous,
      "must be 0: still running at the end": left,
      "must be 0: exit status": code ?? -1,
      "near ties decided otherwise": tally.rounded,
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
