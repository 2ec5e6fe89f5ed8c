/**
 * Every released model by name: what its files say is understood, its parameters are counted to the published number,
 * its tokenizer family's rules and special ids hold, a conversation renders as it was trained, generation ends where it
 * should. Real vocabularies if they are at hand (DeepSeek LLM with what shares it, Coder); the others are
 * small ones with the family's rules and tokens. `docs/releases.md` says what was verified by what.
 */
import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, it } from "vitest";
import { type BuiltinName, builtinFor } from "../src/chat/builtin.ts";
import type { Message } from "../src/chat/messages.ts";
import { builtinTemplate } from "../src/chat/template.ts";
import { testTokenizer } from "../src/chat/testing.ts";
import { bytesSource } from "../src/checkpoint/byte-source.ts";
import { openGguf } from "../src/checkpoint/gguf/reader.ts";
import { parseConfig, toConfigJson } from "../src/models/config.ts";
import { countParameters } from "../src/models/count.ts";
import { memoryNeeds } from "../src/models/memory-needs.ts";
import { ropeFrequencies } from "../src/nn/rotary.ts";
import { readGenerationConfig } from "../src/pretrained/generation-config.ts";
import { FAMILIES, type FamilyToken, preTokenizerJson, TOKEN } from "../src/tokenizer/families.ts";
import { ggufTokenizerFiles } from "../src/tokenizer/gguf-tokenizer.ts";
import type { AddedTokenJson } from "../src/tokenizer/schema.ts";
import { loadTokenizer, type Tokenizer } from "../src/tokenizer/tokenizer.ts";
import { trainBpe } from "../src/tokenizer/train-bpe.ts";

/** Tokenizers on real vocabularies, then those with their rules and tokens only. */
type RealName = "llm" | "v2" | "coder-v2" | "coder" | "coder-v1.5";
type TokenizerName = RealName | "v3" | "v3.1" | "llama3" | "qwen2";

interface Release {
  readonly name: string;
  readonly model: string;
  readonly tokenizer: TokenizerName;
  readonly template: BuiltinName | null;
  /** Keys of `config.json` in which this release differs from its model. */
  readonly config?: object;
  /** What `generation_config.json` says; the ids if they are not those of `config.json`. */
  readonly generation?: {
    readonly temperature?: number;
    readonly top_p?: number;
    readonly do_sample?: boolean;
    readonly bos_token_id?: number;
    readonly eos_token_id?: number;
  };
}

interface Model {
  readonly parameters: number;
  readonly published: string;
  readonly config: Record<string, unknown>;
}

const folder = new URL("fixtures/", import.meta.url);
const read = (path: string) => readFileSync(new URL(path, folder));
const models = JSON.parse(read("releases/models.json").toString()) as Record<string, Model>;
const releases = JSON.parse(read("releases/releases.json").toString()) as Release[];

async function realVocabulary(name: "llm" | "coder") {
  const path = `tokenizers/ggml-vocab-deepseek-${name}.gguf`;
  return ggufTokenizerFiles(await openGguf(bytesSource(new Uint8Array(read(path)), path)));
}

type Token = Pick<FamilyToken, "content" | "id">;

/** The vocabulary of LLM with other added tokens, at the ids that `change` gives them. */
async function llmTokenizer(change: (own: AddedTokenJson[]) => readonly Token[]): Promise<Tokenizer> {
  const { tokenizer, config } = await realVocabulary("llm");
  const sides = { single_word: false, lstrip: false, rstrip: false, normalized: true };
  const added_tokens = change(tokenizer.added_tokens).map(({ content, id }) => ({
    id,
    content,
    special: id < 100_002,
    ...sides,
  }));
  return loadTokenizer({ ...tokenizer, added_tokens }, config);
}

/** A small vocabulary with the rules and the chat tokens of a distilled model. */
async function distilledTokenizer(name: "llama3" | "qwen2"): Promise<Tokenizer> {
  const json = await trainBpe(["It's 12345 o'clock; WE'LL see.\n\n".repeat(4)], {
    vocabSize: 300,
    specialTokens: [TOKEN.user, TOKEN.assistant, TOKEN.eot, "<think>", "</think>"],
  });
  const model = { ...json.model, ignore_merges: name === "llama3" };
  return loadTokenizer({ ...json, model, pre_tokenizer: preTokenizerJson(name) });
}

