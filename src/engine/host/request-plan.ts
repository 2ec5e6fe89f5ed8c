/**
 * From a request to what the engine is asked for: prompts as token ids, what ends them, what constrains them and how their
 * text is read. All that can be wrong with a request and needs the tokenizer or the template to see is refused here.
 */
import { builtinFor, type TemplateHints } from "../../chat/builtin.ts";
import { contentOf, type Tool } from "../../chat/messages.ts";
import { THINK_CLOSE } from "../../chat/provenance.ts";
import { spokenTokens } from "../../chat/reply-pieces.ts";
import { builtinTemplate, type ChatPrompt, type ChatTemplate } from "../../chat/template.ts";
import { fromPlain, type JsonObject, type JsonValue } from "../../json/index.ts";
import { ConfigError, DeepseekError } from "../../tensor/errors.ts";
import { freshId } from "../../text/ids.ts";
import { fimPromptSlices, fimSentinels } from "../../tokenizer/fim.ts";
import { withOpening } from "../../tokenizer/opening.ts";
import { Pace, type Slices } from "../../tokenizer/slices.ts";
import type { Tokenizer } from "../../tokenizer/tokenizer.ts";
import { AfterReasoning } from "../constraint/after-reasoning.ts";
import type { OutputPart } from "../constraint/output-constraints.ts";
import type { TokenConstraint } from "../constraint.ts";
import { expandedIds } from "../image-prompt.ts";
import type { ChoiceOptions, GroundingTarget } from "./choice-text.ts";
import { contextExceeded, invalidRequest, unsupported } from "./errors.ts";
import { checkSees, type ImagePlanner, type PromptImages, planImages } from "./image-plan.ts";
import {
  type ChatRequest,
  type CompletionRequest,
  type GenerationRequest,
  paramOf,
  type ResponseFormat,
  type TokenizeRequest,
} from "./protocol.ts";
import { type CallFormat, callFormat, rendersTools } from "./tool-format.ts";

/** Everything about a model that plans depend on. */
export interface TextModel {
  readonly name: string;
  /** What counts the tokens of images; null for a model that does not see. */
  readonly images: ImagePlanner | null;
  readonly tokenizer: Tokenizer;
  readonly template: ChatTemplate | null;
  /** The template for requests with tools; null if there is none. */
  readonly toolTemplate: ChatTemplate | null;
  readonly callFormat: CallFormat | null;
  /** Control tokens, whether they are marked special or not: they are never printed. */
  readonly control: ReadonlySet<number>;
  /** EOS of configuration and tokenizer. */
  readonly endIds: readonly number[];
  /** Rows of the head that are tokens. */
  readonly vocabulary: number;
  readonly context: number;
  /** A new constraint over the tokenizer, ended by all tokens that end an answer. @throws ConfigError */
  readonly constrain: (part: OutputPart) => Slices<TokenConstraint>;
}

/** One prompt, to be continued by `n` choices. */
export interface Plan {
  /** Ids, with as many for each image as it has tokens. */
  readonly prompt: readonly number[];
  /** Null if there are none. */
  readonly images: PromptImages | null;
  readonly imageTokens: number;
  readonly maxTokens: number;
  readonly stopIds: readonly number[];
  /** What choices' texts begin with. */
  readonly echo: string;
  /** Whether the tokens of `echo`, which are the prompt's, are scored too. */
  readonly scoresPrompt: boolean;
  readonly choice: ChoiceOptions;
  /** A new constraint for each choice; null if there is none. */
  readonly constraint: (() => TokenConstraint) | null;
}

/** The template that tells the model of tools: the given one, or the built-in of its layout. */
export function toolTemplate(
  tokenizer: Tokenizer,
  template: ChatTemplate | null,
  hints: TemplateHints,
): ChatTemplate | null {
  if (template === null || rendersTools(template)) return template;
  try {
    const builtin = builtinTemplate(tokenizer, builtinFor(tokenizer, hints));
    const sameLayout = callFormat(template) !== null && rendersTools(builtin);
    return sameLayout ? builtin : null;
  } catch (error) {
    if (error instanceof ConfigError) return null;
    throw error;
  }
}

