/**
 * The vocabulary of the picture world: 116 whole words, digits, letters and control tokens, and its `tokenizer.json`. Text is
 * cut by one expression; spaces carry no token.
 */
import { ConfigError } from "../../tensor/errors.ts";
import { ALPHABET } from "./font.ts";
import { COLORS, PLURALS, SHAPES, SIZES } from "./names.ts";

/** Where the picture stands in a prompt: DeepSeek-VL's and Janus's token, or DeepSeek-VL2's. */
export type ImageToken = "<image_placeholder>" | "<image>";

/** Control tokens, which have the first ids. The vertical lines of the first are U+FF5C, the low lines U+2581. */
const CONTROL = [
  "<\uFF5C\u2581pad\u2581\uFF5C>",
  "<\uFF5Cbegin\u2581of\u2581sentence\uFF5C>",
  "<\uFF5Cend\u2581of\u2581sentence\uFF5C>",
  "<image_placeholder>",
  "<begin_of_image>",
  "<end_of_image>",
  "<\uFF5Cbegin\u2581of\u2581generation\uFF5C>",
  "<|User|>",
  "<|Assistant|>",
  "<|ref|>",
  "<|/ref|>",
  "<|det|>",
  "<|/det|>",
  "<|grounding|>",
] as const;

const [PAD, BOS, EOS, IMAGE] = CONTROL;

const WORDS = [
  "a above an and are bar below box column describe four highest how image in is left line many no of read reverse right",
  "row text the there three two value what which yes",
];

/** Rows of embeddings that models of the world have; those above the last token only pad. */
export const WORLD_PADDED_VOCABULARY = 128;

/** All tokens in the order of their ids. */
export function worldVocabulary(image: ImageToken = IMAGE): string[] {
  const words = WORDS.flatMap((line) => line.split(" "));
  const rest = [..."+,.=?[]", ...ALPHABET, ...words, ...SHAPES, ...PLURALS, ...SIZES, ...COLORS, "color"];
  return [...CONTROL.map((token) => (token === IMAGE ? image : token)), "\n", ":", ...rest.sort()];
}

/** What the text of a sample is cut with, in the syntax of Oniguruma and JavaScript alike. */
function expression(image: ImageToken): string {
  return `<[|\uFF5C][^>]*>|${image}|<(begin|end)_of_image>|[a-z]+|[A-Z]|[0-9]|\\n|[^\\s]`;
}

const cut = new RegExp(expression(IMAGE), "gu");

/** The pieces of a text that are looked up in the vocabulary; texts of equal pieces have equal tokens. */
export function worldPieces(text: string): string[] {
  return text.match(cut) ?? [];
}

export interface WorldTokenizerOptions {
  /** Default `<image_placeholder>`. */
  readonly image?: ImageToken;
}

/**
 * The world's tokenizer as the parsed contents of `tokenizer.json` and `tokenizer_config.json`, which `loadTokenizer` and the
 * Rust library `tokenizers` read. It puts BOS before a text. Decoding writes digits and letters together and sets
 * words off by spaces: `what color is the ring ?`, `95 + 41 =`, `WWSPR`.
 * @throws ConfigError for another image token
 */
export function worldTokenizer({ image = IMAGE }: WorldTokenizerOptions = {}) {
  if (image !== IMAGE && image !== "<image>") {
    const expected = [IMAGE, "<image>"];
    throw new ConfigError("unknown image token", { where: "worldTokenizer", expected, found: image });
  }
  const tokens = worldVocabulary(image);
  const added = (content: string, id: number) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  });
  const replace = (pattern: { Regex: string } | { String: string }, content: string) => ({
    type: "Replace",
    pattern,
    content,
  });
  return {
    tokenizer: {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: tokens.slice(0, CONTROL.length).map(added),
      normalizer: null,
      pre_tokenizer: {
        type: "Split",
        pattern: { Regex: expression(image) },
        behavior: "Removed",
        invert: true,
      },
      post_processor: {
        type: "TemplateProcessing",
        single: [{ SpecialToken: { id: BOS, type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
        pair: [
          { SpecialToken: { id: BOS, type_id: 0 } },
          { Sequence: { id: "A", type_id: 0 } },
          { Sequence: { id: "B", type_id: 1 } },
        ],
        special_tokens: { [BOS]: { id: BOS, ids: [CONTROL.indexOf(BOS)], tokens: [BOS] } },
      },
      decoder: {
        type: "Sequence",
        decoders: [
          replace({ Regex: "^(?=[a-z?.=])" }, " "),
          replace({ String: "+" }, " + "),
          replace({ String: "," }, ", "),
          { type: "Fuse" },
          { type: "Strip", content: " ", start: 1, stop: 0 },
        ],
      },
      model: {
        type: "WordLevel",
        vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
        // Required by the library, and missing in the vocabulary: unknown pieces are an error.
        unk_token: "<unk>",
      },
    },
    config: {
      add_bos_token: true,
      add_eos_token: false,
      bos_token: BOS,
      eos_token: EOS,
      pad_token: PAD,
      unk_token: null,
      clean_up_tokenization_spaces: false,
      model_max_length: 4096,
      model_input_names: ["input_ids", "attention_mask"],
      tokenizer_class: "PreTrainedTokenizerFast",
    },
  };
}
