/**
 * When two statements are one: their canonical forms are equal. Names of the theorem and of everything bound do not count, nor
 * do blanks, comments and ASCII spellings. Order does: `(x y : Nat)` and `(y x : Nat)` differ. Text only, so two forms may
 * still mean the same.
 */
import { parseStatement } from "./statements.ts";
import { closing, codeTokens, endOfGroup, nesting, type Token } from "./tokens.ts";

const SPELLINGS: ReadonlyMap<string, string> = new Map([
  ["->", "→"],
  ["<->", "↔"],
  ["<-", "←"],
  ["<=", "≤"],
  [">=", "≥"],
  ["/\\", "∧"],
  ["\\/", "∨"],
  ["forall", "∀"],
  ["exists", "∃"],
  ["λ", "fun"],
  ["↦", "=>"],
]);

/** They bind the names behind them up to a comma or an arrow, in all that follows up to the end of the brackets around. */
const BINDERS = new Set(["∀", "∃", "∃!", "∑", "∏", "⋃", "⋂", "Σ", "Π", "fun"]);
/** `let x := 1; ..` */
const LOCALS = new Set(["let", "have"]);

/**
 * The canonical form: `binders : conclusion` with one blank between tokens and names v0, v1, … in order of binding.
 * @throws FormatError for text that is no statement
 */
export function canonicalForm(statement: string): string {
  const { binders, conclusion } = parseStatement(statement);
  const writer = new Writer();
  writer.context(codeTokens(binders));
  writer.out.push(":");
  writer.term(codeTokens(conclusion));
  return writer.out.join(" ");
}

/** The canonical form with `#` for every numeral: statements of one template differ in their numbers alone. */
export const templateKey = (statement: string): string =>
  canonicalForm(statement).replace(/(?<=^| )[0-9][^ ]*/g, "#");

/** SHA-256 of the canonical form, in hexadecimal. @throws FormatError for text that is no statement */
export const canonicalHash = async (statement: string): Promise<string> =>
  await sha256(canonicalForm(statement));

