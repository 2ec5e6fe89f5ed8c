/**
 * Answers and pictures as jobs: each asks the routes of `/v1` of its model, in this process, as any client would, and its events are
 * the events of that stream. Nothing about models is decided here.
 */
import { type JsonObject as ExactObject, JsonNumber, type JsonValue, writeJson } from "../../json/index.ts";
import { ApiError, invalidRequest } from "../errors.ts";
import type { JobPlan, JobWork } from "./jobs.ts";
import type { HeldModel, OpenModels } from "./open-models.ts";
import type { InsideNews, JobProgress, JsonObject } from "./protocol.ts";

const PATHS = {
  chat: "/v1/chat/completions",
  complete: "/v1/completions",
  draw: "/v1/images/generations",
} as const;

export type AnswerKind = keyof typeof PATHS;

export const isAnswerKind = (kind: string): kind is AnswerKind => Object.hasOwn(PATHS, kind);

/** Milliseconds between two looks at what the engine does before the first token. */
const LOOK_MS = 1000;

/** The first words of what was asked, for people. */
function titleOf(kind: AnswerKind, body: ExactObject): string {
  const messages = body.get("messages");
  const last = Array.isArray(messages)
    ? messages.findLast((each) => each instanceof Map && each.get("role") === "user")
    : undefined;
  const given = kind === "chat" ? (last instanceof Map ? last.get("content") : null) : body.get("prompt");
  const parts = Array.isArray(given) ? given : [given];
  const text = parts
    .map((part) => (part instanceof Map ? part.get("text") : part))
    .find((part): part is string => typeof part === "string");
  const words = (text ?? "").slice(0, 400).replace(/\s+/g, " ").trim();
  return words === "" ? kind : words;
}

/**
 * The plan of an answer. The body is that of `/v1`, handed on with every digit that it has.
 * @throws ApiError 400 for a body that cannot be a job's, 404 for a model that is not open
 */
export function answerPlan(kind: AnswerKind, body: JsonValue, inside: boolean, models: OpenModels): JobPlan {
  if (!(body instanceof Map)) throw invalidRequest("'body' must be a JSON object.", "body");
  if (body.get("stream") === false) {
    throw invalidRequest(
      "A job's answer comes in events: leave 'stream' out.",
      "stream",
      "unsupported_parameter",
    );
  }
  const named = body.get("model");
  const model = models.find(typeof named === "string" ? named : null).model;
  const asked = new Map(body).set("model", model).set("stream", true);
  if (inside) {
    if (kind === "draw") throw invalidRequest("Drawings have no inside.", "inside", "unsupported_parameter");
    asked.set("inside", true);
  }
  const text = writeJson(asked);
  const count = body.get("n");
  const pictures = count instanceof JsonNumber ? count.toNumber() : 1;
  return {
    ...{ lane: "answer", title: titleOf(kind, body), model },
    async run(work) {
      using held = models.hold(model);
      await (kind === "draw" ? draw(text, held, work, pictures) : answer(PATHS[kind], text, held, work));
      return null;
    },
  };
}

/** Events of a stream of `/v1`, in either of its forms. @throws ApiError for the error that ends it */
async function* eventsOf(response: Response): AsyncGenerator<JsonObject, void> {
  if (!response.ok) throw failureOf((await response.json()) as JsonObject, response.status);
  let rest = "";
  for await (const text of response.body!.pipeThrough(new TextDecoderStream())) {
    const blocks = (rest + text).split("\n\n");
    rest = blocks.pop()!;
    for (const block of blocks) {
      const data = /^data: (.*)$/m.exec(block)?.[1];
      if (data === undefined || data === "[DONE]") continue;
      const event = JSON.parse(data) as JsonObject;
      if (typeof event.error === "object" && event.error !== null) throw failureOf(event, 500);
      yield event;
    }
  }
}

function failureOf(body: JsonObject, status: number): ApiError {
  const { message, type, param, code } = body.error as Record<string, string | null>;
  return new ApiError({
    ...{ status, param, code },
    message: message ?? "The answer failed.",
    type: type ?? "server_error",
  });
}

/**
 * Asks the model and reads to the very end: after a request to stop, that is when the engine has stopped.
 * @throws ApiError as the routes tell it
 */
async function* ask(
  path: string,
  text: string,
  { app }: HeldModel,
  { signal }: JobWork,
): AsyncGenerator<JsonObject, void> {
  const headers = { "content-type": "application/json" };
  yield* eventsOf(
    await app.request(
      new Request(`http://localhost${path}`, { method: "POST", headers, body: text, signal }),
    ),
  );
}

/** Whether a chunk has something of the answer in it. */
function hasContent(chunk: JsonObject): boolean {
  const choices = (chunk.choices ?? []) as readonly { delta?: Record<string, unknown>; text?: string }[];
  return choices.some(
    ({ delta, text }) =>
      (text ?? "") !== "" ||
      Object.entries(delta ?? {}).some(([key, value]) => key !== "role" && value !== null),
  );
}

async function answer(path: string, text: string, held: HeldModel, work: JobWork): Promise<void> {
  const { engine } = held;
  let pieces = 0;
  work.progress({ done: 0, total: null, unit: "tokens", text: "waits for its turn" });
  const look = setInterval(() => {
    if (pieces === 0) void tellPrompt();
  }, LOOK_MS);
  async function tellPrompt(): Promise<void> {
    const figures = await engine.figures().catch(() => null);
    if (figures === null || pieces > 0 || work.signal.aborted) return;
    const text = figures.running === 0 ? "waits for its turn" : "reads the prompt";
    work.progress({ done: 0, total: null, unit: "tokens", text });
  }
  try {
    for await (const { inside, ...chunk } of ask(path, text, held, work)) {
      if (hasContent(chunk)) {
        pieces++;
        const progress: JobProgress = { done: pieces, total: null, unit: "tokens", text: "answers" };
        if (pieces === 1) work.progress(progress);
        else work.note(progress);
      }
      work.emit({ type: "chunk", chunk });
      if (inside !== undefined) work.emit({ type: "inside", ...(inside as InsideNews) });
    }
  } finally {
    clearInterval(look);
  }
}

async function draw(text: string, held: HeldModel, work: JobWork, total: number): Promise<void> {
  const tell = (done: number) => work.progress({ done, total, unit: "pictures", text: "draws" });
  let done = 0;
  tell(done);
  for await (const picture of ask(PATHS.draw, text, held, work)) {
    work.emit({ type: "picture", picture });
    if (picture.type === "image_generation.completed") tell(++done);
  }
}
