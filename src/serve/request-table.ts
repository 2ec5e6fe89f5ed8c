/**
 * What becomes of every field that clients of this family of interfaces send: obeyed, refused by name if it would
 * change the answer, ignored if it changes nothing. docs/server.md prints this table; a test walks over it.
 */

export type Endpoint = "chat" | "completions";

/** Fields of one treatment. */
export interface FieldGroup {
  readonly endpoint: Endpoint | "both";
  readonly fields: readonly string[];
}

/** A field that is refused, unless it has a value that changes nothing. */
export interface RefusedField {
  readonly field: string;
  readonly endpoint: Endpoint | "both";
  readonly why: string;
  /** Besides null and absence. */
  readonly neutral: readonly unknown[];
}

/** Fields that are read. */
export const OBEYED: readonly FieldGroup[] = [
  {
    endpoint: "both",
    fields: [
      ...[
        "model",
        "max_tokens",
        "max_completion_tokens",
        "n_predict",
        "min_tokens",
        "temperature",
        "top_p",
        "top_k",
      ],
      ...[
        "min_p",
        "repetition_penalty",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "seed",
        "n",
        "stop",
      ],
      ...["stop_token_ids", "include_stop_str_in_output", "ignore_eos", "skip_special_tokens", "logprobs"],
      ...[
        "return_tokens_as_token_ids",
        "stream",
        "stream_options",
        "echo",
        "cache_prompt",
        "inside",
        "response_format",
      ],
      ...["structured_outputs", "guided_json", "guided_choice", "guided_regex", "json_schema"],
    ],
  },
  {
    endpoint: "chat",
    fields: [
      ...[
        "messages",
        "top_logprobs",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "functions",
        "function_call",
      ],
      ...["thinking", "reasoning_effort", "chat_template_kwargs", "documents", "add_generation_prompt"],
      ...["continue_final_message", "grounding"],
    ],
  },
  { endpoint: "completions", fields: ["prompt", "suffix", "add_special_tokens"] },
];

/** Fields that change neither the shape of an answer nor where it begins, nor which tokens may come. */
export const IGNORED: readonly FieldGroup[] = [
  {
    endpoint: "both",
    fields: [
      ...["store", "metadata", "user", "service_tier", "prompt_cache_key", "prompt_cache_retention"],
      ...[
        "safety_identifier",
        "verbosity",
        "prediction",
        "request_id",
        "session_id",
        "rid",
        "id_slot",
        "cache_salt",
      ],
      ...["guided_decoding_backend", "spaces_between_special_tokens", "truncation_side", "stream_interval"],
      ...["n_keep", "n_cache_reuse", "min_keep", "keep_alive", "num_ctx"],
      // They tune samplers that are refused by the fields which turn them on.
      ...["mirostat_tau", "mirostat_eta", "dry_base", "dry_allowed_length", "dry_penalty_last_n"],
      ...["dry_sequence_breakers", "xtc_threshold", "dynatemp_exponent", "repeat_last_n", "penalize_nl"],
    ],
  },
];

const refused = (
  why: string,
  fields: Readonly<Record<string, readonly unknown[]>>,
  endpoint: RefusedField["endpoint"] = "both",
): RefusedField[] => Object.entries(fields).map(([field, neutral]) => ({ field, endpoint, why, neutral }));