/** Runs what reads text from outside: what it refuses is the request's fault. */
function asked<T>(param: string, body: () => T): T {
  try {
    return body();
  } catch (error) {
    if (error instanceof DeepseekError) throw invalidRequest(error.message, param);
    throw error;
  }
}

/** The same for work in slices. */
function* askedSlices<T>(param: string, work: Slices<T>): Slices<T> {
  try {
    return yield* work;
  } catch (error) {
    if (error instanceof DeepseekError) throw invalidRequest(error.message, param);
    throw error;
  }
}

function room(model: TextModel, request: GenerationRequest, promptTokens: number, param: string): number {
  const left = model.context - promptTokens;
  if (left < (request.maxTokens === 0 ? 0 : 1))
    throw contextExceeded(model.context, promptTokens, null, param);
  if (request.maxTokens !== null && request.maxTokens > left) {
    throw contextExceeded(model.context, promptTokens, request.maxTokens, param);
  }
  if (request.minTokens > left) throw contextExceeded(model.context, promptTokens, request.minTokens, param);
  return request.maxTokens ?? left;
}

/** @throws RequestError if a field names a token that does not exist */
function checkTokens(model: TextModel, request: GenerationRequest): void {
  const named = { logit_bias: request.logitBias.map(([id]) => id), stop_token_ids: request.stopIds };
  for (const [field, ids] of Object.entries(named)) {
    const outside = ids.find((id) => id >= model.vocabulary);
    if (outside === undefined) continue;
    throw invalidRequest(`'${field}' names token ${outside}; the ids end at ${model.vocabulary - 1}.`, field);
  }
}

/** Literal text, its control tokens as such: they are what the model knows as the beginning of a call. */
function literal(tokenizer: Tokenizer, text: string): OutputPart[] {
  const pieces = text.split(/(<\uFF5C[^\uFF5C]*\uFF5C>)/).filter((piece) => piece !== "");
  return pieces.map((piece) => {
    const token = piece.startsWith("<\uFF5C") ? tokenizer.idOf(piece) : undefined;
    return token === undefined ? { text: piece } : { token };
  });
}

/** Calls of tools in the template's format: one, or if `several` any number of them. */
function callsPart(
  { tokenizer }: TextModel,
  format: CallFormat,
  tools: readonly { readonly name: string; readonly args: OutputPart }[],
  several: boolean,
): OutputPart {
  const { opening, between, closing } = format;
  const call = (before: (name: string) => string): OutputPart => ({
    anyOf: tools.map(({ name, args }) => ({ sequence: [...literal(tokenizer, before(name)), args] })),
  });
  const more = several && between !== null ? [{ repeat: call(between) }] : [];
  return { sequence: [call(opening), ...more, ...literal(tokenizer, closing)] };
}

/** Arguments are an object, whether the schema says so or not. */
function argumentsBy({ function: { parameters = {} } }: Tool): OutputPart {
  const schema = fromPlain(parameters) as JsonObject;
  return { schema: new Map<string, JsonValue>([["type", "object"], ...schema]) };
}

/**
 * Calls with arguments by what `argumentsFor` says. Where that cannot be followed, those of tools that are not strict
 * are any JSON object: one uncommon schema takes no whole request down.
 * @throws RequestError that names the tool, if it is strict
 */
function* callsBy(
  model: TextModel,
  format: CallFormat,
  request: ChatRequest,
  several: boolean,
  argumentsFor: (tool: Tool) => OutputPart,
): Slices<OutputPart> {
  const { tools } = callable(request);
  const withArguments = (args: readonly OutputPart[]) => {
    const possible = tools.map((tool, i) => ({ name: tool.function.name, args: args[i] }));
    return callsPart(model, format, possible, several);
  };
  const part = withArguments(tools.map(argumentsFor));
  try {
    yield* model.constrain(part);
    return part;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
  }
  const followed: OutputPart[] = [];
  for (const tool of tools) {
    const args = argumentsFor(tool);
    try {
      yield* model.constrain(args);
      followed.push(args);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      const { name, strict } = tool.function;
      const param = `tools[${request.tools.indexOf(tool)}].function.parameters`;
      if (strict) {
        const message = `The parameters of the tool '${name}' cannot be followed: ${error.message}`;
        throw invalidRequest(message, param);
      }
      followed.push({ jsonObject: true });
    }
  }
  return withArguments(followed);
}

