/** The inside of answers over HTTP: against their log-probabilities, a direct pass and the engine's counts of drafts. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { writeModelFolder } from "../engine/testing-folder.ts";
import type { CausalLM } from "../models/causal-lm.ts";
import { load } from "../pretrained/node-load.ts";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { chatBody } from "./chat-answer.ts";
import { type RunningServer, startServer } from "./server.ts";
import type { InsideNews, InsideToken } from "./studio/protocol.ts";
import { metricOf, post, user } from "./test-server.ts";

const folder = mkdtempSync(join(tmpdir(), "deepseek-ts-inside-"));
const problems: string[] = [];
let server: RunningServer;
beforeAll(async () => {
  await writeModelFolder(folder, { maxPositions: 4096, layers: 3, std: 0.15 });
  server = await startServer({
    ...{ port: 0, servedName: "tiny", log: (line) => problems.push(line) },
    engine: { model: folder, threads: 1, maxBatch: 4, prefillChunk: 32, speculative: true },
  });
});
afterAll(async () => {
  await server?.close(1);
  rmSync(folder, { recursive: true, force: true });
  expect(problems).toEqual([]);
});

interface Scored {
  readonly token: string;
  readonly logprob: number;
  readonly top_logprobs: readonly Scored[];
}

/** A chunk of either interface. */
interface Chunk {
  readonly choices: readonly {
    readonly delta?: { readonly content?: string };
    readonly text?: string;
    readonly logprobs: { readonly content?: readonly Scored[]; readonly tokens?: readonly string[] } | null;
    readonly finish_reason: string | null;
  }[];
  readonly inside?: InsideNews;
  readonly usage?: { readonly completion_tokens: number };
}

/** The chunks of a streamed answer, in order. */
async function chunksOf(path: string, body: object): Promise<Chunk[]> {
  const response = await fetch(server.url + path, {
    method: "POST",
    body: JSON.stringify({ ...body, stream: true }),
    headers: { "content-type": "application/json" },
  });
  const events = (await response.text()).split("\n\n").filter((event) => event.startsWith("data: {"));
  return events.map((event) => JSON.parse(event.slice("data: ".length)));
}

/** By position and layer, experts with their weights in one pass over `ids`, largest weight first. */
async function routed(ids: readonly number[]): Promise<InsideToken["experts"][]> {
  await using device = await createCpuDevice({ threads: 1 });
  await using loaded = await load(folder, { device });
  const model = loaded.model as CausalLM;
  const kept = new Map<string, Tensor>();
  const capture = (name: string, tensor: Tensor) => {
    if (/topk_(ids|weights)$/.test(name)) kept.set(name, tensor);
    else tensor.dispose();
  };
  device.tidy(() => void model.hidden(model.ids([ids]), { capture }));
  const layers = [1, 2].map((layer) => {
    const values = ["topk_ids", "topk_weights"].map((name) => kept.get(`router.${layer}.${name}`)!);
    return { topK: values[0].shape[1], data: values.map((tensor) => tensor.data()) };
  });
  const found = await Promise.all(
    layers.map(async ({ topK, data }) => {
      const [chosen, weights] = await Promise.all(data);
      return ids.map((_, at) => {
        const pairs = Array.from({ length: topK }, (_, k) => at * topK + k).map((i) => [
          chosen[i],
          weights[i],
        ]);
        pairs.sort(([, a], [, b]) => b - a);
        return { ids: pairs.map(([id]) => id), weights: pairs.map(([, weight]) => weight) };
      });
    }),
  );
  for (const tensor of kept.values()) tensor.dispose();
  return ids.map((_, at) => found.map((layer) => layer[at]));
}

const joined = (news: readonly InsideNews[]): InsideToken[] => news.flatMap(({ tokens }) => tokens);

