/** Text of a model as nodes. It can become nothing but these elements: no HTML, no picture, no address that runs. */
import { signal } from "@preact/signals";
import type { ComponentChildren, VNode } from "preact";
import { memo } from "preact/compat";
import { useMemo, useRef } from "preact/hooks";
import { type Blocks, GrowingBlocks, inGroups } from "./blocks.ts";
import { CodeBlock } from "./code-block.tsx";
import { Formula } from "./formula.tsx";
import type { FormulaToken } from "./formulas.ts";
import { lex, type Token, type Tokens } from "./lex.ts";

/** An address that a link wants to open: shown before it is. */
export const askedAddress = signal<string | null>(null);

/** An address that may be opened, in full; null for all others. */
export function safeAddress(href: string): string | null {
  if (!/^(?:https?:\/\/|mailto:)/i.test(href)) return null;
  try {
    return new URL(href).href;
  } catch {
    return null;
  }
}

/** Entities that the lexer leaves in text. */
const ENTITIES: Readonly<Record<string, string>> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  "#39": "'",
  nbsp: "\u00a0",
};
const plain = (text: string) => text.replace(/&(amp|lt|gt|quot|#39|nbsp);/g, (_, name) => ENTITIES[name]);

function Link({ href, children }: { readonly href: string; readonly children: ComponentChildren }) {
  const address = safeAddress(href);
  if (address === null)
    return (
      <span title={href.slice(0, 300)}>
        {children} <span class="soft">[{href.slice(0, 100)}]</span>
      </span>
    );
  return (
    <a
      href={address}
      title={address}
      rel="noopener noreferrer"
      target="_blank"
      onClick={(event) => {
        event.preventDefault();
        askedAddress.value = address;
      }}
    >
      {children}
    </a>
  );
}

const inline = (tokens: readonly Token[] | undefined): ComponentChildren =>
  tokens?.map((token, i) => <Inline key={i} token={token} />);

function Inline({ token }: { readonly token: Token }): VNode | null {
  switch (token.type) {
    case "text":
    case "escape":
      return "tokens" in token && token.tokens ? <>{inline(token.tokens)}</> : <>{plain(token.text)}</>;
    case "strong":
      return <strong>{inline(token.tokens)}</strong>;
    case "em":
      return <em>{inline(token.tokens)}</em>;
    case "del":
      return <del>{inline(token.tokens)}</del>;
    case "codespan":
      return <code>{token.text}</code>;
    case "br":
      return <br />;
    case "link":
      return <Link href={token.href}>{inline(token.tokens)}</Link>;
    case "image":
      // Never fetched: an address may carry away what was said.
      return <Link href={token.href}>picture: {token.text || "without a name"}</Link>;
    case "formula": {
      const { text, display } = token as unknown as FormulaToken;
      return <Formula text={text} display={display} />;
    }
    case "checkbox":
      return (
        <input type="checkbox" disabled checked={(token as Tokens.Checkbox).checked} aria-label="task" />
      );
    default:
      return isBlock(token) ? <Block token={token} /> : <>{token.raw}</>;
  }
}

const BLOCKS = new Set(["paragraph", "list", "blockquote", "code", "heading", "table", "hr", "space"]);
const isBlock = ({ type }: Token) => BLOCKS.has(type);

function Table({ token }: { readonly token: Tokens.Table }) {
  const align = (i: number) => token.align[i] ?? undefined;
  return (
    // Wide tables scroll by themselves; the keyboard reaches them.
    <div class="table-scroll" tabIndex={0} role="group" aria-label="Table">
      <table>
        <thead>
          <tr>
            {token.header.map((cell, i) => (
              <th key={i} scope="col" style={{ textAlign: align(i) }}>
                {inline(cell.tokens)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {token.rows.map((row, r) => (
            <tr key={r}>
              {row.map((cell, i) => (
                <td key={i} style={{ textAlign: align(i) }}>
                  {inline(cell.tokens)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function List({ token }: { readonly token: Tokens.List }) {
  const items = token.items.map((item, i) => <li key={i}>{inline(item.tokens)}</li>);
  if (!token.ordered) return <ul>{items}</ul>;
  return <ol start={typeof token.start === "number" ? token.start : undefined}>{items}</ol>;
}

function Block({ token, open = false }: { readonly token: Token; readonly open?: boolean }): VNode | null {
  switch (token.type) {
    case "space":
    case "def":
      return null;
    case "heading": {
      // One level for all: answers leave levels out, which readers of a page must not.
      return <h3 class={`depth-${token.depth}`}>{inline(token.tokens)}</h3>;
    }
    case "paragraph":
      return <p>{inline(token.tokens)}</p>;
    case "text":
      return token.tokens ? <p>{inline(token.tokens)}</p> : <p>{plain(token.text)}</p>;
    case "blockquote":
      return (
        <blockquote>
          {token.tokens?.map((each, i) => (
            <Block key={i} token={each} />
          ))}
        </blockquote>
      );
    case "list":
      return <List token={token as Tokens.List} />;
    case "code":
      return <CodeBlock code={token.text} language={(token as Tokens.Code).lang ?? ""} growing={open} />;
    case "table":
      return <Table token={token as Tokens.Table} />;
    case "hr":
      return <hr />;
    case "formula":
      return <Inline token={token} />;
    case "raw":
      return <pre class="as-written">{token.text}</pre>;
    default:
      return <p class="as-written">{token.raw}</p>;
  }
}

/** Blocks as nodes. */
export const blocksAsNodes = (blocks: readonly Token[]) =>
  blocks.map((token, i) => <Block key={i} token={token} />);

const Group = memo(({ blocks }: { readonly blocks: readonly Token[] }) => (
  <div class="group">{blocksAsNodes(blocks)}</div>
));

/** Text that is whole. */
export const Markdown = memo(({ text }: { readonly text: string }) => {
  const groups = useMemo(() => inGroups(lex(text)), [text]);
  return (
    <div class="markdown" dir="auto">
      {groups.map((blocks, i) => (
        <Group key={i} blocks={blocks} />
      ))}
    </div>
  );
});

/** Text that still comes. */
export function GrowingMarkdown({ text }: { readonly text: string }) {
  const growing = useRef<GrowingBlocks | null>(null);
  growing.current ??= new GrowingBlocks();
  const { frozen, open }: Blocks = useMemo(() => growing.current!.update(text), [text]);
  return (
    <div class="markdown" dir="auto">
      {frozen.map((blocks, i) => (
        <Group key={i} blocks={blocks} />
      ))}
      <div class="group">
        {open.map((token, i) => (
          <Block key={i} token={token} open={i === open.length - 1} />
        ))}
      </div>
    </div>
  );
}