interface Wanted {
  readonly part: OutputPart;
  /** The field of the request that asks for it. */
  readonly param: string;
}

/** Whether there may or must be a call, and of which tools. */
function callable({ toolChoice, tools }: ChatRequest) {
  if (typeof toolChoice === "string") return { mode: toolChoice, tools, some: false };
  const { mode, names } = toolChoice;
  return { mode, tools: tools.filter((tool) => names.includes(tool.function.name)), some: true };
}

/** The one call that `tool_choice` forces, or null. */
function* forcedCall(model: TextModel, request: ChatRequest): Slices<Wanted | null> {
  if (callable(request).mode !== "required") return null;
  if (model.callFormat === null) {
    throw unsupported("tool_choice", "the model's template has no format for calls that could be forced");
  }
  return { part: yield* callsBy(model, model.callFormat, request, false, argumentsBy), param: "tools" };
}

/** What `response_format` or an equivalent field asks for, or null. */
function wantedFormat(format: ResponseFormat): Wanted | null {
  const param = paramOf(format);
  switch (format.type) {
    case "text":
      return null;
    case "json_object":
      return { part: { jsonObject: true }, param };
    case "json_schema":
      return { part: { schema: format.schema }, param };
    case "choice":
      return { part: { anyOf: format.texts.map((text) => ({ text })) }, param };
    case "pattern":
      return { part: { pattern: format.pattern }, param };
  }
}

/**
 * Calls that the model may decide on, if something has to be seen to: the arguments of tools that are strict, tools
 * that the model knows but may not call, or an answer in a format that must not keep the model from calling. Arguments
 * of other tools are any JSON object.
 */
function* possibleCalls(model: TextModel, request: ChatRequest): Slices<Wanted | null> {
  const { mode, tools, some } = callable(request);
  if (mode !== "auto" || tools.length === 0 || model.callFormat === null) return null;
  const strict = tools.some((tool) => tool.function.strict);
  if (!strict && !some && request.format.type === "text") return null;
  const part = yield* callsBy(model, model.callFormat, request, request.parallelToolCalls, (tool) =>
    tool.function.strict ? argumentsBy(tool) : { jsonObject: true },
  );
  return { part, param: "tools" };
}

/** What the answer must be; null: anything. @throws RequestError for a schema that cannot be followed */
function* wantedPart(model: TextModel, request: ChatRequest): Slices<Wanted | null> {
  const forced = yield* forcedCall(model, request);
  if (forced !== null) return forced;
  const answer = wantedFormat(request.format);
  const calls = yield* possibleCalls(model, request);
  if (calls === null) return answer;
  if (answer === null) {
    return { ...calls, part: { sequence: [{ freeText: true }, { repeat: calls.part, max: 1 }] } };
  }
  // So that an error names the field which is at fault.
  yield* askedSlices(answer.param, model.constrain(answer.part));
  return { ...calls, part: { anyOf: [answer.part, calls.part] } };
}

/** What accepting a token costs, in the characters of `Pace`. */
const ACCEPTED = 32;

/**
 * Makes the constraint of each choice, which begins behind `written`: what an answer that is continued begins with.
 * @throws RequestError for a schema that cannot be followed
 */
function* constraintOf(
  model: TextModel,
  wanted: Wanted | null,
  opensReasoning: boolean,
  endIds: readonly number[],
  written = "",
): Slices<(() => TokenConstraint) | null> {
  if (wanted === null) return null;
  const begun = yield* askedSlices(wanted.param, model.constrain(wanted.part));
  yield* acceptWritten(model, begun, written, wanted.param);
  if (!opensReasoning) return () => begun.clone();
  const { tokenizer } = model;
  const textOf = (id: number) => (tokenizer.tokenOf(id) === undefined ? "" : tokenizer.decode([id]));
  const close = tokenizer.idOf(THINK_CLOSE) ?? THINK_CLOSE;
  return () => new AfterReasoning(begun.clone(), textOf, endIds, close);
}

