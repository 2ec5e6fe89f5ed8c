/** Parses expressions, with the precedence that jinja2 gives them. */
import type { Arguments, Comparison, Expression, FilterNode, NameNode } from "./ast.ts";
import { TemplateError } from "./errors.ts";
import type { Token, TokenType } from "./lexer.ts";

const NO_ARGUMENTS: Arguments = { args: [], kwargs: [], more: null, named: null };
/** Deepest nesting of expressions and blocks. */
const DEEPEST = 100;
/** Most operators, filters or subscripts in one chain; Python's own parser ends there too. */
const LONGEST = 200;

const COMPARISONS: readonly string[] = ["==", "!=", "<", "<=", ">", ">="];
const PRODUCTS: readonly string[] = ["*", "/", "//", "%"];

export class ExpressionParser {
  readonly #tokens: readonly Token[];
  #at = 0;
  #depth = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  // -- Tokens

  get token(): Token {
    return this.#tokens[this.#at];
  }

  next(): Token {
    const token = this.token;
    if (token.type !== "eof") this.#at++;
    return token;
  }

  /** The token behind the present one. */
  get ahead(): Token {
    return this.#tokens[Math.min(this.#at + 1, this.#tokens.length - 1)];
  }

  isType(type: TokenType): boolean {
    return this.token.type === type;
  }

  isName(name: string): boolean {
    return this.token.type === "name" && this.token.text === name;
  }

  isOperator(operator: string): boolean {
    return this.token.type === "operator" && this.token.text === operator;
  }

  skipName(name: string): boolean {
    const found = this.isName(name);
    if (found) this.next();
    return found;
  }

  skipOperator(operator: string): boolean {
    const found = this.isOperator(operator);
    if (found) this.next();
    return found;
  }

  expectOperator(operator: string): void {
    if (!this.skipOperator(operator)) this.#unexpected(`'${operator}'`);
  }

  expectName(name?: string): string {
    if (!this.isType("name") || (name !== undefined && this.token.text !== name)) {
      this.#unexpected(name === undefined ? "a name" : `'${name}'`);
    }
    return this.next().text;
  }

  expectType(type: TokenType): void {
    if (!this.isType(type)) this.#unexpected(DESCRIPTIONS[type] ?? type);
    this.next();
  }

  fail(message: string, line = this.token.line): never {
    throw new TemplateError("syntax", message, line);
  }

