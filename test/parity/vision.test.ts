/** DeepSeek-VL and VL2, whole and in parts, against the reference classes: towers, logits, tokens, gradients. */
import { nodeFolder } from "../../src/checkpoint/node-files.ts";
import { describeCases, type ParityCase, withFiles } from "./checked-cases.ts";

const root = new URL("../fixtures/", import.meta.url).pathname;

const original = { "config.json": "original-config.json", "model.safetensors": "original.safetensors" };
const newer = { "config.json": "config-5.18.json", "model.safetensors": "model-short-names.safetensors" };

const cases: readonly ParityCase<Readonly<Record<string, string>>>[] = [
  ["vl/siglip", 16],
  ["vl/hybrid", 17],
  ["vl/chat", 8],
  ["vl/chat-port", 8],
  ["vl/chat-port", 8, newer],
  ["vl/hybrid-chat", 2],
  ["vl/hybrid-port", 5],
  ["vl/hybrid-port", 5, original],
  ["vl2/tower-projector", 15],
  ["vl2/projectors", 9],
  ["vl2/mla", 15],
  ["vl2/mha", 15],
  ["vl2/mla-noaux", 15],
  ["vl2/grads", 168],
];

describeCases(cases, (name, files = {}) => withFiles(nodeFolder(root + name), files));