/** Moves a constraint over a text that is there already. @throws RequestError if it begins no output of the kind */
function* acceptWritten(
  { tokenizer }: TextModel,
  constraint: TokenConstraint,
  written: string,
  param: string,
): Slices<void> {
  if (written === "") return;
  const pace = new Pace();
  try {
    for (const id of yield* tokenizer.encodeSlices(written, {
      addSpecialTokens: false,
      parseSpecial: false,
    })) {
      constraint.accept(id);
      if (pace.due(ACCEPTED)) yield;
    }
  } catch (error) {
    if (!(error instanceof DeepseekError)) throw error;
    throw invalidRequest(
      `The message that is to be continued does not begin an answer as '${param}' asks for.`,
      param,
    );
  }
}

/** Tokens that end an answer: the model's own, unless they are to be ignored, and those that the request adds. */
const endsOf = (request: GenerationRequest, own: readonly number[]) => [
  ...new Set([...(request.ignoreEos ? [] : own), ...request.stopIds]),
];

const stopping = (request: GenerationRequest) => ({
  stop: request.stop,
  includeStop: request.includeStop,
  minTokens: request.minTokens,
  logprobs: request.logprobs !== null,
  alternatives: request.logprobs ?? 0,
  inside: request.inside ?? false,
});

/** The template that renders a conversation, and what it makes of it. @throws RequestError */
function* promptOf(
  model: TextModel,
  request: Exclude<TokenizeRequest, { text: string }>,
  withTools: boolean,
): Slices<{ template: ChatTemplate; rendered: ChatPrompt; images: PromptImages | null }> {
  checkSees(model.images, model.name, request.messages);
  const template = withTools ? model.toolTemplate : model.template;
  if (template === null) {
    if (model.template === null) throw unsupported("messages", "the model has no chat template for them");
    throw unsupported("tools", "the model's chat template has no place for them");
  }
  const rendered = yield* askedSlices(
    "messages",
    template.promptSlices(request.messages, {
      ...(withTools ? { tools: request.tools } : {}),
      ...(request.thinking === null ? {} : { thinking: request.thinking }),
      variables: request.templateVariables,
      addGenerationPrompt: request.addGenerationPrompt,
      continueFinal: request.continueFinal,
    }),
  );
  return { template, rendered, images: planImages(model.images, request.messages, rendered) };
}

/** What boxes of the answer relate to: as in the reference, the last image of the conversation. @throws RequestError */
function groundingOf(
  { name }: TextModel,
  request: ChatRequest,
  template: ChatTemplate,
  images: PromptImages | null,
): GroundingTarget | null {
  if (!request.grounding) return null;
  if (template.spoken.length === 0) {
    throw unsupported("grounding", `the model '${name}' does not answer with boxes`);
  }
  if (images === null) throw invalidRequest("'grounding' needs an image in the messages.", "grounding");
  const image = images.planned.length - 1;
  return { image, size: images.planned[image] };
}

function* planChat(model: TextModel, request: ChatRequest): Slices<Plan> {
  const { tokenizer } = model;
  const withTools = request.tools.length > 0 && request.toolChoice !== "none";
  const { template, rendered, images } = yield* promptOf(model, request, withTools);
  const prompt = expandedIds(rendered, images?.planned ?? []);
  const stopIds = [...new Set([...model.endIds, ...template.stopIds])];
  const ends = endsOf(request, stopIds);
  const written = request.continueFinal ? contentOf(request.messages.at(-1)!) : "";
  const spoken = spokenTokens(tokenizer, withTools, template.spoken);
  const silent = [...model.control, ...fimSentinels(tokenizer)].filter((id) => !spoken.has(id));
  return {
    prompt,
    images,
    imageTokens: images?.tokens ?? 0,
    maxTokens: room(model, request, prompt.length, "messages"),
    stopIds: ends,
    echo: request.echo ? written : "",
    scoresPrompt: false,
    choice: {
      ...stopping(request),
      ownStops: request.ignoreEos ? [] : template.stopStrings,
      silent: new Set([...(request.skipSpecial ? silent : []), ...stopIds, ...ends]),
      ends: new Set(ends),
      chat: {
        opensReasoning: rendered.opensReasoning,
        // A continued answer has begun: its next space is its own.
        stripsSpace: template.stripsSpace && !request.continueFinal,
        tools: withTools,
        grounding: groundingOf(model, request, template, images),
        forcedCalls: callable(request).mode === "required",
        spoken,
        parallelToolCalls: request.parallelToolCalls,
        callId: () => freshId("call_"),
      },
    },
    constraint: yield* constraintOf(
      model,
      yield* wantedPart(model, request),
      rendered.opensReasoning,
      stopIds,
      written,
    ),
  };
}

