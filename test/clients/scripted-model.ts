/**
 * Models that say what they are told to, so that whole conversations of real clients can be checked: real checkpoints
 * in the layout of V3.1, whose one block adds nothing to the embedding and whose head holds, for each token of a
 * script, the embedding of the one before it.
 */
import { modelEntries } from "../../src/checkpoint/entries.ts";
import { nodeFolderSink } from "../../src/checkpoint/node-files.ts";
import { saveCheckpoint } from "../../src/checkpoint/save.ts";
import { createModel } from "../../src/models/causal-lm.ts";
import { toConfigJson } from "../../src/models/config.ts";
import { createCpuDevice } from "../../src/tensor/cpu/backend.ts";
import { TOKEN } from "../../src/tokenizer/families.ts";
import { loadTokenizer } from "../../src/tokenizer/tokenizer.ts";
import { DEFAULT_SPECIAL_TOKENS, trainBpe, trainedTokenizerConfig } from "../../src/tokenizer/train-bpe.ts";

/** What a model says, in pieces of text each of which becomes one token; no piece may occur twice. */
export interface Script {
  /** What it thinks first, if it is asked to think. */
  readonly reasoning?: readonly string[];
  /** The call that it answers a user with. */
  readonly call?: { readonly name: string; readonly arguments: readonly string[] };
  /** What it answers a user with, if there is no call. */
  readonly answer?: readonly string[];
  /** What it answers the result of a call with. */
  readonly afterCall?: readonly string[];
}

const HIDDEN = 64;
/** Large enough that whatever else is in the head does not count, at any usual temperature. */
const SCALE = 8;
const TOOL_TOKENS = Object.values(TOKEN).filter((token) => token.includes("tool"));
const THINK = ["<think>", "</think>"] as const;

/** Tokens in the order in which they follow one another. */
function chains({ reasoning = [], call, answer = [], afterCall = [] }: Script): string[][] {
  const called =
    call === undefined
      ? answer
      : [
          ...[TOKEN.toolCallsBegin, TOKEN.toolCallBegin, call.name, TOKEN.toolSep],
          ...[...call.arguments, TOKEN.toolCallEnd, TOKEN.toolCallsEnd],
        ];
  return [
    [THINK[0], ...reasoning, THINK[1], ...called, TOKEN.eos],
    [TOKEN.toolOutputEnd, ...afterCall, TOKEN.eos],
  ];
}

/** Writes the folder of a model that follows `script`; its tokenizer is trained on `texts`. */
export async function writeScriptedModel(
  folder: string,
  script: Script,
  texts: readonly string[],
  maxPositions = 131_072,
): Promise<void> {
  const steps = chains(script);
  const pieces = [script.reasoning, script.call?.arguments, script.answer, script.afterCall].flatMap(
    (p) => p ?? [],
  );
  if (script.call) pieces.push(script.call.name);
  const tokenizerJson = await trainBpe([...texts], {
    vocabSize: 2000,
    specialTokens: [...DEFAULT_SPECIAL_TOKENS, ...TOOL_TOKENS, ...THINK],
  });
  const added = tokenizerJson.added_tokens as { id: number; content: string; special: boolean }[];
  const plain = added.at(-1)!;
  const first = loadTokenizer(tokenizerJson, trainedTokenizerConfig(maxPositions)).vocabSize;
  pieces.forEach((content, i) => void added.push({ ...plain, id: first + i, content, special: false }));
  const config = trainedTokenizerConfig(maxPositions);
  const tokenizer = loadTokenizer(tokenizerJson, config);

  await using device = await createCpuDevice({ threads: 1 });
  using model = createModel(
    {
      ...{
        model_type: "llama",
        vocab_size: tokenizer.vocabSize,
        hidden_size: HIDDEN,
        intermediate_size: HIDDEN,
      },
      ...{ num_hidden_layers: 1, num_attention_heads: 2, num_key_value_heads: 2, rms_norm_eps: 1e-6 },
      ...{ max_position_embeddings: maxPositions, rope_theta: 10_000, tie_word_embeddings: false },
      ...{ bos_token_id: tokenizer.specialIds.bos, eos_token_id: tokenizer.specialIds.eos },
    },
    device,
    { seed: 1, std: 0.02 },
  );
  const channels = new Map<string, number>();
  const channelOf = (token: string) => {
    // Channel 0 is that of all tokens which are in no script.
    if (!channels.has(token)) channels.set(token, channels.size + 1);
    return channels.get(token)!;
  };
  const embedding = new Float32Array(tokenizer.vocabSize * HIDDEN);
  for (let id = 0; id < tokenizer.vocabSize; id++) embedding[id * HIDDEN] = 1;
  const head = new Float32Array(tokenizer.vocabSize * HIDDEN);
  const idOf = (token: string) => {
    const id = tokenizer.idOf(token);
    if (id === undefined) throw new Error(`the tokenizer has no token ${JSON.stringify(token)}`);
    return id;
  };
  const set = new Set<string>();
  for (const chain of steps) {
    chain.slice(0, -1).forEach((token, i) => {
      if (set.has(token)) throw new Error(`${JSON.stringify(token)} occurs twice in a script`);
      set.add(token);
      const [id, channel] = [idOf(token), channelOf(token)];
      if (channel >= HIDDEN) throw new Error(`a script has at most ${HIDDEN - 1} tokens`);
      embedding[id * HIDDEN] = 0;
      embedding[id * HIDDEN + channel] = 1;
      head[idOf(chain[i + 1]) * HIDDEN + channel] = SCALE;
    });
  }
  for (const { key, tensor } of model.parameters.groups()) {
    if (/(o_proj|down_proj)\.weight$/.test(key)) tensor.set(new Float32Array(tensor.size));
  }
  model.parameters.group("model.embed_tokens.weight").tensor.set(embedding);
  model.parameters.group("lm_head.weight").tensor.set(head);
  await saveCheckpoint(await nodeFolderSink(folder), modelEntries(model), {
    config: { ...toConfigJson(model.config), torch_dtype: "float32" },
    dtype: "F32",
    files: {
      "tokenizer.json": JSON.stringify(tokenizerJson),
      "tokenizer_config.json": JSON.stringify(config),
    },
  });
}
