/**
 * What the browser test asks of an engine's host on both sides, Node and Chromium: a chat with a tool, streamed and with
 * the ids of its tokens. The package comes as an argument, so that this file loads in either.
 */
export type EnginePackage = typeof import("../../src/engine/index.ts");
type ChatRequest = import("../../src/engine/index.ts").ChatRequest;
type EngineChannel = import("../../src/engine/index.ts").EngineChannel;

export interface ChatReport {
  readonly content: string;
  readonly ids: readonly number[];
  readonly completionTokens: number;
  readonly reason: string;
  /** Tokens of the rendered prompt. */
  readonly prompt: readonly number[];
  /** The text of `prompt`, as the host tells it. */
  readonly promptText: string;
  /** Message of a job that does not fit the context, and what is wrong with it. */
  readonly refusal: readonly [kind: string, message: string];
}

const messages = [
  { role: "system", content: "Answer in one line." },
  { role: "user", content: "the of and to in 你好" },
] as const;

/** Tokens of the answer. */
export const LENGTH = 24;

/** A chat of which only the messages are missing. */
export const plainChat: Omit<ChatRequest, "messages"> = {
  kind: "chat",
  tools: [],
  toolChoice: "none",
  parallelToolCalls: true,
  format: { type: "text" },
  thinking: null,
  templateVariables: new Map(),
  continueFinal: false,
  addGenerationPrompt: true,
  maxTokens: LENGTH,
  temperature: 0.8,
  topP: 0.95,
  topK: 0,
  minP: 0,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  logitBias: [],
  seed: 5,
  stop: [],
  logprobs: 0,
  n: 1,
  ignoreEos: true,
  minTokens: 0,
  stopIds: [],
  includeStop: false,
  skipSpecial: true,
  reusePrefix: true,
  echo: false,
};

const job: ChatRequest = { ...plainChat, messages };

/** Asks the host behind `channel`, then shuts it down. */
export async function chatReport(engine: EnginePackage, channel: EngineChannel): Promise<ChatReport> {
  const client = await engine.EngineClient.connect(channel);
  let [content, reason, completionTokens] = ["", "", 0];
  const ids: number[] = [];
  for await (const event of await client.generate(job)) {
    if (event.type === "finished") {
      ({ reason } = event);
      ({ completionTokens } = event.usage);
      continue;
    }
    content += event.delta.content ?? "";
    ids.push(...(event.delta.logprobs ?? []).map(({ id }) => id));
  }
  const prompt = await client.tokenize(job);
  const promptText = await client.detokenize(prompt);
  const refusal = await client
    .generate({ ...job, maxTokens: client.info.context + 1 })
    .then((refused) => refused.accepted())
    .then(() => ["", ""] as const)
    .catch((error: unknown) => {
      if (!(error instanceof engine.RequestError)) throw error;
      return [error.fault.kind, error.fault.message] as const;
    });
  await client.shutdown();
  return { content, ids, completionTokens, reason, prompt, promptText, refusal };
}

/** Files of a language model's folder. */
export const FILES = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];

/** What folders of models that see have beside these, by name. */
const PROCESSORS: Readonly<Record<string, readonly string[]>> = {
  vl: ["preprocessor_config.json", "processor_config.json"],
  vl2: ["processor_config.json"],
};

export const modelFiles = (folder: string): readonly string[] => [...FILES, ...(PROCESSORS[folder] ?? [])];