/** SHA-256 of a text's UTF-8 bytes, in hexadecimal. */
export async function sha256(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A place where bound names end: brackets, or the body of a binder. */
interface Scope {
  readonly kind: "bracket" | "binder" | "fun";
  /** Whether a comma or an arrow has ended the names; the body follows. */
  body: boolean;
  /** Names that were bound inside, with what they meant before. */
  readonly before: [name: string, meaning: string | undefined][];
}

class Writer {
  readonly out: string[] = [];
  readonly #names = new Map<string, string>();
  readonly #scopes: Scope[] = [{ kind: "bracket", body: true, before: [] }];
  #count = 0;

  /** Binders before the colon of a theorem: groups in brackets, or bare names. */
  context(tokens: readonly Token[]): void {
    for (let at = 0; at < tokens.length; ) {
      at = closing(tokens[at]) !== undefined ? this.#group(tokens, at) : this.#one(tokens, at);
    }
  }

  term(tokens: readonly Token[]): void {
    for (let at = 0; at < tokens.length; ) at = this.#step(tokens, at);
  }

  /** Writes what stands at `at` and returns the index behind it. */
  #step(tokens: readonly Token[], at: number): number {
    const token = tokens[at];
    const text = SPELLINGS.get(token.text) ?? token.text;
    if (BINDERS.has(text) && token.kind !== "string") {
      this.out.push(text);
      this.#scopes.push({ kind: text === "fun" ? "fun" : "binder", body: false, before: [] });
      return this.#boundNames(tokens, at + 1);
    }
    if (LOCALS.has(text) && isName(tokens[at + 1]) && token.kind === "name") {
      this.out.push(text);
      this.#scopes.push({ kind: "binder", body: true, before: [] });
      return this.#bind(tokens[at + 1], at + 1);
    }
    if (closing(token) !== undefined) {
      this.out.push(text);
      this.#scopes.push({ kind: "bracket", body: true, before: [] });
      return bindsSet(tokens, at) ? this.#bind(tokens[at + 1], at + 1) : at + 1;
    }
    if (nesting(token) < 0) {
      while (this.#scopes.length > 1 && this.#top.kind !== "bracket") this.#leave();
      if (this.#scopes.length > 1) this.#leave();
    } else if (text === "=>" && this.#top.kind === "fun") this.#top.body = true;
    else if (text === ",") this.#comma();
    this.out.push(token.kind === "name" ? this.#meaning(text) : text);
    return at + 1;
  }

  /** A comma opens the body of the innermost ∀ that waits for it; bodies of binders inside that one end. */
  #comma(): void {
    for (; this.#top.kind !== "bracket"; this.#leave()) {
      if (!this.#top.body) {
        this.#top.body = true;
        return;
      }
    }
  }

  /** Names behind ∀, ∃ or fun: bare ones, groups, or a pattern. */
  #boundNames(tokens: readonly Token[], from: number): number {
    let at = from;
    for (;;) {
      const token = tokens[at];
      if (isName(token)) at = this.#bind(token, at);
      else if (token?.text === "_") at = this.#one(tokens, at);
      else if (token !== undefined && closing(token) !== undefined) at = this.#group(tokens, at);
      else return at;
    }
  }

  /** A group `(x y : T)`: its type is read before its names get their numbers. Without a colon, all names in it are bound. */
  #group(tokens: readonly Token[], at: number): number {
    const end = endOfGroup(tokens, at);
    let colon = at + 1;
    while (colon < end && (isName(tokens[colon]) || tokens[colon].text === "_")) colon++;
    if (tokens[colon]?.text !== ":" || colon === at + 1) {
      const instance = tokens[at].text === "[";
      this.out.push(tokens[at].text);
      this.#scopes.push({ kind: "bracket", body: true, before: [] });
      let i = at + 1;
      for (; i < end - 1; ) {
        if (!instance && isName(tokens[i])) {
          this.#bindOutside(tokens[i]);
          i++;
        } else i = this.#step(tokens, i);
      }
      return i < end ? this.#step(tokens, i) : i;
    }
    this.out.push(tokens[at].text);
    const slots = tokens.slice(at + 1, colon).map((token) => {
      this.out.push(token.text);
      return { token, place: this.out.length - 1 };
    });
    this.#scopes.push({ kind: "bracket", body: true, before: [] });
    let i = colon;
    while (i < end - 1) i = this.#step(tokens, i);
    while (this.#top.kind !== "bracket") this.#leave();
    this.#leave();
    if (i < end) this.out.push(tokens[i].text);
    for (const { token, place } of slots) {
      if (token.text !== "_") this.out[place] = this.#define(token.text, this.#top);
    }
    return end;
  }

  /** Writes one name that is bound in the innermost scope. */
  #bind(token: Token, at: number): number {
    this.out.push(this.#define(token.text, this.#top));
    return at + 1;
  }

  /** Binds a name of a pattern around which brackets stand, for the scope outside them. */
  #bindOutside(token: Token): void {
    const scope = this.#scopes.findLast(({ kind }) => kind !== "bracket") ?? this.#scopes[0];
    this.out.push(this.#define(token.text, scope));
  }

  #one(tokens: readonly Token[], at: number): number {
    const token = tokens[at];
    if (isName(token)) return this.#bind(token, at);
    return token.text === "_" ? this.out.push("_") && at + 1 : this.#step(tokens, at);
  }

  #define(name: string, scope: Scope): string {
    const meaning = `v${this.#count++}`;
    scope.before.push([name, this.#names.get(name)]);
    this.#names.set(name, meaning);
    return meaning;
  }

  #leave(): void {
    for (const [name, meaning] of (this.#scopes.pop() as Scope).before.reverse()) {
      if (meaning === undefined) this.#names.delete(name);
      else this.#names.set(name, meaning);
    }
  }

  get #top(): Scope {
    return this.#scopes[this.#scopes.length - 1];
  }

  /** A bound name by its number; of `h.left` the part before the dot. */
  #meaning(text: string): string {
    const dot = text.indexOf(".", 1);
    const first = dot < 0 ? text : text.slice(0, dot);
    const meaning = this.#names.get(first);
    return meaning === undefined ? text : meaning + text.slice(first.length);
  }
}

/** A name that may be bound: without a dot, and not the `in` of `∑ i in s`. */
const isName = (token: Token | undefined): boolean =>
  token?.kind === "name" && token.text !== "_" && token.text !== "in" && !token.text.includes(".");

/** Whether braces at `at` hold `x | p` or `x : T // p`, which bind x. */
function bindsSet(tokens: readonly Token[], at: number): boolean {
  if (tokens[at].text !== "{" || !isName(tokens[at + 1])) return false;
  if (!/^(?:[|:∈]|\/\/)$/.test(tokens[at + 2]?.text ?? "")) return false;
  let depth = 0;
  for (let i = at; i < tokens.length; i++) {
    depth += nesting(tokens[i]);
    if (depth === 0) return false;
    if (depth === 1 && (tokens[i].text === "|" || tokens[i].text === "//")) {
      return true;
    }
  }
  return false;
}