it("tells of chat what logprobs, a direct pass and the engine's counts say, and leaves the text as it is", async () => {
  const messages = user("the of and to in is that for it as was with on be by at from this have or one had");
  // A cached beginning would change the last bits.
  const shared = { model: "tiny", messages, ignore_eos: true, cache_prompt: false };
  const asked = { ...shared, max_tokens: 40, seed: 5, temperature: 1 };
  const drafts = async () => {
    const [drafted, accepted] = await Promise.all(
      ["drafted", "accepted"].map((name) => metricOf(server, `deepseek_ts_${name}_tokens_total`)),
    );
    return { drafted, accepted };
  };
  const plain = await post(server, "/v1/chat/completions", { ...asked, logprobs: true, top_logprobs: 5 });
  expect("inside" in plain.body).toBe(false);
  const before = await drafts();
  const { body } = await post(server, "/v1/chat/completions", { ...asked, inside: true });
  const after = await drafts();
  const [choice] = body.choices;
  expect(choice.message).toEqual(plain.body.choices[0].message);
  expect(choice.logprobs).toBeNull();

  const { tokens, figures } = body.inside as Required<InsideNews>;
  expect(tokens).toHaveLength(40);
  const scored = plain.body.choices[0].logprobs.content;
  const told = ({ text, logprob }: Pick<InsideToken, "text" | "logprob">) => ({ token: text, logprob });
  expect(tokens.map((token) => ({ ...told(token), top: token.alternatives.map(told) }))).toEqual(
    scored.map(({ token, logprob, top_logprobs: top }: Scored) => ({
      ...{ token, logprob },
      top: top.map(({ token, logprob }) => ({ token, logprob })),
    })),
  );

  const prompt: number[] = (await post(server, "/tokenize", { messages })).body.tokens;
  const direct = await routed([...prompt, ...tokens.map(({ id }) => id)]);
  for (const [i, { experts }] of tokens.entries()) {
    const wanted = direct[prompt.length - 1 + i];
    expect(experts.map(({ ids }) => ids)).toEqual(wanted.map(({ ids }) => ids));
    for (const [layer, { weights }] of experts.entries()) {
      for (const [k, weight] of weights.entries()) {
        // Eleven bits, and what forms of attention differ by.
        expect(Math.abs(weight / wanted[layer].weights[k] - 1)).toBeLessThan(2 ** -11 + 1e-4);
      }
    }
  }

  const accepted = tokens.filter(({ from }) => from === "drafted").length;
  const refused = tokens.filter((token) => token.refused !== null);
  expect(accepted).toBeGreaterThan(0);
  expect(refused.length).toBeGreaterThan(0);
  expect(figures.drafts).toEqual({ drafted: accepted + refused.length, accepted });
  expect(after).toEqual({
    drafted: before.drafted + accepted + refused.length,
    accepted: before.accepted + accepted,
  });
  for (const { id, refused: draft } of refused) expect(draft!.id).not.toBe(id);
  const { firstTokenMs, queueMs, tokensPerSecond, cacheBytes, ...counts } = figures;
  expect(counts).toMatchObject({ promptTokens: prompt.length, cachedTokens: 0, tokens: 40 });
  for (const figure of [firstTokenMs, tokensPerSecond, cacheBytes]) expect(figure).toBeGreaterThan(0);
  expect(queueMs).toBeLessThanOrEqual(firstTokenMs!);
});

it("tells it chunk by chunk beside the text, with fewer alternatives in logprobs, in both interfaces", async () => {
  const shared = { model: "tiny", max_tokens: 24, temperature: 0, ignore_eos: true, cache_prompt: false };
  for (const [path, body] of [
    [
      "/v1/chat/completions",
      { ...shared, messages: user("one had not but"), logprobs: true, top_logprobs: 1 },
    ],
    ["/v1/completions", { ...shared, prompt: "one had not but", logprobs: 1 }],
  ] as const) {
    const textOf = ({ choices: [choice] }: Chunk) => choice?.delta?.content ?? choice?.text ?? "";
    const whole = await post(server, path, { ...body, inside: true });
    const off = await chunksOf(path, body);
    const on = await chunksOf(path, { ...body, inside: true, stream_options: { include_usage: true } });
    expect(off.some((chunk) => "inside" in chunk)).toBe(false);
    expect(on.map(textOf).join("")).toBe(off.map(textOf).join(""));
    const news = on.flatMap(({ inside }) => inside ?? []);
    // Those of a chunk are those that its log-probabilities are of.
    for (const { choices, inside } of on) {
      const entries = choices[0]?.logprobs;
      const texts = (inside?.tokens ?? []).map(({ text }: InsideToken) => text);
      if (path === "/v1/chat/completions") {
        expect(texts).toEqual((entries?.content ?? []).map(({ token }) => token));
        for (const { top_logprobs: top } of entries?.content ?? []) expect(top).toHaveLength(1);
      } else expect(texts.length).toBe(entries?.tokens?.length ?? 0);
    }
    expect(joined(news)).toHaveLength(24);
    expect(joined(news)).toEqual(whole.body.inside.tokens);
    for (const { alternatives } of joined(news)) expect(alternatives).toHaveLength(5);
    const withFigures = on.filter(({ inside }) => inside?.figures !== undefined);
    expect(withFigures).toHaveLength(1);
    expect(withFigures[0].choices[0].finish_reason).toBe("length");
    expect(withFigures[0].inside!.figures).toMatchObject({ tokens: 24 });
    expect(on.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: 24 } });
  }
});

