/**
 * Measures requests before the engine's thread reads them: a text has at least as many tokens as its bytes over those of
 * the longest token. What certainly cannot fit is refused at once, so that tokenizing it does not delay others.
 */
import { contentOf } from "../../chat/messages.ts";
import { utf8Length } from "../../text/utf8-length.ts";
import { contextExceeded, invalidRequest, type RequestError } from "./errors.ts";
import type { GenerationRequest, ModelInfo, TokenizeRequest } from "./protocol.ts";

type Limits = Pick<ModelInfo, "context" | "longestToken">;

function textTooLong(bytes: number, { context, longestToken }: Limits, param: string): RequestError {
  const least = Math.ceil(bytes / longestToken);
  return invalidRequest(
    `The maximum context length is ${context} tokens, but the prompt's ${bytes} bytes are ${least} tokens or more.`,
    param,
    "context_length_exceeded",
  );
}

/** Texts that a template prints, whatever else it does: white space around them may be trimmed, answers may be cut. */
function printedTexts(request: GenerationRequest | TokenizeRequest): readonly string[] {
  if ("text" in request) return [request.text];
  if ("prompts" in request) return [];
  return request.messages.flatMap((message) =>
    message.role === "assistant" ? [] : [contentOf(message).trim()],
  );
}

/** @throws RequestError `context_length_exceeded` */
export function checkLength(request: GenerationRequest | TokenizeRequest, limits: Limits): void {
  const most = limits.context * limits.longestToken;
  if ("prompts" in request) {
    for (const prompt of request.prompts) {
      if (typeof prompt !== "string") {
        if (prompt.length > limits.context)
          throw contextExceeded(limits.context, prompt.length, null, "prompt");
        continue;
      }
      const bytes = utf8Length(prompt) + (request.suffix === null ? 0 : utf8Length(request.suffix));
      if (bytes > most) throw textTooLong(bytes, limits, "prompt");
    }
    return;
  }
  const bytes = printedTexts(request).reduce((sum, text) => sum + utf8Length(text), 0);
  if (bytes > most) throw textTooLong(bytes, limits, "text" in request ? "text" : "messages");
}
