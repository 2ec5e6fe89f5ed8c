/** What a schema lets be written: expected values of jsonschema 4.25. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { jsonSchemaConstraint } from "../../src/engine/constraint/output-constraints.ts";
import { parseJson } from "../../src/json/index.ts";
import { loadTokenizer } from "../../src/tokenizer/tokenizer.ts";
import { faults, tinyModel } from "./request-cases.ts";

interface SchemaCase {
  readonly title: string;
  /** Text, since digits count. */
  readonly schema: string;
  readonly yes: readonly string[];
  readonly no: readonly string[];
}

const cases = JSON.parse(readFileSync(join(faults, "schemas.json"), "utf8")) as SchemaCase[];
const tokenizer = loadTokenizer(readFileSync(join(tinyModel, "tokenizer.json"), "utf8"));

it.each(cases)("$title", ({ schema, yes, no }) => {
  const constraint = jsonSchemaConstraint(parseJson(schema), tokenizer, { eosIds: [1] });
  const canBeWritten = (text: string) => {
    const copy = constraint.clone();
    try {
      for (const id of tokenizer.encode(text, { addSpecialTokens: false })) copy.accept(id);
    } catch {
      return false;
    }
    return copy.complete;
  };
  expect(yes.filter((text) => !canBeWritten(text))).toEqual([]);
  expect(no.filter(canBeWritten)).toEqual([]);
});