it("tells of tokens up to a stop string, of none where nothing is generated, and of a constrained answer", async () => {
  const body = { model: "tiny", prompt: "one had not but", temperature: 0, ignore_eos: true, inside: true };
  const { choices } = (await post(server, "/v1/completions", { ...body, max_tokens: 20 })).body;
  const stop = choices[0].text.slice(9, 12);
  const cut = (await post(server, "/v1/completions", { ...body, max_tokens: 20, stop })).body;
  const text = (cut.inside.tokens as InsideToken[]).map((token) => token.text).join("");
  expect(text.startsWith(cut.choices[0].text)).toBe(true);
  expect(text.length).toBeLessThan(cut.choices[0].text.length + 12);
  const none = (await post(server, "/v1/completions", { ...body, max_tokens: 0 })).body;
  expect(none.inside).toMatchObject({
    tokens: [],
    figures: { tokens: 0, firstTokenMs: null, tokensPerSecond: null },
  });
  const chosen = (
    await post(server, "/v1/completions", {
      ...body,
      max_tokens: 20,
      ignore_eos: false,
      guided_choice: ["of", "the"],
    })
  ).body;
  // Nothing drafts where the output is constrained.
  expect(chosen.inside.figures.drafts).toBeNull();
  expect((chosen.inside.tokens as InsideToken[]).map((token) => token.text).join("")).toBe(
    chosen.choices[0].text,
  );
});

it("refuses to keep more of it than one piece should have, and stops reading", async () => {
  const usage = {
    ...{ promptTokens: 1, cachedTokens: 0, imageTokens: 0 },
    ...{ completionTokens: 1, reasoningTokens: 0 },
  };
  let read = 0;
  const experts = { topK: 8, ids: new Uint8Array(2 ** 20), weights: new Uint16Array(2 ** 20) };
  const entry = { id: 1, text: "a", logprob: -1, alternatives: [], drafted: false, refused: null, experts };
  const news = (tokens: number) => ({
    choices: 1,
    async *[Symbol.asyncIterator]() {
      for (; read < tokens; read++) {
        yield { type: "delta", delta: { id: 1, choice: 0, content: "a", inside: [entry] } } as const;
      }
      yield { type: "finished", choice: 0, reason: "stop", usage } as const;
    },
  });
  const head = { id: "a", created: 1, model: "m", fingerprint: "f" };
  const shape = { logprobs: false, oldForm: false, tokenIds: false };
  await expect(chatBody(news(1000), head, shape)).rejects.toMatchObject({
    shape: { status: 400, param: "inside", message: expect.stringContaining("'stream': true") },
  });
  expect(read).toBe(10);
});

it.each([
  ["/v1/chat/completions", { messages: user("be"), n: 2, max_tokens: 2 }, "inside", "asks for 2"],
  ["/v1/completions", { prompt: "be", n: 3, max_tokens: 2 }, "inside", "asks for 3"],
  ["/v1/completions", { prompt: ["be", "to"], max_tokens: 2 }, "inside", "asks for 2"],
  ["/v1/responses", { input: "be", max_output_tokens: 2 }, "inside", "/v1/chat/completions"],
])("refuses it by name where it cannot be told: %s %j", async (path, body, param, message) => {
  const asked = { model: "tiny", ...body, inside: true };
  const refused = await post(server, path, asked);
  expect(refused).toMatchObject({ status: 400, body: { error: { param, type: "invalid_request_error" } } });
  expect(refused.body.error.message).toContain(message);
  expect((await post(server, path, { ...asked, inside: false })).status).toBe(200);
});

it.each([1, "true", "yes", {}, []])("refuses %j as a value", async (inside) => {
  const body = { model: "tiny", messages: user("be"), max_tokens: 2, inside };
  const refused = await post(server, "/v1/chat/completions", body);
  expect(refused).toMatchObject({ status: 400, body: { error: { param: "inside" } } });
});
