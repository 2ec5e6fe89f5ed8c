/**
 * Types of the two Hugging Face files read and written here: `tokenizer.json` (the parts byte-level BPE uses) and
 * `tokenizer_config.json`.
 */

export type SplitBehavior = "Isolated" | "Removed" | "MergedWithPrevious" | "MergedWithNext" | "Contiguous";

export type PreTokenizerJson =
  | { type: "Sequence"; pretokenizers: PreTokenizerJson[] }
  | {
      type: "Split";
      pattern: { Regex: string } | { String: string };
      behavior: SplitBehavior;
      invert: boolean;
    }
  | { type: "Digits"; individual_digits: boolean }
  | { type: "ByteLevel"; add_prefix_space: boolean; trim_offsets: boolean; use_regex: boolean };

export interface AddedTokenJson {
  id: number;
  content: string;
  single_word: boolean;
  lstrip: boolean;
  rstrip: boolean;
  normalized: boolean;
  special: boolean;
}

export interface BpeModelJson {
  type: "BPE";
  dropout: number | null;
  unk_token: string | null;
  continuing_subword_prefix: string | null;
  end_of_word_suffix: string | null;
  fuse_unk: boolean;
  byte_fallback: boolean;
  ignore_merges: boolean;
  vocab: Record<string, number>;
  merges: string[] | [string, string][];
}

export interface TokenizerJson {
  version: string;
  truncation: null;
  padding: null;
  added_tokens: AddedTokenJson[];
  normalizer: null | { type: "Sequence"; normalizers: [] };
  pre_tokenizer: PreTokenizerJson;
  post_processor: Record<string, unknown> | null;
  decoder: Record<string, unknown>;
  model: BpeModelJson;
}

export interface TokenizerConfigJson {
  add_bos_token: boolean;
  add_eos_token: boolean;
  bos_token: string;
  eos_token: string;
  pad_token: string;
  unk_token: string | null;
  clean_up_tokenization_spaces: boolean;
  model_max_length: number;
  model_input_names: string[];
  tokenizer_class: string;
}
