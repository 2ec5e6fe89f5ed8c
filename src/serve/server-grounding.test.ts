/** Boxes over HTTP from a model that writes them: in the text, and as numbers in the message and in the stream. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import OpenAI from "openai";
import { afterAll, beforeAll, expect, it } from "vitest";
import { questionsOf, taughtCheckpoint } from "../runs/staged/testing-taught.ts";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import { parseGrounding } from "../vision/grounding.ts";
import { encodePng } from "../vision/image/png-writer.ts";
import { type RunningServer, startServer } from "./server.ts";
import { post } from "./test-server.ts";

const folder = mkdtempSync(join(tmpdir(), "deepseek-ts-grounding-"));
const problems: string[] = [];
const [found] = questionsOf("find", 1);
const [described] = questionsOf("describe", 1);
let server: RunningServer;
let client: OpenAI;
beforeAll(async () => {
  await using device = await createCpuDevice({ threads: 1 });
  for (const [name, bytes] of await taughtCheckpoint("vl2", [found, described], device))
    writeFileSync(join(folder, name), bytes);
  server = await startServer({
    ...{ port: 0, servedName: "world", log: (line) => problems.push(line) },
    engine: { model: folder, threads: 1, cacheTokens: 4096 },
  });
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "any", maxRetries: 0 });
});
afterAll(async () => {
  await server?.close(1);
  rmSync(folder, { recursive: true, force: true });
  expect(problems).toEqual([]);
});

const token = (name: string) => ({ type: "token", token: name });
const questions = [
  { sample: found, asked: [token("<|ref|>"), found.question.replaceAll(/<[^>]*>/g, ""), token("<|/ref|>")] },
  { sample: described, asked: [token("<|grounding|>"), "describe the image ."] },
];

/** A question as parts of both APIs. */
async function partsOf({ sample, asked }: (typeof questions)[number]) {
  const url = `data:image/png;base64,${Buffer.from(await encodePng(sample.image!)).toString("base64")}`;
  const parts = (text: string) =>
    asked.map((part) => (typeof part === "string" ? { type: text, text: part } : part));
  return {
    messages: [{ role: "user", content: [{ type: "image_url", image_url: { url } }, ...parts("text")] }],
    input: [{ role: "user", content: [{ type: "input_image", image_url: url }, ...parts("input_text")] }],
  };
}

/** What a right answer is told as. */
function expected({ answer, image }: typeof found) {
  const { items } = parseGrounding(answer, image!);
  return items.map(({ label, box: [x1, y1, x2, y2], numbers }) => ({
    ...{ label, image: 0 },
    boxes: [{ ...{ x1, y1, x2, y2 }, numbers: [...numbers] }],
  }));
}
const spaceless = (text: string) => text.replaceAll(" ", "");
const common = { model: "world", temperature: 0, grounding: true };

it.each(questions)("tells the boxes of $sample.task", async (question) => {
  const { sample } = question;
  const grounding = expected(sample);
  expect(grounding.length).toBe(sample.task === "find" ? 1 : sample.objects!.length);
  const { messages, input } = await partsOf(question);
  const chat = await post(server, "/v1/chat/completions", { ...common, messages });
  expect(chat.status).toBe(200);
  const [{ message }] = chat.body.choices;
  expect(spaceless(message.content)).toBe(spaceless(sample.answer));
  expect(message.grounding).toEqual(grounding);

  const streamed: unknown[] = [];
  const body = { ...common, messages, stream: true } as unknown as OpenAI.ChatCompletionCreateParamsStreaming;
  for await (const { choices } of await client.chat.completions.create(body)) {
    streamed.push(...((choices[0].delta as { grounding?: unknown[] }).grounding ?? []));
  }
  expect(streamed).toEqual(grounding);

  const response = await post(server, "/v1/responses", { ...common, input });
  expect(response.status).toBe(200);
  const [{ content }] = response.body.output;
  expect(content).toMatchObject([{ type: "output_text", text: message.content, annotations: [], grounding }]);

  const told: unknown[] = [];
  const asked = { ...common, input } as unknown as Parameters<typeof client.responses.stream>[0];
  const stream = client.responses.stream(asked);
  stream.on("response.output_text.delta", (event) => {
    told.push(...((event as { grounding?: unknown[] }).grounding ?? []));
  });
  const final = await stream.finalResponse();
  expect(told).toEqual(grounding);
  expect(final.output).toMatchObject([{ content: [{ text: message.content, grounding }] }]);
  // The answer comes back as part of the next question: the same tokens, tags included.
  const next = [...input, ...response.body.output, { role: "user", content: "describe" }];
  const second = await post(server, "/v1/responses", { ...common, input: next, max_output_tokens: 2 });
  const { input_tokens: inputTokens, output_tokens: answered } = response.body.usage;
  const cached = second.body.usage?.input_tokens_details.cached_tokens;
  expect([second.status, cached >= inputTokens + answered - 1]).toEqual([200, true]);
});

it("tells no numbers where they are not asked for, and refuses to where there is no picture", async () => {
  const { messages, input } = await partsOf(questions[0]);
  const plain = { ...common, grounding: false };
  const chat = await post(server, "/v1/chat/completions", { ...plain, messages });
  expect(chat.body.choices[0].message).not.toHaveProperty("grounding");
  const response = await post(server, "/v1/responses", { ...plain, input });
  expect(response.body.output[0].content[0]).not.toHaveProperty("grounding");
  expect(response.body.output[0].content[0].text).toBe(chat.body.choices[0].message.content);
  for (const grounding of [true, "yes"]) {
    const refused = await post(server, "/v1/responses", { ...common, grounding, input: "describe" });
    expect(refused).toMatchObject({ status: 400, body: { error: { param: "grounding" } } });
  }
});