  #unexpected(expected: string): never {
    this.fail(`expected ${expected}, got ${this.describe()}`);
  }

  describe({ type, text } = this.token): string {
    return DESCRIPTIONS[type] ?? `'${text}'`;
  }

  /** Runs `parse` one level deeper. */
  nested<T>(parse: () => T): T {
    if (this.#depth >= DEEPEST) {
      throw new TemplateError("limit", `it is nested deeper than ${DEEPEST} levels`, this.token.line);
    }
    this.#depth++;
    const result = parse();
    this.#depth--;
    return result;
  }

  /** Applies `step` as long as it gives something. */
  #chain(first: Expression, step: (left: Expression) => Expression | null): Expression {
    let left = first;
    for (let count = 0; ; count++) {
      const next = step(left);
      if (next === null) return left;
      if (count >= LONGEST) {
        throw new TemplateError("limit", `a chain of more than ${LONGEST} operators`, this.token.line);
      }
      left = next;
    }
  }

  // -- Expressions

  expression(): Expression {
    return this.nested(() => this.#condition());
  }

  #condition(): Expression {
    let { line } = this.token;
    return this.#chain(this.#or(), (yes) => {
      if (!this.skipName("if")) return null;
      const test = this.#or();
      const no = this.skipName("else") ? this.nested(() => this.#condition()) : null;
      const node: Expression = { kind: "condition", test, yes, no, line };
      line = this.token.line;
      return node;
    });
  }

  #or(): Expression {
    const step = (left: Expression): Expression | null =>
      this.skipName("or") ? { kind: "or", left, right: this.#and() } : null;
    return this.#chain(this.#and(), step);
  }

  #and(): Expression {
    const step = (left: Expression): Expression | null =>
      this.skipName("and") ? { kind: "and", left, right: this.#not() } : null;
    return this.#chain(this.#not(), step);
  }

  #not(): Expression {
    if (!this.skipName("not")) return this.#compare();
    return { kind: "not", operand: this.nested(() => this.#not()) };
  }

  #compare(): Expression {
    const first = this.#sum();
    const rest: { operator: Comparison; value: Expression }[] = [];
    for (;;) {
      if (this.isType("operator") && COMPARISONS.includes(this.token.text)) {
        rest.push({ operator: this.next().text as Comparison, value: this.#sum() });
      } else if (this.skipName("in")) rest.push({ operator: "in", value: this.#sum() });
      else if (this.isName("not") && this.ahead.type === "name" && this.ahead.text === "in") {
        this.next();
        this.next();
        rest.push({ operator: "not in", value: this.#sum() });
      } else break;
    }
    return rest.length === 0 ? first : { kind: "compare", first, rest };
  }

  #sum(): Expression {
    return this.#chain(this.#concat(), (left) => {
      if (!this.isOperator("+") && !this.isOperator("-")) return null;
      const operator = this.next().text as "+" | "-";
      return { kind: "binary", operator, left, right: this.#concat() };
    });
  }

  #concat(): Expression {
    const parts = [this.#product()];
    while (this.skipOperator("~")) parts.push(this.#product());
    return parts.length === 1 ? parts[0] : { kind: "concat", parts };
  }

  #product(): Expression {
    return this.#chain(this.#power(), (left) => {
      if (!this.isType("operator") || !PRODUCTS.includes(this.token.text)) return null;
      const operator = this.next().text as "*" | "/" | "//" | "%";
      return { kind: "binary", operator, left, right: this.#power() };
    });
  }

  #power(): Expression {
    const step = (left: Expression): Expression | null =>
      this.skipOperator("**") ? { kind: "binary", operator: "**", left, right: this.#unary(true) } : null;
    return this.#chain(this.#unary(true), step);
  }

  #unary(withFilter: boolean): Expression {
    let node: Expression;
    if (this.isOperator("-") || this.isOperator("+")) {
      const operator = this.next().text as "-" | "+";
      node = { kind: "unary", operator, operand: this.nested(() => this.#unary(false)) };
    } else node = this.primary(false);
    node = this.#postfix(node);
    return withFilter ? this.#filters(node) : node;
  }

  /** A name or a literal; `target` if a namespace's attribute may be assigned to. */
  primary(target: boolean): Expression {
    const { type, text, line } = this.token;
    switch (type) {
      case "name":
        this.next();
        if (text === "true" || text === "True") return { kind: "constant", value: true };
        if (text === "false" || text === "False") return { kind: "constant", value: false };
        if (text === "none" || text === "None") return { kind: "constant", value: null };
        if (target && this.skipOperator(".")) {
          return { kind: "namespace", name: text, attribute: this.expectName(), line };
        }
        return { kind: "name", name: text, use: "load", line };
      case "string": {
        let whole = "";
        while (this.isType("string")) whole += this.next().text;
        return { kind: "constant", value: { text: whole } };
      }
      case "integer":
        this.next();
        return { kind: "constant", value: { integer: text } };
      case "float":
        this.next();
        return { kind: "constant", value: { float: text } };
    }
    if (this.skipOperator("(")) {
      const inner = this.nested(() => this.tuple({ parentheses: true }));
      this.expectOperator(")");
      return inner;
    }
    if (this.skipOperator("[")) {
      const items = this.#listed("]", () => this.expression());
      return { kind: "list", items };
    }
    if (this.skipOperator("{")) {
      const pairs = this.#listed("}", () => {
        const key = this.expression();
        this.expectOperator(":");
        return [key, this.expression()] as const;
      });
      return { kind: "dict", pairs };
    }
    return this.fail(`unexpected ${this.describe()}`);
  }

  /** Items with commas between them, one of which may come last. */
  #listed<T>(end: string, item: () => T): T[] {
    const items: T[] = [];
    while (!this.isOperator(end)) {
      if (items.length > 0) this.expectOperator(",");
      if (this.isOperator(end)) break;
      items.push(item());
    }
    this.expectOperator(end);
    return items;
  }

  /** An expression, or several with commas between them, which make a tuple. */
  tuple({
    parentheses = false,
    condition = true,
    end,
  }: {
    /** Whether it stands in parentheses, so that it may be empty. */
    parentheses?: boolean;
    /** Whether conditional expressions are read. */
    condition?: boolean;
    /** A name that ends it. */
    end?: string;
  } = {}): Expression {
    const part = () => (condition ? this.expression() : this.nested(() => this.#or()));
    const { items, single } = this.#commas(part, end);
    if (single) return items[0];
    if (items.length === 0 && !parentheses) this.fail(`Expected an expression, got ${this.describe()}`);
    return { kind: "tuple", items };
  }

  #commas(part: () => Expression, end: string | undefined): { items: Expression[]; single: boolean } {
    const items: Expression[] = [];
    for (;;) {
      if (items.length > 0) this.expectOperator(",");
      const over = this.isType("variable_end") || this.isType("block_end") || this.isOperator(")");
      if (over || (end !== undefined && this.isName(end))) return { items, single: false };
      items.push(part());
      if (!this.isOperator(",")) return { items, single: items.length === 1 };
    }
  }

  /** What is assigned to: a name, a tuple of them, or if allowed an attribute of a namespace. */
  target({ end, namespaces = false }: { end?: string; namespaces?: boolean } = {}): Expression {
    const { line } = this.token;
    const { items, single } = this.#commas(() => this.primary(namespaces), end);
    if (items.length === 0) this.fail(`Expected an expression, got ${this.describe()}`);
    const target: Expression = single ? items[0] : { kind: "tuple", items };
    this.#assignable(target, line);
    return target;
  }

  #assignable(target: Expression, line: number): void {
    if (target.kind === "name") target.use = "store";
    else if (target.kind === "tuple") for (const item of target.items) this.#assignable(item, line);
    else if (target.kind !== "namespace") this.fail(`can't assign to ${target.kind}`, line);
  }

  nameTarget(): NameNode {
    const { line } = this.token;
    const name = this.expectName();
    if (["true", "false", "none", "True", "False", "None"].includes(name)) this.fail("can't assign to name");
    return { kind: "name", name, use: "store", line };
  }

  #postfix(node: Expression): Expression {
    return this.#chain(node, (result) => {
      if (this.isOperator(".") || this.isOperator("[")) return this.#subscript(result);
      return this.isOperator("(") ? this.#call(result) : null;
    });
  }

  #subscript(object: Expression): Expression {
    if (this.skipOperator(".")) {
      const { type, text } = this.next();
      if (type === "name") return { kind: "attribute", object, name: text };
      if (type !== "integer") this.fail("expected name or number");
      return { kind: "item", object, key: { kind: "constant", value: { integer: text } } };
    }
    this.expectOperator("[");
    const keys: (Expression | SliceParts)[] = [];
    while (!this.isOperator("]")) {
      if (keys.length > 0) this.expectOperator(",");
      keys.push(this.#key());
    }
    this.expectOperator("]");
    const [first] = keys;
    if (keys.length === 1 && "kind" in first) return { kind: "item", object, key: first };
    if (keys.length === 1) return { kind: "slice", object, ...(first as SliceParts) };
    const items = keys.filter((key): key is Expression => "kind" in key);
    if (items.length < keys.length) this.fail("a slice within a tuple");
    return { kind: "item", object, key: { kind: "tuple", items } };
  }

  #key(): Expression | SliceParts {
    const start = this.isOperator(":") ? null : this.expression();
    if (start !== null && !this.isOperator(":")) return start;
    this.expectOperator(":");
    const over = () => this.isOperator("]") || this.isOperator(",");
    const stop = this.isOperator(":") || over() ? null : this.expression();
    const step = this.skipOperator(":") && !over() ? this.expression() : null;
    return { start, stop, step };
  }

  #call(callee: Expression): Extract<Expression, { kind: "call" }> {
    const { line } = this.token;
    return { kind: "call", callee, arguments: this.#arguments(), line };
  }

  #arguments(): Arguments {
    const { line } = this.token;
    this.expectOperator("(");
    const args: Expression[] = [];
    const kwargs: { key: string; value: Expression }[] = [];
    let more: Expression | null = null;
    let named: Expression | null = null;
    const ensure = (fine: boolean) => {
      if (!fine) this.fail("invalid syntax for function call expression", line);
    };
    let first = true;
    while (!this.isOperator(")")) {
      if (!first) {
        this.expectOperator(",");
        if (this.isOperator(")")) break;
      }
      first = false;
      if (this.skipOperator("*")) {
        ensure(more === null && named === null);
        more = this.expression();
      } else if (this.skipOperator("**")) {
        ensure(named === null);
        named = this.expression();
      } else if (this.isType("name") && this.ahead.type === "operator" && this.ahead.text === "=") {
        ensure(named === null);
        const key = this.next().text;
        this.next();
        if (kwargs.some((other) => other.key === key)) this.fail(`keyword argument repeated: ${key}`, line);
        kwargs.push({ key, value: this.expression() });
      } else {
        ensure(more === null && named === null && kwargs.length === 0);
        args.push(this.expression());
      }
    }
    this.expectOperator(")");
    return { args, kwargs, more, named };
  }

  #filters(node: Expression): Expression {
    return this.#chain(node, (result) => {
      if (this.isOperator("|")) return this.#filter(result);
      if (this.isName("is")) return this.#test(result);
      return this.isOperator("(") ? this.#call(result) : null;
    });
  }

  /** The filters of a block, of which the first may have no bar before it; null if there is none. */
  filters(inline: boolean): FilterNode | null {
    if (!inline && !this.isOperator("|")) return null;
    const first = this.#filter(null, inline);
    return this.#chain(first, (node) => (this.isOperator("|") ? this.#filter(node) : null)) as FilterNode;
  }

  #filter(value: Expression | null, bare = false): FilterNode {
    if (!bare) this.expectOperator("|");
    const { line } = this.token;
    const name = this.#dottedName();
    const given = this.isOperator("(") ? this.#arguments() : NO_ARGUMENTS;
    return { kind: "filter", name, value, arguments: given, line };
  }

  #dottedName(): string {
    let name = this.expectName();
    while (this.skipOperator(".")) name += `.${this.expectName()}`;
    return name;
  }

  #test(value: Expression): Expression {
    const { line } = this.next();
    const negated = this.skipName("not");
    const name = this.#dottedName();
    let given = NO_ARGUMENTS;
    if (this.isOperator("(")) given = this.#arguments();
    else if (this.#beginsValue()) {
      if (this.isName("is")) this.fail("You cannot chain multiple tests with is");
      given = { ...NO_ARGUMENTS, args: [this.#postfix(this.primary(false))] };
    }
    const node: Expression = { kind: "test", name, value, arguments: given, line };
    return negated ? { kind: "not", operand: node } : node;
  }

  /** Whether the argument of a test may begin here, without parentheses. */
  #beginsValue(): boolean {
    const { type, text } = this.token;
    if (type === "name") return !["else", "or", "and"].includes(text);
    if (type === "operator") return text === "[" || text === "{";
    return type === "string" || type === "integer" || type === "float";
  }
}

interface SliceParts {
  readonly start: Expression | null;
  readonly stop: Expression | null;
  readonly step: Expression | null;
}

const DESCRIPTIONS: Partial<Record<TokenType, string>> = {
  data: "template data / text",
  block_begin: "begin of statement block",
  block_end: "end of statement block",
  variable_begin: "begin of print statement",
  variable_end: "end of print statement",
  eof: "end of template",
};
