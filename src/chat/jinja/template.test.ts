import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseJson } from "../../json/index.ts";
import { DATA, Given, JinjaTemplate, type Limits, TEMPLATE, TemplateError } from "./index.ts";

const render = (source: string, data: Record<string, unknown> = {}, limits: Partial<Limits> = {}) =>
  new JinjaTemplate(source).render(data, { limits });

function failure(source: string, data: Record<string, unknown> = {}): TemplateError {
  try {
    render(source, data);
  } catch (error) {
    return error as TemplateError;
  }
  throw new Error(`${source} was rendered`);
}

/** The text with what is the data's in brackets. */
function marked(source: string, data: Record<string, unknown>): string {
  const { text, origin } = render(source, data);
  let out = "";
  for (let at = 0; at < text.length; at++) {
    const own = typeof origin === "string" ? origin[at] === "1" : origin === DATA;
    out += own ? `[${text[at]}]` : text[at];
  }
  return out.replaceAll("][", "");
}

describe("every character is known to be the template's or the data's", () => {
  const data = { s: "Ab c", o: { k: "v" }, l: ["x", "y"], n: 12, w: "😀é" };

  it.each([
    ["a{{ s }}b", "a[Ab c]b"],
    ["{{ 'a' ~ s ~ n }}", "a[Ab c]12"],
    ["{{ ('<' + s + '>')[1:3] }}|{{ ('<' + s + '>')[::-1] }}", "[Ab]|>[c bA]<"],
    ["{{ s.upper() + 'x'.upper() }}|{{ ('a' ~ s) | upper }}", "[AB C]X|A[AB C]"],
    ["{{ s.replace('b', '<') }}|{{ 'abc'.replace('b', s) }}", "[A]<[ c]|a[Ab c]c"],
    ["{{ (' ' ~ s ~ ' ').strip() }}|{{ ('x' ~ s).split()[0] }}", "[Ab c]|x[Ab]"],
    ["{{ l | join(',') }}|{{ ', '.join([s, 'z']) }}", "[x],[y]|[Ab c], z"],
    ["{{ o }}|{{ o | tojson }}", "{'[k]': '[v]'}|{\"[k]\": \"[v]\"}"],
    ["{{ ['q\\n', s] | tojson }}", '["q\\n", "[Ab c]"]'],
    ["{{ '%s-%s' % (s, 'x') }}|{{ '{}-{}'.format(s, 'x') }}", "[Ab c]-x|[Ab c]-x"],
    ["{{ (s ~ '<') | e }}", "[Ab c]&lt;"],
    ["{% set t %}<{{ s }}>{% endset %}{{ t | trim | title }}", "<[Ab C]>"],
    [
      "{% macro m(x) %}({{ x }}{{ caller() }}){% endmacro %}{% call m(s) %}!{{ n }}{% endcall %}",
      "([Ab c]!12)",
    ],
    ["{% for c in w %}{{ c }},{% endfor %}{{ ('a' ~ w)[1] }}", "[😀],[é],[😀]"],
    ["{{ s | indent(2, first=true) }}|{{ s | center(6) }}|{{ s.zfill(6) }}", "  [Ab c]| [Ab c] |00[Ab c]"],
    ["{{ ('x' ~ s).capitalize() }}|{{ ('ß' ~ 'ß').upper() }}", "X[ab c]|SSSS"],
    ["{{ s | truncate(3, true, '…', 0) }}|{{ 'a\n' ~ s | wordcount }}", "[Ab]…|a\n2"],
    ["{% filter replace('A', '<') %}{{ s }}{% endfilter %}", "<[b c]"],
  ])("%s", (source, expected) => {
    expect(marked(source, data)).toBe(expected);
  });

  it("whatever a template does: texts do not depend on who wrote them", () => {
    const part = fc.constantFrom("a", "B", " ", "\n", "ß", "😀", '"', "'", "<", "\\", "é", "x,y", "{}", "%");
    const value = fc.array(part, { maxLength: 6 }).map((parts) => parts.join(""));
    const step = fc.constantFrom(
      "| upper", "| title", "| trim", "| tojson", "| e | string", "| replace('a', 'bc')", "| indent(1, true)", "| reverse",
      "| capitalize", "| urlencode", "| string", "[1:]", "[:-1]", "[::2]", "[::-1]", ".split(',')[-1]", ".strip('a \\n')",
      ".join([s, 'q'])", ".center(9, '*')", ".swapcase()", ".rsplit('x', 1)[0]", ".splitlines() | join('|')", "| list | tojson",
      ".partition(' ')[2]", "| truncate(4, true, '..', 0)", ".expandtabs(2)", "| string ~ s", "| string + 'é'",
    ); // biome-ignore format: a table
    fc.assert(
      fc.property(value, value, fc.array(step, { maxLength: 5 }), (s, t, steps) => {
        const source = `{{ ${steps.reduce((body, next) => `(${body} ${next})`, "('<' ~ s ~ t)")} }}`;
        const mixed = render(source, { s, t: new Given(t, TEMPLATE) });
        const own = render(source, { s: new Given(s, TEMPLATE), t: new Given(t, TEMPLATE) });
        expect(mixed.text).toBe(own.text);
        if (own.text !== "") expect(own.origin).toBe(TEMPLATE);
        if (typeof mixed.origin === "string") expect(mixed.origin).toHaveLength(mixed.text.length);
      }),
      { numRuns: 500 },
    );
  });
});