/** Ids of a raw text, control tokens understood, with what the tokenizer adds before a text. */
function* rawIds(tokenizer: Tokenizer, text: string, addSpecialTokens: boolean): Slices<number[]> {
  const ids = yield* tokenizer.encodeSlices(text, { addSpecialTokens: false });
  return addSpecialTokens ? withOpening(tokenizer, ids) : ids;
}

function* completionIds(
  model: TextModel,
  request: CompletionRequest,
  prompt: string | readonly number[],
): Slices<number[]> {
  const { tokenizer } = model;
  if (typeof prompt === "string") {
    const { suffix } = request;
    if (suffix === null) return yield* rawIds(tokenizer, prompt, request.addSpecialTokens);
    return yield* askedSlices("suffix", fimPromptSlices(tokenizer, prompt, suffix));
  }
  const outside = prompt.find((id) => id >= model.vocabulary);
  if (outside === undefined) return [...prompt];
  throw invalidRequest(
    `'prompt' holds token ${outside}; the ids end at ${model.vocabulary - 1}.`,
    "prompt",
    "invalid_token",
  );
}

function* planCompletion(model: TextModel, request: CompletionRequest): Slices<Plan[]> {
  const { tokenizer } = model;
  const stopIds = endsOf(request, [
    ...model.endIds,
    ...(request.suffix === null ? [] : fimSentinels(tokenizer)),
  ]);
  const tags = spokenTokens(tokenizer, false);
  const choice: ChoiceOptions = {
    ...stopping(request),
    // What stands between the tags of reasoning can only be told from them.
    silent: new Set([
      ...(request.skipSpecial
        ? [...model.control, ...fimSentinels(tokenizer)].filter((id) => !tags.has(id))
        : []),
      ...model.endIds,
      ...stopIds,
    ]),
    ends: new Set(stopIds),
    chat: null,
  };
  const constraint = yield* constraintOf(model, wantedFormat(request.format), false, stopIds);
  const plans: Plan[] = [];
  for (const prompt of request.prompts) {
    if (plans.length > 0) yield;
    const ids = yield* completionIds(model, request, prompt);
    if (ids.length === 0) {
      throw invalidRequest("The prompt is empty, and the tokenizer adds nothing before it.", "prompt");
    }
    const text = () =>
      typeof prompt === "string"
        ? prompt
        : asked("prompt", () => tokenizer.decode(prompt, { skipSpecialTokens: true }));
    plans.push({
      prompt: ids,
      images: null,
      imageTokens: 0,
      maxTokens: room(model, request, ids.length, "prompt"),
      stopIds,
      echo: request.echo ? text() : "",
      scoresPrompt: request.echo && request.logprobs !== null,
      choice,
      constraint,
    });
  }
  return plans;
}

/** What the engine is asked for, one plan per prompt. @throws RequestError */
export function* planRequest(model: TextModel, request: GenerationRequest): Slices<Plan[]> {
  checkTokens(model, request);
  return request.kind === "chat" ? [yield* planChat(model, request)] : yield* planCompletion(model, request);
}

/** Ids of a text or of messages as the chat endpoint would render them, images included. @throws RequestError */
export function* tokenizeRequest(model: TextModel, request: TokenizeRequest): Slices<readonly number[]> {
  if ("text" in request) {
    const { text, addSpecialTokens, parseSpecial } = request;
    return yield* model.tokenizer.encodeSlices(text, { addSpecialTokens, parseSpecial });
  }
  const { rendered, images } = yield* promptOf(model, request, request.tools.length > 0);
  return expandedIds(rendered, images?.planned ?? []);
}