const tokenizers = new Map<TokenizerName, Tokenizer>();
beforeAll(async () => {
  for (const name of ["llm", "coder"] as const) {
    const { tokenizer, config } = await realVocabulary(name);
    tokenizers.set(name, loadTokenizer(tokenizer, config));
  }
  tokenizers.set("v2", await llmTokenizer(() => FAMILIES.llm.tokens));
  tokenizers.set("coder-v2", await llmTokenizer(() => FAMILIES.v2.tokens));
  // Beside LLM's thirteen letters.
  const eot = { content: TOKEN.eot, id: 100_015 };
  tokenizers.set("coder-v1.5", await llmTokenizer((own) => [...own, eot]));
  for (const name of ["v3", "v3.1"] as const) tokenizers.set(name, await testTokenizer(name));
  for (const name of ["llama3", "qwen2"] as const) tokenizers.set(name, await distilledTokenizer(name));
});

const conversation: Message[] = [
  { role: "user", content: "u1" },
  { role: "assistant", content: "a1" },
  { role: "user", content: "u2" },
];
const { bos, eos, user, assistant } = TOKEN;

/** What the conversation becomes, by the published layouts; Coder's own preamble is given as a system message. */
const rendered: Readonly<Record<BuiltinName, string>> = {
  llm: `${bos}S\n\nUser: u1\n\nAssistant: a1${eos}User: u2\n\nAssistant:`,
  coder: `${bos}S\n### Instruction:\nu1\n### Response:\na1\n<|EOT|>\n### Instruction:\nu2\n### Response:\n`,
  "v2.5": `${bos}S${user}u1${assistant}a1${eos}${user}u2${assistant}`,
  v3: `${bos}S${user}u1${assistant}a1${eos}${user}u2${assistant}`,
  r1: `${bos}S${user}u1${assistant}a1${eos}${user}u2${assistant}<think>\n`,
  "v3.1": `${bos}S${user}u1${assistant}</think>a1${eos}${user}u2${assistant}</think>`,
};

/** Tokens by name at the ids of the released tokenizers; none are claimed of small vocabularies. */
const placed: Readonly<Partial<Record<TokenizerName, readonly Token[]>>> = {
  llm: FAMILIES.llm.tokens,
  v2: FAMILIES.llm.tokens,
  "coder-v2": FAMILIES.v2.tokens,
  "coder-v1.5": [...FAMILIES.llm.tokens, ...FAMILIES.llm.letters, { content: TOKEN.eot, id: 100_015 }],
  coder: FAMILIES.coder.tokens,
};

/** BOS and EOS in the released vocabularies. */
const special: Readonly<Record<TokenizerName, readonly [number, number]>> = {
  llm: [100_000, 100_001],
  v2: [100_000, 100_001],
  "coder-v2": [100_000, 100_001],
  "coder-v1.5": [100_000, 100_001],
  coder: [32_013, 32_014],
  v3: [0, 1],
  "v3.1": [0, 1],
  llama3: [128_000, 128_001],
  qwen2: [151_646, 151_643],
};

/** How many digits a piece takes. */
const digits = (family: TokenizerName) => (/^(v3|llama3)/.test(family) ? 3 : 1);