describe("data", () => {
  it("comes as ordinary values or with its digits and the order of its keys", () => {
    const source = "{{ x | tojson }} {{ x }}";
    const json = '{"b": 9223372036854775808, "10": 1.0, "2": [1e-07, -0, 1E400, true, null]}';
    expect(render(source, { x: parseJson(json) }).text).toBe(
      '{"b": 9223372036854775808, "10": 1.0, "2": [1e-07, 0, Infinity, true, null]} ' +
        "{'b': 9223372036854775808, '10': 1.0, '2': [1e-07, 0, inf, True, None]}",
    );
    expect(render(source, { x: { a: 1, b: 1.5, c: 2n ** 70n, d: undefined, e: -0 } }).text).toContain(
      '{"a": 1, "b": 1.5, "c": 1180591620717411303424, "e": -0.0}',
    );
    expect(render("{{ x.a.b }}", { x: new Map([["a", { b: new Map() }]]) }).text).toBe("{}");
    expect(render("{{ x is defined }}{{ y is none }}", { x: undefined, y: null }).text).toBe("FalseTrue");
  });

  it("is no program", () => {
    expect(() => render("x", { f: () => 1 })).toThrow(/function is no value/);
    const circle: unknown[] = [];
    circle.push(circle);
    expect(() => render("x", { circle })).toThrow(/deeper than 400/);
    const odd = JSON.parse('{"__proto__": 1, "\\u0000sx": 2, "constructor": 3}');
    expect(render("{{ x }}{{ x['__proto__'] }}{{ x.constructor }}{{ x['\0sx'] }}", { x: odd }).text).toBe(
      "{'__proto__': 1, '\\x00sx': 2, 'constructor': 3}132",
    );
  });

  it("tells what became of values that are watched", () => {
    const watched = (source: string) => {
      const watch = { printed: false, asked: false };
      render(source, { x: new Given({ a: 1 }, DATA, watch) });
      return watch;
    };
    expect(watched("{{ x }}")).toEqual({ printed: true, asked: false });
    for (const printing of [
      "'a' ~ x",
      "x | string",
      "x | trim",
      "'%s' % x",
      "'{}'.format(x)",
      "[x] | join",
    ]) {
      expect(watched(`{{ ${printing} }}`).printed, printing).toBe(true);
    }
    for (const using of ["x | tojson", "[x]", "x.a", "x | items | list", "x == {}", "x | length"]) {
      expect(watched(`{{ ${using} }}`).printed, using).toBe(false);
    }
    expect(watched("{{ x is string }}{{ x | tojson }}")).toEqual({ printed: false, asked: true });
  });
});

describe("errors", () => {
  it("say what is wrong, and in which line", () => {
    expect(failure("a\n{% for x in y %}")).toMatchObject({ fault: "syntax", line: 2 });
    expect(failure("a\n\n{{ 1 +\n }}")).toMatchObject({ fault: "syntax", line: 4 });
    expect(failure("{% if true %}\n\n{{ 'a' + 1 }}{% endif %}")).toMatchObject({ fault: "runtime", line: 3 });
    const raised = failure("\n{{ raise_exception('roles must alternate') }}");
    expect(raised).toMatchObject({ fault: "raised", line: 2, message: "roles must alternate" });
    expect(failure("{{ a.b.c }}", { a: {} }).message).toBe("'dict object' has no attribute 'b'");
    expect(failure("{{ x.y }}").message).toBe("'x' is undefined");
    expect(failure("{% include 'x' %}")).toMatchObject({ fault: "unsupported", line: 1 });
  });
});

