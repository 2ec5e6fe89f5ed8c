/** JSON with its digits and the order of its keys: reading, writing, exact numbers. */
export { type Decimal, JsonNumber } from "./number.ts";
export { type JsonLimits, JsonSyntaxError, parseJson, parseJsonSlices } from "./parse.ts";
export { type JsonPath, parsePlain } from "./plain.ts";
export {
  canonicalJson,
  equalJson,
  type FromPlainOptions,
  fromPlain,
  type JsonObject,
  type JsonValue,
  toPlain,
} from "./value.ts";
export {
  COMPACT,
  compareCodePoints,
  type JsonStyle,
  PYTHON,
  pythonFloat,
  pythonNumber,
  writeJson,
} from "./write.ts";
