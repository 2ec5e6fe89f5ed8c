/**
 * Prompts of DeepSeek-VL (`VLChatProcessor`, template `deepseek`), which Janus and JanusFlow share but for the names of the two
 * sides and for tokens around images: the rendered conversation is encoded at once, between its images and the end tokens
 * of answers.
 */
import { TOKEN } from "../tokenizer/families.ts";
import { finish, type Slices } from "../tokenizer/slices.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import {
  type ContentPart,
  checkTurns,
  contentParts,
  type ImageMessage,
  PieceWriter,
  type PromptPiece,
  strippedParts,
  tokenId,
} from "./image-messages.ts";
import { canSpell } from "./provenance.ts";
import { VL2_ASSISTANT, VL2_USER } from "./vl2-prompt.ts";

/** The released models' system text, for conversations that bring none. */
export const VL_SYSTEM =
  "You are a helpful language and vision assistant. You are able to understand the visual content that the user " +
  "provides, and assist the user with a variety of tasks using natural language.";

/** What ends an answer beside the end token. */
export const VL_STOP_STRINGS: readonly string[] = ["User:"];

/**
 * Whose prompts they are. Janus' first release and JanusFlow name the two sides as DeepSeek-VL does (template `deepseek_old` of
 * their later files), Janus-Pro by `<|User|>` and `<|Assistant|>`.
 */
export type VlFamily = "vl" | "janus" | "janus-pro" | "janusflow";

const IMAGE_BEGIN = "<begin_of_image>";
const GENERATION_BEGIN = "<\uFF5Cbegin\u2581of\u2581generation\uFF5C>";
const IMAGE_END: ContentPart = { type: "token", token: "<end_of_image>" };

/** What stands around the tokens of an image. JanusFlow learned what is before it: the model adds that. */
const around: Readonly<Record<VlFamily, (image: ContentPart) => ContentPart[]>> = {
  vl: (image) => [image],
  janus: (image) => [{ type: "token", token: IMAGE_BEGIN }, image, IMAGE_END],
  "janus-pro": (image) => [{ type: "token", token: IMAGE_BEGIN }, image, IMAGE_END],
  janusflow: (image) => [image, IMAGE_END],
};

/** How the two sides are named, and the system text where a conversation brings none. */
export interface VlVoices {
  readonly user: ContentPart;
  readonly assistant: ContentPart;
  readonly system: string;
}

const SPELLED: VlVoices = {
  user: { type: "text", text: "User" },
  assistant: { type: "text", text: "Assistant" },
  system: VL_SYSTEM,
};

const AS_TOKENS: VlVoices = {
  user: { type: "token", token: VL2_USER },
  assistant: { type: "token", token: VL2_ASSISTANT },
  system: "",
};

/** Those of Janus-Pro, where they are no tokens. */
const PRO_SPELLED: VlVoices = {
  user: { type: "text", text: VL2_USER },
  assistant: { type: "text", text: VL2_ASSISTANT },
  system: VL_SYSTEM,
};

/** Vocabularies of whole words, as the picture world's, cannot spell the names: their tokens stand for them. */
export function vlVoices(tokenizer: Tokenizer, family: VlFamily = "vl"): VlVoices {
  const known = tokenizer.idOf(VL2_USER) !== undefined;
  if (known && !canSpell(tokenizer, "User Assistant")) return AS_TOKENS;
  if (family !== "janus-pro") return SPELLED;
  return known ? { ...AS_TOKENS, system: VL_SYSTEM } : PRO_SPELLED;
}

/**
 * The rendered conversation as parts: text, images and end tokens.
 * @param answer whether the answer of the assistant is to follow; default where the last message is the user's
 */
export function renderVl(
  messages: readonly ImageMessage[],
  answer?: boolean,
  voices: VlVoices = SPELLED,
): ContentPart[] {
  const parts: ContentPart[] = [];
  for (const { learned: _, ...part } of markedParts(messages, answer, voices)) {
    const last = parts.at(-1);
    if (last?.type !== "text" || part.type !== "text") parts.push(part);
    else parts[parts.length - 1] = { type: "text", text: last.text + part.text };
  }
  return parts;
}

/** A part of a rendered conversation, and whether it is the assistant's. */
type MarkedPart = ContentPart & { readonly learned: boolean };

