/** JSON with its digits and the order of its keys: reading, writing, exact numbers. */
export { JsonNumber } from "./number.ts";
export { type JsonLimits, JsonSyntaxError, parseJson } from "./parse.ts";
export {
  canonicalJson,
  equalJson,
  type FromPlainOptions,
  fromPlain,
  type JsonObject,
  type JsonValue,
  toPlain,
} from "./value.ts";
export { COMPACT, type JsonStyle, PYTHON, pythonFloat, pythonNumber, writeJson } from "./write.ts";