describe.each(releases)("$name", ({ name, model, tokenizer: family, template, config: own, generation }) => {
  const { parameters, published, config: shared } = models[model];
  const json = {
    ...shared,
    ...own,
    torch_dtype: "bfloat16",
    transformers_version: "4.33.1",
    use_cache: true,
  };
  const config = parseConfig(json);

  it("has the parameters that were published, and a config.json that comes back", () => {
    expect(countParameters(config).total).toBe(parameters);
    const [, whole, fraction = ""] = /^(\d+)(?:\.(\d+))?B$/.exec(published)!;
    expect((parameters / 1e9).toFixed(fraction.length)).toBe(`${whole}${fraction && `.${fraction}`}`);
    const dtype = config.quantization ? "fp8" : "bfloat16";
    expect(parseConfig(toConfigJson(config, dtype))).toEqual(config);
    const dim = config.attention.kind === "mla" ? config.attention.ropeDim : config.attention.headDim;
    expect(ropeFrequencies(config.rope, dim).every((f) => f > 0 && f <= 1)).toBe(true);
  });

  it("needs memory by its storage", () => {
    const needs = memoryNeeds(config, { total: 1e15, free: 1e15 });
    const weights = Object.fromEntries(needs.map((need) => [need.dtype, need.weights]));
    const stored = parameters + countParameters(config).mtp;
    expect(weights.f32).toBe(4 * stored);
    // Blocks of 32 with their scales; routers, norms and what q4 keeps in 8 bits come on top.
    for (const [dtype, bits] of [
      ["q8", 8.5],
      ["q4", 4.5],
    ] as const) {
      expect(weights[dtype]).toBeGreaterThanOrEqual((stored * bits) / 8);
      expect(weights[dtype]).toBeLessThan(1.35 * ((stored * bits) / 8));
    }
    expect(needs.every(({ fits }) => fits === "yes")).toBe(true);
  });

  it("splits digits and numbers its special tokens as its family does", () => {
    const tokenizer = tokenizers.get(family)!;
    const ids = tokenizer.encode("12345", { addSpecialTokens: false });
    const decoded = ids.map((id) => tokenizer.decode([id]));
    expect(decoded.join("")).toBe("12345");
    // No merge goes across pieces, so that no token holds more digits than a piece.
    expect(decoded.every((piece) => piece.length <= digits(family))).toBe(true);
    const tokens = placed[family];
    if (tokens) {
      for (const { content, id } of tokens) expect(tokenizer.idOf(content)).toBe(id);
      expect(tokenizer.prefixIds).toEqual([tokenizer.idOf(bos)]);
      expect([tokenizer.idOf(bos), tokenizer.idOf(eos)]).toEqual(special[family]);
      expect(tokenizer.vocabSize).toBeLessThanOrEqual(config.vocabSize);
    }
  });

  if (template !== null) {
    it("renders a conversation in its layout", () => {
      const tokenizer = tokenizers.get(family)!;
      const found = builtinFor(tokenizer, { name, modelType: config.modelType });
      expect(found).toBe(template);
      const messages = [{ role: "system", content: "S" } as const, ...conversation];
      expect(builtinTemplate(tokenizer, found).render(messages)).toBe(rendered[template]);
    });
  }

  it("ends where its files say, and samples as they advise", () => {
    const advised = {
      _from_model_config: true,
      bos_token_id: config.bosTokenIds[0],
      eos_token_id: config.eosTokenIds[0],
      ...generation,
    };
    const settings = readGenerationConfig(advised, config.eosTokenIds);
    const [start, end] = special[family];
    const turn = template === "coder" ? tokenizers.get(family)!.idOf(TOKEN.eot) : end;
    expect([advised.bos_token_id, settings.eosTokenIds]).toEqual([start, [turn]]);
    expect([settings.temperature, settings.topP]).toEqual([
      generation?.temperature ?? null,
      generation?.top_p ?? null,
    ]);
  });
});

/** Files as they were published first; the repositories hold corrected ones now. */
describe("first revisions", () => {
  it("of V2 and V2-Chat call themselves deepseek", () => {
    const { config } = models.v2;
    expect(parseConfig({ ...config, model_type: "deepseek" })).toEqual(parseConfig(config));
  });

  it("of the Provers, too, with null for all that experts need", () => {
    const { config, parameters } = models["llm-7b"];
    const absent = [
      ...["first_k_dense_replace", "kv_lora_rank", "moe_layer_freq", "n_routed_experts", "n_shared_experts"],
      ...["norm_topk_prob", "num_experts_per_tok", "q_lora_rank", "qk_rope_head_dim", "scoring_func"],
    ];
    const first = parseConfig({
      ...config,
      ...Object.fromEntries(absent.map((key) => [key, null])),
      ...{ model_type: "deepseek", moe_intermediate_size: 11008, n_group: 1, qk_nope_head_dim: 0 },
      ...{ routed_scaling_factor: 1.0, seq_aux: true, aux_loss_alpha: 0.001, ep_size: 1 },
    });
    expect(first).toEqual({ ...parseConfig(config), modelType: "deepseek" });
    expect(countParameters(first).total).toBe(parameters);
  });
});

it("names every release once", () => {
  expect(new Set(releases.map(({ name }) => name)).size).toBe(releases.length);
  expect(new Set(releases.map(({ model }) => model))).toEqual(new Set(Object.keys(models)));
});