describe("limits", () => {
  const L = "{% for i in range(100000) %}{% for j in range(100000) %}";
  const E = "{% endfor %}{% endfor %}";

  it.each([
    ["endless loops", `${L}a${E}`, /stopped after 20000 steps/],
    ["ranges", "{% for i in range(1000000000) %}a{% endfor %}", /range\(\) of more than 100000/],
    ["long texts", "{{ 'ab' * 1000000000 }}", /a text of more than/],
    [
      "texts that double",
      "{% set n = namespace(s='ab') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
      /text of more than/,
    ],
    [
      "lists that double",
      "{% set n = namespace(l=[1]) %}{% for i in range(99) %}{% set n.l = n.l + n.l %}{% endfor %}",
      /steps/,
    ],
    ["the output", "{% for i in range(1000) %}{{ 'a' * 1000 }}{% endfor %}", /text of more than|steps/],
    ["big lists", "{{ [1] * 1000000000 }}", /steps/],
    ["big numbers", "{{ 2 ** 1000000000 }}", /more than 14280 bits/],
    [
      "numbers that grow",
      "{% set n = namespace(x=3) %}{% for i in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}",
      /14280 bits/,
    ],
    ["wide fields", "{{ '%999999999d' % 1 }}", /wider than 10000/],
    ["wide texts", "{{ 'a'.center(999999999) }}", /text of more than/],
    ["recursion", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", /200 levels deep/],
    ["recursive loops", "{% for x in l recursive %}{{ loop(l) }}{% endfor %}", /200 levels deep/],
    ["nesting", `{{ ${"[".repeat(500)}${"]".repeat(500)} }}`, /nested deeper than 100/],
    ["chains", `{{ 1${" + 1".repeat(500)} }}`, /more than 200 operators/],
    ["nested blocks", `${"{% if 1 %}".repeat(500)}`, /nested deeper than 100/],
    ["sources", "a".repeat(2 ** 20 + 1), /more than 1048576 characters/],
  ])("bound %s", (_name, source, expected) => {
    const limits = { steps: 20_000, characters: 100_000 };
    expect(() => render(source, { l: [1] }, limits)).toThrow(TemplateError);
    expect(() => render(source, { l: [1] }, limits)).toThrow(expected);
  });

  it("grow with the data", () => {
    const messages = Array.from({ length: 2000 }, (_, i) => ({
      role: "user",
      content: `message ${i} `.repeat(9),
    }));
    const source = "{% for m in messages %}{{ m.role + m.content.strip() | upper }}{% endfor %}";
    const { text } = render(source, { messages }, { steps: 1, characters: 1 });
    expect(text.length).toBeGreaterThan(200_000);
  });

  it("charge for what a step does, not only for its count", () => {
    // A thousand rounds that do little are allowed, a thousand of these are not.
    const rounds = (work: string) =>
      `{% set s = 'ab<c' * 25000 %}{% for i in range(1000) %}{% set t = ${work} %}{% endfor %}`;
    const limits = { steps: 60_000 };
    expect(render(rounds("i * 2"), {}, limits).text).toBe("");
    for (const work of [
      "s | upper",
      "s.replace('b', 'x')",
      "s.split('<')",
      "s | tojson",
      "[s] | string",
      "s | e",
      "s | list",
      "s is upper",
      "s.isalpha()",
      "s.find('z')",
      "s | wordcount",
      "s[::-1]",
      "s | title",
      "s.strip('abc<')",
      "s == 'ab<c' * 25000",
      "s < s ~ 'a'",
      "'z' in s",
      "2 ** 9999 // 3 ** 99",
      "1.5 | round(300)",
      "'%.900f' % 1.5",
      "range(9999) | sum",
      "range(9999) | list | sort",
      "-1 in range(9999) | list",
    ]) {
      // biome-ignore format: a table
      expect(() => render(rounds(work), {}, limits), work).toThrow(/stopped after 60000 steps/);
    }
  });
});
