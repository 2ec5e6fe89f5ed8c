import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { type JsonObject, parseJson } from "../../json/index.ts";
import { JinjaTemplate, TemplateError } from "./index.ts";

interface Probe {
  readonly topic: string;
  readonly template: string;
  /** JSON; absent: the data of all. */
  readonly data?: string;
  /** What Python renders. */
  readonly text?: string;
  /** The error that it raises. */
  readonly error?: string;
}

const file = new URL("../../../test/fixtures/templates/probes.json", import.meta.url);
const recorded = JSON.parse(readFileSync(file, "utf8")) as { data: string; probes: Probe[] };
/** As in test/fixtures/templates/reference.py. */
const now = new Date(2026, 2, 7, 9, 5, 2, 120);

/** What Python renders and this engine refuses, by name. */
const REFUSED: Readonly<Record<string, RegExp>> = {
  "{{ 'abc'.encode() }}": /str\.encode/,
  "{{ [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]|sum|round(10) }}":
    /depends on the version of Python/,
  "{{ html|striptags }}": /striptags/,
  "{{ l|random }}": /'random'/,
  "{{ s|urlize }}": /'urlize'/,
  "{{ s|wordwrap(5) }}": /'wordwrap'/,
  "{{ lipsum() }}": /lipsum/,
  "{{ self }}": /'self'/,
  "{% autoescape true %}{{ html }}{% endautoescape %}x": /'autoescape'/,
  "{% block a %}x{% endblock %}": /'block'/,
};

function render({ template, data = recorded.data }: Probe): string {
  const variables = Object.fromEntries(parseJson(data) as JsonObject);
  return new JinjaTemplate(template).render(variables, { now }).text;
}

const topics = new Map<string, Probe[]>();
for (const probe of recorded.probes) topics.set(probe.topic, [...(topics.get(probe.topic) ?? []), probe]);

describe("templates render as in transformers", () => {
  it.each([...topics])("%s", (_topic, probes) => {
    for (const probe of probes) {
      const { template, text } = probe;
      const refusal = REFUSED[template];
      if (refusal !== undefined) expect(() => render(probe), template).toThrow(refusal);
      else if (text === undefined) expect(() => render(probe), template).toThrow(TemplateError);
      else expect(render(probe), template).toBe(text);
    }
  });

  it("refuses no more than is listed", () => {
    expect(recorded.probes.length).toBeGreaterThan(1200);
    const known = new Set(recorded.probes.map(({ template }) => template));
    expect(Object.keys(REFUSED).filter((template) => !known.has(template))).toEqual([]);
  });
});
