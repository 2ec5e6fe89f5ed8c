/**
 * For tests: reads the metadata of a vocabulary-only GGUF file (version 2 or 3, little-endian) and rebuilds the
 * `tokenizer.json` it came from, so that real vocabularies can be replayed. Left out: tensors.
 */
import { FormatError } from "../tensor/errors.ts";
import { type PreTokenizerName, preTokenizerJson } from "./families.ts";

const CONTROL = 3;
const USER_DEFINED = 4;
const SIZES = [1, 1, 2, 2, 4, 4, 4, 1];

type Value = number | bigint | boolean | string | Value[];

/** Reads all key-value metadata of a GGUF file. */
export function readGgufMetadata(bytes: Uint8Array): Map<string, Value> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
  let at = 0;
  const u32 = () => view.getUint32((at += 4) - 4, true);
  const u64 = () => Number(view.getBigUint64((at += 8) - 8, true));
  const text = () => {
    const length = u64();
    at += length;
    return utf8.decode(bytes.subarray(at - length, at));
  };
  function scalar(type: number): Value {
    if (type === 8) return text();
    if (type === 9) {
      const inner = u32();
      return Array.from({ length: u64() }, () => scalar(inner));
    }
    const from = at;
    at += type < SIZES.length ? SIZES[type] : 8;
    switch (type) {
      case 0:
        return view.getUint8(from);
      case 1:
        return view.getInt8(from);
      case 2:
        return view.getUint16(from, true);
      case 3:
        return view.getInt16(from, true);
      case 4:
        return view.getUint32(from, true);
      case 5:
        return view.getInt32(from, true);
      case 6:
        return view.getFloat32(from, true);
      case 7:
        return view.getUint8(from) !== 0;
      case 10:
        return view.getBigUint64(from, true);
      case 11:
        return view.getBigInt64(from, true);
      case 12:
        return view.getFloat64(from, true);
      default:
        throw new FormatError("unknown GGUF value type", { found: type });
    }
  }
  if (u32() !== 0x46554747) throw new FormatError("not a GGUF file");
  const version = u32();
  if (version < 2 || version > 3)
    throw new FormatError("GGUF version", { expected: "2 or 3", found: version });
  u64();
  const metadata = new Map<string, Value>();
  for (let left = u64(); left > 0; left--) {
    const key = text();
    metadata.set(key, scalar(u32()));
  }
  return metadata;
}

/** The `tokenizer.json` of a GGUF vocabulary. */
export function ggufToTokenizerJson(
  bytes: Uint8Array,
  preTokenizer: PreTokenizerName,
): Record<string, unknown> {
  const metadata = readGgufMetadata(bytes);
  const tokens = metadata.get("tokenizer.ggml.tokens") as string[];
  const types = metadata.get("tokenizer.ggml.token_type") as number[];
  const vocab = new Map<string, number>();
  const added: Record<string, unknown>[] = [];
  tokens.forEach((content, id) => {
    const special = types[id] === CONTROL;
    if (!special && types[id] !== USER_DEFINED) vocab.set(content, id);
    else if (content !== `[PAD${id}]`)
      added.push({
        id,
        content,
        special,
        normalized: !special,
        single_word: false,
        lstrip: false,
        rstrip: false,
      });
  });
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: added,
    normalizer: { type: "Sequence", normalizers: [] },
    pre_tokenizer: preTokenizerJson(preTokenizer),
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { type: "BPE", vocab: Object.fromEntries(vocab), merges: metadata.get("tokenizer.ggml.merges") },
  };
}