function markedParts(
  messages: readonly ImageMessage[],
  answer: boolean | undefined,
  voices: VlVoices,
): MarkedPart[] {
  checkTurns(messages);
  const parts: MarkedPart[] = [];
  const say = (text: string, learned = false) => {
    const last = parts.at(-1);
    if (last?.type === "text" && last.learned === learned) {
      parts[parts.length - 1] = { type: "text", text: last.text + text, learned };
    } else if (text !== "") parts.push({ type: "text", text, learned });
  };
  const put = (part: ContentPart, learned = false) => {
    if (part.type === "text") say(part.text, learned);
    else parts.push({ ...part, learned });
  };
  const [first] = messages;
  const system = first.role === "system" ? first.content : voices.system;
  for (const part of contentParts(system)) put(part);
  if (parts.length > 0) say("\n\n");
  const turns = first.role === "system" ? messages.slice(1) : messages;
  const asked = answer ?? turns.length % 2 === 1;
  const all: readonly ImageMessage[] =
    asked && turns.length % 2 === 1 ? [...turns, { role: "assistant", content: "" }] : turns;
  all.forEach((message, index) => {
    const content = strippedParts(message.content);
    const name = message.role === "user" ? voices.user : voices.assistant;
    put(name);
    say(":");
    if (content.length === 0) return;
    say(" ");
    const answered = index % 2 === 1;
    for (const part of content) put(part, answered);
    if (answered) put({ type: "token", token: TOKEN.eos }, true);
    else say("\n\n");
  });
  return strippedParts<MarkedPart>(parts) as MarkedPart[];
}

/**
 * Ids of a conversation with places for its images. Nothing in it is marked as learned: an answer shares tokens with what
 * is before it. @throws ConfigError for messages that the template has no place for
 */
export function vlPrompt(
  messages: readonly ImageMessage[],
  tokenizer: Tokenizer,
  answer?: boolean,
  family: VlFamily = "vl",
): PromptPiece[] {
  return finish(vlPieces(renderVl(messages, answer, vlVoices(tokenizer, family)), tokenizer, family));
}

/**
 * Ids after which a model draws an image of `prompt`: one message without a system text, then the token that begins an image
 * (`generation_inference.py` of deepseek-ai/Janus). @throws ConfigError for a token that the vocabulary lacks
 */
export function drawingPrompt(
  prompt: string,
  tokenizer: Tokenizer,
  family: Exclude<VlFamily, "vl">,
): number[] {
  const voices = { ...vlVoices(tokenizer, family), system: "" };
  const parts = renderVl([{ role: "user", content: prompt }], true, voices);
  const pieces = finish(vlPieces(parts, tokenizer, family));
  const begin = tokenId(tokenizer, family === "janusflow" ? GENERATION_BEGIN : IMAGE_BEGIN);
  return [...pieces.flatMap((piece) => ("ids" in piece ? piece.ids : [])), begin];
}

/**
 * Ids of an answered conversation for training. Learned are answers and their end tokens; a token of which only the end
 * belongs to an answer is learned too. @throws ConfigError
 */
export function vlLessonPieces(
  messages: readonly ImageMessage[],
  tokenizer: Tokenizer,
  family: VlFamily = "vl",
): Slices<PromptPiece[]> {
  const writer = new PieceWriter(tokenizer);
  writer.ids(tokenizer.prefixIds, false);
  for (const { learned, ...part } of markedParts(messages, false, vlVoices(tokenizer, family))) {
    if (learned && part.type === "text") writer.learnedText(part.text);
    else writer.parts(withSurroundings([part], family), learned);
  }
  return writer.pieces();
}

function withSurroundings(parts: readonly ContentPart[], family: VlFamily): ContentPart[] {
  return parts.flatMap((part) => (part.type === "image" ? around[family](part) : [part]));
}

/** Ids of a rendered conversation. @throws ConfigError */
export function vlPieces(
  parts: readonly ContentPart[],
  tokenizer: Tokenizer,
  family: VlFamily = "vl",
): Slices<PromptPiece[]> {
  const writer = new PieceWriter(tokenizer);
  writer.ids(tokenizer.prefixIds, false);
  writer.parts(withSurroundings(parts, family), false);
  return writer.pieces();
}
