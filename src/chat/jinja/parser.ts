/** Parses a whole template. Tags that need other templates, and those that make none, are refused by name. */
import type { CallNode, Expression, FilterNode, NameNode, OutputPart, Parameters, Statement } from "./ast.ts";
import { TemplateError } from "./errors.ts";
import { ExpressionParser } from "./expressions.ts";
import { tokenize } from "./lexer.ts";

/** Known to jinja2, of no use to chat templates. */
const REFUSED: ReadonlySet<string> = new Set(["include", "import", "from", "extends", "block", "autoescape"]);

/** The statements of a template. @throws TemplateError */
export function parse(template: string): Statement[] {
  const parser = new Parser(new ExpressionParser(tokenize(template)));
  return parser.body(null);
}

class Parser {
  readonly #e: ExpressionParser;

  constructor(expressions: ExpressionParser) {
    this.#e = expressions;
  }

  /** Statements up to one of the tags `ends`, whose name stays to be read; null: to the end of the template. */
  body(ends: readonly string[] | null): Statement[] {
    const e = this.#e;
    const statements: Statement[] = [];
    let parts: OutputPart[] = [];
    let line = e.token.line;
    const flush = () => {
      if (parts.length > 0) statements.push({ kind: "output", parts, line });
      parts = [];
    };
    while (!e.isType("eof")) {
      if (parts.length === 0) line = e.token.line;
      if (e.isType("data")) parts.push(e.next().text);
      else if (e.isType("variable_begin")) {
        const { line } = e.next();
        parts.push({ value: e.tuple(), line });
        e.expectType("variable_end");
      } else {
        flush();
        e.expectType("block_begin");
        if (ends !== null && e.isType("name") && ends.includes(e.token.text)) return statements;
        statements.push(e.nested(() => this.#statement(ends)));
        e.expectType("block_end");
      }
    }
    flush();
    if (ends !== null) e.fail(`Unexpected end of template. Looking for: ${ends.join(" or ")}`);
    return statements;
  }

  /** What stands between a tag's end and the tag `end`, which is read too. */
  #enclosed(end: string): Statement[] {
    const body = this.#upTo([end]);
    this.#e.next();
    return body;
  }

  #upTo(ends: readonly string[]): Statement[] {
    this.#e.skipOperator(":");
    this.#e.expectType("block_end");
    return this.body(ends);
  }

  #statement(ends: readonly string[] | null): Statement {
    const e = this.#e;
    if (!e.isType("name")) e.fail("tag name expected");
    const { text: tag, line } = e.next();
    switch (tag) {
      case "for":
        return this.#for(line);
      case "if":
        return this.#if(line);
      case "set":
        return this.#set(line);
      case "with":
        return this.#with(line);
      case "macro": {
        const { name } = e.nameTarget();
        const parameters = this.#parameters();
        return { kind: "macro", name, parameters, body: this.#enclosed("endmacro"), line };
      }
      case "call":
        return this.#call(line);
      case "filter": {
        const filter = e.filters(true) as FilterNode;
        return { kind: "filter block", filter, body: this.#enclosed("endfilter"), line };
      }
      case "print": {
        const parts: OutputPart[] = [];
        while (!e.isType("block_end")) {
          if (parts.length > 0) e.expectOperator(",");
          parts.push({ value: e.expression(), line });
        }
        return { kind: "output", parts, line };
      }
      case "generation": {
        const parameters: Parameters = { names: [], defaults: [] };
        return { kind: "call block", call: null, parameters, body: this.#enclosed("endgeneration"), line };
      }
      case "break":
      case "continue":
        return { kind: tag, line };
    }
    if (REFUSED.has(tag)) throw new TemplateError("unsupported", `the tag '${tag}' is not supported`, line);
    const looking = ends === null ? "" : ` Looking for: ${ends.join(" or ")}`;
    return e.fail(`Encountered unknown tag '${tag}'.${looking}`, line);
  }

  #for(line: number): Statement {
    const e = this.#e;
    const target = e.target({ end: "in" });
    e.expectName("in");
    const items = e.tuple({ condition: false, end: "recursive" });
    const test = e.skipName("if") ? e.expression() : null;
    const recursive = e.skipName("recursive");
    const body = this.#upTo(["endfor", "else"]);
    const otherwise = e.next().text === "else" ? this.#enclosed("endfor") : [];
    return { kind: "for", target, items, test, recursive, body, otherwise, line };
  }

  #if(line: number): Statement {
    const e = this.#e;
    const branches: { test: Expression; body: Statement[] }[] = [];
    for (;;) {
      const test = e.tuple({ condition: false });
      branches.push({ test, body: this.#upTo(["elif", "else", "endif"]) });
      const tag = e.next().text;
      if (tag === "elif") continue;
      const otherwise = tag === "else" ? this.#enclosed("endif") : [];
      return { kind: "if", branches, otherwise, line };
    }
  }

  #set(line: number): Statement {
    const e = this.#e;
    const target = e.target({ namespaces: true });
    if (e.skipOperator("=")) return { kind: "assign", target, value: e.tuple(), line };
    const filter = e.filters(false);
    return { kind: "assign block", target, filter, body: this.#enclosed("endset"), line };
  }

  #with(line: number): Statement {
    const e = this.#e;
    const targets: Expression[] = [];
    const values: Expression[] = [];
    while (!e.isType("block_end")) {
      if (targets.length > 0) e.expectOperator(",");
      const target = e.target();
      declare(target);
      targets.push(target);
      e.expectOperator("=");
      values.push(e.expression());
    }
    return { kind: "with", targets, values, body: this.#enclosed("endwith"), line };
  }

  #parameters(): Parameters {
    const e = this.#e;
    const names: NameNode[] = [];
    const defaults: Expression[] = [];
    e.expectOperator("(");
    while (!e.isOperator(")")) {
      if (names.length > 0) e.expectOperator(",");
      const name = e.nameTarget();
      declare(name);
      if (names.some((other) => other.name === name.name)) e.fail(`duplicate argument '${name.name}'`);
      if (e.skipOperator("=")) defaults.push(e.expression());
      else if (defaults.length > 0) e.fail("non-default argument follows default argument");
      names.push(name);
    }
    e.expectOperator(")");
    return { names, defaults };
  }

  #call(line: number): CallNode {
    const e = this.#e;
    const parameters = e.isOperator("(") ? this.#parameters() : { names: [], defaults: [] };
    const call = e.expression();
    if (call.kind !== "call") return e.fail("expected call", line);
    return { kind: "call block", call, parameters, body: this.#enclosed("endcall"), line };
  }
}

function declare(target: Expression): void {
  if (target.kind === "name") target.use = "param";
  else if (target.kind === "tuple") target.items.forEach(declare);
}
