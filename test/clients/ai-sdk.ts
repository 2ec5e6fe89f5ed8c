/** The Vercel AI SDK with three of its providers. */
import { createDeepSeek } from "@ai-sdk/deepseek";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, type LanguageModel, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import {
  AFTER_CALL,
  ANSWER,
  assert,
  type Check,
  calling,
  checkUsage,
  fails,
  MODEL,
  saying,
  THOUGHT,
} from "./harness.ts";

type Options = NonNullable<Parameters<typeof generateText>[0]["providerOptions"]>;

interface Provider {
  readonly client: string;
  readonly protocol: Check["protocol"];
  readonly model: (url: string) => LanguageModel;
  /** Asks the model to think. */
  readonly thinks: Options;
  /** The provider sends no schemas: only any JSON can be asked for. */
  readonly looseJson?: true;
}

const key = { apiKey: "any" };
const providers: Provider[] = [
  {
    ...{ client: "@ai-sdk/openai", protocol: "responses" },
    model: (url) => createOpenAI({ ...key, baseURL: `${url}/v1` })(MODEL),
    // Asked for a summary, it shows the reasoning.
    thinks: { openai: { reasoningEffort: "high", reasoningSummary: "auto", forceReasoning: true } },
  },
  {
    ...{ client: "@ai-sdk/openai", protocol: "chat" },
    model: (url) => createOpenAI({ ...key, baseURL: `${url}/v1` }).chat(MODEL),
    thinks: {},
  },
  {
    ...{ client: "@ai-sdk/deepseek", protocol: "chat", looseJson: true },
    // Its address has no /v1, as DeepSeek's own.
    model: (url) => createDeepSeek({ ...key, baseURL: url })(MODEL),
    thinks: { deepseek: { thinking: { type: "enabled" } } },
  },
  {
    ...{ client: "@ai-sdk/openai-compatible", protocol: "chat" },
    model: (url) =>
      createOpenAICompatible({
        ...{ ...key, name: "local", baseURL: `${url}/v1`, includeUsage: true },
        supportsStructuredOutputs: true,
      })(MODEL),
    thinks: { local: { reasoningEffort: "high" } },
  },
];

const weather = tool({
  description: "Weather of a city",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => ({ city, degrees: 21 }),
});

const checksOf = ({ client, protocol, model, thinks, looseJson }: Provider): Check[] => {
  const check = (what: string, run: Check["run"]): Check => ({ client, protocol, what, run });
  return [
    check("generateText", async (serve) => {
      const { text, usage, finishReason } = await generateText({
        ...{ model: model(await serve(saying)), system: "s", prompt: "a", maxOutputTokens: 50 },
        ...{ temperature: 0, maxRetries: 0 },
      });
      assert.equal(text, ANSWER);
      assert.equal(finishReason, "stop");
      checkUsage(usage.inputTokens, usage.outputTokens);
    }),
    check("streamText, with reasoning where the provider can ask for it", async (serve) => {
      const result = streamText({
        ...{ model: model(await serve(saying)), prompt: "a", maxRetries: 0, providerOptions: thinks },
      });
      const parts: string[] = [];
      for await (const part of result.fullStream) {
        if (part.type === "error") throw part.error;
        parts.push(part.type);
      }
      assert.equal(await result.text, ANSWER);
      if (Object.keys(thinks).length > 0) {
        assert.equal(await result.reasoningText, THOUGHT);
        // No text has begun before the reasoning is over.
        assert.ok(parts.indexOf("text-start") > parts.lastIndexOf("reasoning-delta"), parts.join(" "));
      }
      const usage = await result.usage;
      checkUsage(usage.inputTokens, usage.outputTokens);
    }),
    check("an agent's steps: call, result, answer", async (serve) => {
      const { text, steps } = await generateText({
        ...{ model: model(await serve(calling)), prompt: "Weather in Rome?", tools: { weather } },
        ...{ stopWhen: stepCountIs(4), maxRetries: 0 },
      });
      assert.equal(text, AFTER_CALL);
      assert.deepEqual(
        steps.map((step) => step.finishReason),
        ["tool-calls", "stop"],
      );
      assert.deepEqual(steps[0].toolResults[0].output, { city: "Rome", degrees: 21 });
      assert.equal(steps[0].text, "");
    }),
    check("the same, streamed", async (serve) => {
      const result = streamText({
        ...{ model: model(await serve(calling)), prompt: "Weather in Rome?", tools: { weather } },
        ...{ stopWhen: stepCountIs(4), maxRetries: 0 },
      });
      const seen: string[] = [];
      for await (const part of result.fullStream) {
        if (part.type === "error") throw part.error;
        seen.push(part.type);
      }
      assert.equal(await result.text, AFTER_CALL);
      assert.ok(seen.indexOf("tool-call") < seen.indexOf("text-start"), seen.join(" "));
      assert.ok(seen.includes("tool-input-delta"), seen.join(" "));
    }),
    check(
      looseJson
        ? "a forced call (of objects it asks for any JSON only)"
        : "an object by a schema, and a forced call",
      async (serve) => {
        const url = await serve(saying);
        const schema = z.object({ ok: z.boolean(), kind: z.enum(["one", "two"]) });
        if (!looseJson) {
          const { output } = await generateText({
            ...{ model: model(url), prompt: "a", output: Output.object({ schema }), maxRetries: 0 },
          });
          assert.ok(schema.safeParse(output).success, JSON.stringify(output));
        }
        const forced = await generateText({
          ...{ model: model(url), prompt: "a", maxRetries: 0 },
          tools: { pick: tool({ inputSchema: schema }) },
          toolChoice: { type: "tool", toolName: "pick" },
        });
        assert.ok(schema.safeParse(forced.toolCalls[0]?.input).success, JSON.stringify(forced.toolCalls));
      },
    ),
    check("an error names what is wrong", async (serve) => {
      const url = await serve(saying);
      await fails(
        () => generateText({ model: model(url), prompt: "a ".repeat(200_000), maxRetries: 0 }),
        /context/,
      );
    }),
  ];
};

export const checks: readonly Check[] = providers.flatMap(checksOf);
