/**
 * Finds what a source file imports with light regular expressions and resolves it to files of the same project:
 * TypeScript and JavaScript, Python, C and C++, Java and Kotlin, Go, Rust. Text inside comments and strings may
 * be taken for an import, which only adds an ordering constraint. Left out: path aliases of tsconfig.json,
 * workspace package names, include paths of build files.
 */

import { baseName, comparePaths, folderOf } from "./corpus.ts";

export type Language = "typescript" | "python" | "c" | "java" | "go" | "rust";

const LANGUAGES: readonly [RegExp, Language][] = [
  [/\.[cm]?[jt]sx?$/i, "typescript"],
  [/\.(vue|svelte)$/i, "typescript"],
  [/\.pyi?$/i, "python"],
  [/\.(c|cc|cpp|cxx|h|hh|hpp|hxx|cu|cuh|m|mm)$/i, "c"],
  [/\.(java|kt|kts|scala)$/i, "java"],
  [/\.go$/i, "go"],
  [/\.rs$/i, "rust"],
];

/** The language whose import rules apply to a path, or null. */
export function languageOf(path: string): Language | null {
  return LANGUAGES.find(([pattern]) => pattern.test(path))?.[1] ?? null;
}

/** Import specifiers of a file as written, in order of appearance, without repetition. */
export function parseImports(path: string, text: string): string[] {
  const language = languageOf(path);
  return language === null ? [] : [...new Set(PARSERS[language](text))];
}

/** The files of one project, indexed so that import specifiers can be resolved to paths. */
export class ImportResolver {
  readonly #paths: ReadonlySet<string>;
  readonly #byName = new Map<string, string[]>();
  readonly #byFolder = new Map<string, string[]>();
  readonly #root: string;
  readonly #goModule: string | null;

