import { expect, it } from "vitest";
import { JsonNumber, parseJson, writeJson } from "../../json/index.ts";
import { parseBody } from "../../serve/body.ts";
import { parseChat } from "../../serve/schemas.ts";
import { packed, unpacked } from "./wire.ts";

/** What the other thread gets. */
const posted = (value: unknown) => unpacked(structuredClone(packed(value)));

it("carries values of JSON between threads to the digit, in their order", () => {
  const text = '{"z":1.0,"10":653247040368672769,"2":[1e-07,{}],"json":"x"}';
  const sent = {
    type: "submit",
    ids: [1, 2],
    deep: [{ schema: parseJson(text), other: null }],
    one: new JsonNumber("1.0"),
  };
  const got = posted(sent) as typeof sent;
  expect(writeJson(got.deep[0].schema)).toBe(text);
  expect(got.one).toEqual(new JsonNumber("1.0"));
  expect(got).toMatchObject({ type: "submit", ids: [1, 2] });
});

it("takes tools, schemas and template variables of a request over as they were sent", () => {
  const parameters =
    '{"type":"object","properties":{"user_id":{"maximum":9223372036854775807},"10":{"default":1.0},"2":{}}}';
  const tool = `{"function":{"strict":true,"parameters":${parameters},"name":"f","returns":{"const":1.0}},"type":"function"}`;
  const body = `{"messages":[{"role":"user","content":"a"}],"tools":[${tool}],
    "response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"const":1e-07}}},
    "chat_template_kwargs":{"b":2.0,"1":9007199254740993,"thinking":true}}`;
  const { job } = parseChat(parseBody(body));
  const { tools, format, templateVariables, thinking } = posted(job) as typeof job;
  expect(writeJson(tools[0].function.parameters as never)).toBe(parameters);
  expect(Object.keys(tools[0].function)).toEqual(["strict", "parameters", "name", "returns"]);
  expect(writeJson((tools[0].function as { returns?: never }).returns!)).toBe('{"const":1.0}');
  expect(Object.keys(tools[0])).toEqual(["function", "type"]);
  expect(format.type === "json_schema" && writeJson(format.schema)).toBe('{"const":1e-07}');
  expect(writeJson(templateVariables)).toBe('{"b":2.0,"1":9007199254740993}');
  expect(thinking).toBe(true);
});