export const REFUSED: readonly RefusedField[] = [
  ...refused("the model generates text only", { audio: [] }, "chat"),
  ...refused('only ["text"] is possible', { modalities: [["text"], []] }, "chat"),
  ...refused("web search is not available", { web_search_options: [] }, "chat"),
  ...refused("responses are synchronous", { background: [false] }),
  ...refused("use 'n' and select the best choice in the client", { best_of: [1] }),
  ...refused("beam search is not available", {
    use_beam_search: [false],
    length_penalty: [1],
    early_stopping: [false],
  }),
  ...refused("free grammars are not supported; use 'response_format' with a JSON schema, or 'guided_regex'", {
    grammar: [""],
    guided_grammar: [""],
    ebnf: [""],
    structural_tag: [],
    guided_whitespace_pattern: [],
  }),
  ...refused("use 'guided_regex'", { regex: [] }),
  ...refused("use 'response_format'", { format: [""] }),
  ...refused("templates come with the model, not with requests", { chat_template: [] }, "chat"),
  ...refused("the chat template adds them", { add_special_tokens: [false] }, "chat"),
  ...refused("use 'echo' with 'logprobs' in /v1/completions", { prompt_logprobs: [] }),
  ...refused("use 'logit_bias' or 'guided_choice'", {
    allowed_token_ids: [[]],
    bad_words: [[]],
    banned_tokens: [[], ""],
    custom_token_bans: [[], ""],
    logits_processors: [[]],
  }),
  ...refused("use 'logprobs'", {
    n_probs: [0],
    post_sampling_probs: [false],
    logprob_token_ids: [[]],
  }),
  ...refused("prompts are not truncated; shorten the prompt", { truncate_prompt_tokens: [-1] }),
  ...refused("embeddings are not read", { prompt_embeds: [[]] }),
  ...refused("send images as parts of messages, of the type 'image_url'", {
    images: [[]],
    multimodal_data: [[]],
  }),
  ...refused("images are prepared as the model's files say", {
    mm_processor_kwargs: [{}],
    media_io_kwargs: [{}],
  }),
  ...refused("responses have the fields of OpenAI's API", {
    detokenize: [true],
    return_token_ids: [false],
    return_tokens: [false],
    return_prompt_text: [false],
    return_progress: [false],
    response_fields: [[]],
    timings_per_token: [false],
    include_reasoning: [true],
    separate_reasoning: [true],
    reasoning_format: ["auto", "deepseek", "parsed"],
    "stream_options.continuous_usage_stats": [false],
  }),
  ...refused("reasoning has no separate budget; use 'max_tokens'", {
    thinking_token_budget: [-1],
    thinking_budget: [-1],
    reasoning_budget: [-1],
    "thinking.budget_tokens": [],
  }),
  ...refused("use 'thinking' or 'reasoning_effort'", { enable_thinking: [], reasoning: [{}] }, "chat"),
  ...refused("use 'n'", { n_cmpl: [1] }),
  ...refused(
    "this sampler is not available; use 'temperature', 'top_p', 'top_k', 'min_p' and the penalties",
    {
      mirostat: [0],
      mirostat_mode: [0],
      typical_p: [1, 0],
      tfs_z: [1],
      tfs: [1],
      top_a: [0],
      top_n_sigma: [-1, 0],
      xtc_probability: [0],
      dry_multiplier: [0],
      dynatemp_range: [0],
      smoothing_factor: [0],
      epsilon_cutoff: [0],
      eta_cutoff: [0],
      penalty_alpha: [0],
      no_repeat_ngram_size: [0],
      encoder_repetition_penalty: [1],
      guidance_scale: [1],
      negative_prompt: [""],
      samplers: [[]],
      sampler_priority: [[]],
      watermarking: [false],
      repetition_detection: [],
    },
  ),
  ...refused("use 'repetition_penalty', which counts the whole context", { repeat_penalty: [1] }),
  ...refused("use 'temperature': 0 for greedy decoding", { do_sample: [true] }),
  ...refused("use 'max_tokens' and 'stop' to limit the output", { n_indent: [0], t_max_predict_ms: [0] }),
  ...refused("use 'max_tokens'", { max_new_tokens: [], max_length: [] }),
  ...refused("use 'stop'", { stop_sequences: [[]], stop_regex: [[]] }),
  ...refused("adapters are not supported", { lora: [[]], lora_path: [], adapter_id: [] }),
  ...refused("requests are processed in order", { priority: [0] }),
  ...refused("extensions of other engines are not supported", {
    vllm_xargs: [{}],
    kv_transfer_params: [{}],
    ec_transfer_params: [{}],
    options: [{}],
    plugins: [[]],
  }),
  ...refused("use a message with the role 'system'", { system: [""] }, "chat"),
  ...refused("it belongs to /v1/responses; use 'messages'", { input: [], instructions: [] }, "chat"),
  ...refused("it belongs to /v1/completions; use 'messages'", { prompt: [], suffix: [""] }, "chat"),
  ...refused(
    "it belongs to /v1/chat/completions",
    {
      messages: [[]],
      tools: [[]],
      tool_choice: ["none", "auto"],
      functions: [[]],
      thinking: [],
      top_logprobs: [],
      chat_template_kwargs: [{}],
      continue_final_message: [false],
      add_generation_prompt: [],
      grounding: [false],
    },
    "completions",
  ),
];

/** Fields of a group as the table prints them. */
const list = (fields: readonly string[]) => fields.map((field) => `\`${field}\``).join(", ");

/** The table in Markdown, as docs/server.md has it. */
export function requestTable(): string[] {
  const where = { both: "both", chat: "chat", completions: "completions" } as const;
  const groups = (all: readonly FieldGroup[], what: string) =>
    all.map(({ endpoint, fields }) => `| ${what} | ${where[endpoint]} | ${list(fields)} |`);
  const byReason = new Map<string, RefusedField[]>();
  for (const field of REFUSED) {
    const key = `${field.endpoint} ${field.why}`;
    byReason.set(key, [...(byReason.get(key) ?? []), field]);
  }
  const refusals = [...byReason.values()].map((fields) => {
    const [{ endpoint, why }] = fields;
    return `| refused | ${where[endpoint]} | ${list(fields.map(({ field }) => field))}: ${why} |`;
  });
  return [
    "| | endpoint | fields |",
    "|---|---|---|",
    ...groups(OBEYED, "obeyed"),
    ...refusals,
    ...groups(IGNORED, "ignored"),
  ];
}