  /** @param root folder of the project, for imports that start there; @param goModule module path of go.mod. */
  constructor(paths: Iterable<string>, root = "", goModule: string | null = null) {
    this.#root = root;
    this.#goModule = goModule;
    const sorted = [...paths].sort(comparePaths);
    this.#paths = new Set(sorted);
    for (const path of sorted) {
      push(this.#byName, baseName(path), path);
      push(this.#byFolder, folderOf(path), path);
    }
  }

  /** Paths of the project that one specifier of the file `from` stands for; empty for outside packages. */
  resolve(from: string, specifier: string): string[] {
    const language = languageOf(from);
    const found = language === null ? [] : this.#resolve(language, from, specifier);
    return [...new Set(found)].filter((path) => path !== from);
  }

  #resolve(language: Language, from: string, specifier: string): string[] {
    switch (language) {
      case "typescript":
        return this.#script(from, specifier);
      case "python":
        return this.#python(from, specifier);
      case "c":
        return this.#first([joinPaths(folderOf(from), specifier)]) ?? this.#suffix(specifier, from);
      case "java":
        return this.#java(from, specifier);
      case "go":
        return this.#go(specifier);
      case "rust":
        return this.#rust(from, specifier);
    }
  }

  #first(candidates: readonly (string | null)[]): string[] | null {
    for (const path of candidates) if (path !== null && this.#paths.has(path)) return [path];
    return null;
  }

  #script(from: string, specifier: string): string[] {
    if (!/^\.{0,2}\//.test(specifier) && !/^\.{1,2}$/.test(specifier)) return [];
    const target = joinPaths(folderOf(from), specifier.replace(/[?#].*$/, ""));
    if (target === null) return [];
    const candidates = [target];
    const output = /^(.*)\.([cm]?)jsx?$/.exec(target);
    if (output) {
      const [, stem, kind] = output;
      candidates.push(`${stem}.${kind}ts`, `${stem}.${kind}tsx`, `${stem}.d.${kind}ts`);
    }
    const endings = [
      "ts",
      "tsx",
      "d.ts",
      "mts",
      "cts",
      "d.mts",
      "d.cts",
      "js",
      "jsx",
      "mjs",
      "cjs",
      "vue",
      "svelte",
    ];
    for (const ending of endings) candidates.push(`${target}.${ending}`);
    for (const ending of endings) candidates.push(joinPaths(target, `index.${ending}`) ?? "");
    return this.#first(candidates) ?? [];
  }

  #python(from: string, specifier: string): string[] {
    // Written by the parser as "module:name1,name2"; a name may be a submodule.
    const [module, names = ""] = specifier.split(":");
    const dots = /^\.*/.exec(module)![0].length;
    const parts = module
      .slice(dots)
      .split(".")
      .filter((p) => p !== "");
    const bases: string[] = [];
    if (dots > 0) {
      const base = joinPaths(folderOf(from), "../".repeat(dots - 1) || ".");
      if (base !== null) bases.push(base);
    } else {
      bases.push(this.#root, joinPath(this.#root, "src"), folderOf(from));
    }
    for (const base of bases) {
      const target = [base, ...parts].filter((p) => p !== "").join("/");
      const found: string[] = [];
      for (const name of names.split(",").filter((n) => n !== "")) {
        const child = joinPath(target, name);
        found.push(...(this.#first([`${child}.py`, `${child}.pyi`, `${child}/__init__.py`]) ?? []));
      }
      found.push(...(this.#first([`${target}.py`, `${target}.pyi`, joinPath(target, "__init__.py")]) ?? []));
      if (found.length > 0) return found;
    }
    return [];
  }

  /** The file whose path ends in `suffix`: the one sharing the longest folder prefix with `from`. */
  #suffix(suffix: string, from: string): string[] {
    const clean = suffix.replace(/^(?:\.{1,2}\/)+/, "");
    const matches = (this.#byName.get(baseName(clean)) ?? []).filter(
      (p) => p === clean || p.endsWith(`/${clean}`),
    );
    let best: string | null = null;
    for (const path of matches) {
      if (best === null || sharedPrefix(path, from) > sharedPrefix(best, from)) best = path;
    }
    return best === null ? [] : [best];
  }

  #java(from: string, specifier: string): string[] {
    const extension = /\.[^.]+$/.exec(from)![0];
    const parts = specifier.split(".");
    if (parts.at(-1) === "*") {
      const folder = parts.slice(0, -1).join("/");
      for (const [candidate, files] of this.#byFolder) {
        if (candidate === folder || candidate.endsWith(`/${folder}`))
          return files.filter((f) => f.endsWith(extension));
      }
      parts.pop();
    }
    // `import static a.B.member` and nested classes name more than the file.
    for (let length = parts.length; length >= 2; length--) {
      const found = this.#suffix(parts.slice(0, length).join("/") + extension, from);
      if (found.length > 0) return found;
    }
    return [];
  }

  #go(specifier: string): string[] {
    const sources = (folder: string) =>
      (this.#byFolder.get(folder) ?? []).filter((f) => f.endsWith(".go") && !f.endsWith("_test.go"));
    if (this.#goModule !== null) {
      if (specifier === this.#goModule) return sources(this.#root);
      if (!specifier.startsWith(`${this.#goModule}/`)) return [];
      return sources(joinPath(this.#root, specifier.slice(this.#goModule.length + 1)));
    }
    const parts = specifier.split("/");
    // Without go.mod only host names tell a module path from the standard library.
    const host = parts[0].includes(".");
    for (let skip = host ? 1 : 0; skip < (host ? parts.length : 1); skip++) {
      const found = sources(joinPath(this.#root, parts.slice(skip).join("/")));
      if (found.length > 0) return found;
    }
    return [];
  }

  #rust(from: string, specifier: string): string[] {
    const stem = baseName(from).replace(/\.rs$/, "");
    const own = folderOf(from);
    const isFolderModule = stem === "mod" || stem === "lib" || stem === "main";
    const children = isFolderModule ? own : joinPath(own, stem);
    const parts = specifier.split("::");
    let base: string;
    if (parts[0] === "mod" || parts[0] === "self") {
      base = children;
    } else if (parts[0] === "crate") {
      const at = `/${from}`.lastIndexOf("/src/");
      base = at < 0 ? this.#root : from.slice(0, at + 3);
    } else {
      let ups = 0;
      while (parts[ups] === "super") ups++;
      base = children;
      for (let i = 0; i < ups; i++) base = folderOf(base);
      parts.splice(0, ups - 1);
    }
    const names = parts.slice(1);
    for (let length = names.length; length >= 1; length--) {
      const target = joinPath(base, names.slice(0, length).join("/"));
      const found = this.#first([`${target}.rs`, `${target}/mod.rs`]);
      if (found) return found;
    }
    return [];
  }
}

const PARSERS: Readonly<Record<Language, (text: string) => string[]>> = {
  typescript: (text) => [
    ...matches(text, /(?:\b(?:from|import)|\b(?:require|import)\s*\()\s*["']([^"'\n]+)["']/g),
    ...matches(text, /^\/\/\/\s*<reference\s+path\s*=\s*["']([^"'\n]+)["']/gm).map((p) =>
      /^[./]/.test(p) ? p : `./${p}`,
    ),
  ],
  python: parsePython,
  c: (text) => matches(text, /^[ \t]*#[ \t]*(?:include|import)[ \t]*[<"]([^>"\n]+)[>"]/gm),
  java: (text) => matches(text, /^[ \t]*import\s+(?:static\s+)?(\w+(?:\.\w+)*(?:\.\*)?)/gm),
  go: (text) => {
    const found = matches(text, /^[ \t]*import[ \t]+(?:[\w.]+[ \t]+)?["`]([^"`\n]+)["`]/gm);
    for (const block of matches(text, /^[ \t]*import[ \t]*\(([^)]*)\)/gm))
      found.push(...matches(block, /["`]([^"`\n]+)["`]/g));
    return found;
  },
  rust: (text) => [
    ...matches(text, /^[ \t]*(?:pub(?:\([^)]*\))?[ \t]+)?mod[ \t]+(\w+)[ \t]*;/gm).map(
      (name) => `mod::${name}`,
    ),
    ...matches(text, /^[ \t]*(?:pub(?:\([^)]*\))?[ \t]+)?use\s+((?:crate|self|super)::[^;]+);/gm).flatMap(
      expandUse,
    ),
  ],
};

function parsePython(text: string): string[] {
  const found: string[] = [];
  const statement =
    /^[ \t]*(?:from[ \t]+(\.*[\w.]*)[ \t]+import[ \t]+(?:\(([^)]*)\)|([^\n#;]+))|import[ \t]+([^\n#;]+))/gm;
  for (const match of text.matchAll(statement)) {
    const [, module, inParentheses, inLine, plain] = match;
    const names = (list: string) =>
      list
        .replace(/#[^\n]*/g, "")
        .split(",")
        .map((item) => item.trim().split(/\s+/)[0])
        .filter((name) => /^[\w.]+$/.test(name));
    if (plain !== undefined) found.push(...names(plain));
    else if (module !== "") found.push(`${module}:${names(inParentheses ?? inLine ?? "").join(",")}`);
  }
  return found;
}

/** Expands `a::{b, c::{d, e}}` to its paths. */
function expandUse(tree: string): string[] {
  const clean = tree.replace(/\s+as\s+\w+/g, "").replace(/\s+/g, "");
  const open = clean.indexOf("{");
  if (open < 0) return [clean];
  const prefix = clean.slice(0, open);
  const items: string[] = [];
  let depth = 0;
  let start = open + 1;
  for (let i = open; i < clean.length; i++) {
    const c = clean[i];
    if (c === "{") depth++;
    else if (c === "}") depth--;
    if ((c === "," && depth === 1) || (c === "}" && depth === 0)) {
      if (i > start) items.push(...expandUse(clean.slice(start, i)));
      start = i + 1;
      if (depth === 0) break;
    }
  }
  return items.map((item) => (item === "self" ? prefix.replace(/::$/, "") : prefix + item));
}

function matches(text: string, pattern: RegExp): string[] {
  return [...text.matchAll(pattern)].map((m) => m[1]);
}

/** Joins and normalizes; null if the path leaves the corpus. */
function joinPaths(folder: string, target: string): string | null {
  const out: string[] = [];
  const all = target.startsWith("/") ? target : joinPath(folder, target);
  for (const part of all.split("/")) {
    if (part === "" || part === ".") continue;
    if (part !== "..") out.push(part);
    else if (out.pop() === undefined) return null;
  }
  return out.join("/");
}

function joinPath(folder: string, name: string): string {
  return folder === "" ? name : name === "" ? folder : `${folder}/${name}`;
}

function sharedPrefix(a: string, b: string): number {
  const x = folderOf(a).split("/");
  const y = folderOf(b).split("/");
  let n = 0;
  while (n < x.length && n < y.length && x[n] === y[n]) n++;
  return n;
}

function push(map: Map<string, string[]>, key: string, value: string): void {
  const list = map.get(key);
  if (list) list.push(value);
  else map.set(key, [value]);
}
