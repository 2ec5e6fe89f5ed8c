/** The form of the cases of requests, and how one is sent and checked. */
import { join } from "node:path";
import { expect } from "vitest";

export const faults = join(import.meta.dirname, "../fixtures/faults");
/** A DeepSeek-V3 of two layers with random weights, 422 tokens, tool tokens among them. */
export const tinyModel = join(faults, "model-tiny");

/** A part of an answer: checks compare whatever stands there. */
// biome-ignore lint/suspicious/noExplicitAny: bodies are checked by hand
export type Item = any;

/** An answer as the checks read it. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly type: string;
  readonly text: string;
  readonly json?: Item;
  /** Server-sent events: their names and data. */
  readonly events: readonly { readonly name?: string; readonly data?: string; readonly json?: Item }[];
}

export interface RequestCase {
  readonly title: string;
  /** Options of `deepseek-ts serve`. */
  readonly options?: readonly string[];
  readonly requests: readonly {
    readonly path: string;
    readonly method?: string;
    readonly headers?: Record<string, string>;
    readonly body?: unknown;
    /** The body as it stands on the wire, if digits or order count. */
    readonly bodyText?: string;
    /** What is wrong with the answer; undefined if nothing is. */
    readonly check: (a: Answer) => string | undefined;
  }[];
}

async function answerOf(response: Response): Promise<Answer> {
  const text = await response.text();
  const parsed = (source: string | undefined) => {
    try {
      return source === undefined ? undefined : JSON.parse(source);
    } catch {
      return undefined;
    }
  };
  const events = text
    .split("\n\n")
    .filter((event) => /^(event|data):/.test(event))
    .map((event) => {
      const data = /^data: ?(.*)$/m.exec(event)?.[1];
      return { name: /^event: ?(.*)$/m.exec(event)?.[1], data, json: parsed(data) };
    });
  const { status, headers } = response;
  return { status, headers, type: headers.get("content-type") ?? "", text, json: parsed(text), events };
}

/** Sends a case's requests in order and checks every answer. */
export async function sendAll(url: string, { requests }: RequestCase): Promise<void> {
  for (const { path, method = "POST", body, bodyText, headers = {}, check } of requests) {
    const named = body === undefined ? undefined : JSON.stringify({ model: "tiny", ...(body as object) });
    const response = await fetch(url + path, {
      method,
      headers: { "content-type": "application/json", ...headers },
      body: bodyText ?? named,
    });
    const answer = await answerOf(response);
    const problem = check(answer);
    expect(problem && `${method} ${path}: ${problem}; ${answer.status} ${answer.text.slice(0, 300)}`).toBe(
      undefined,
    );
  }
}
