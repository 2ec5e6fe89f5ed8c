/**
 * Files of a project in dependency order, imports first, as DeepSeek-Coder builds its repository-level data
 * (arXiv 2401.14196, section 2.2 and algorithm 1): edges from the imports, topological order, cycles broken by
 * taking the file with the fewest unmet imports. One refinement: cycles are broken inside their strongly
 * connected component only, so every import that is not part of a cycle is respected.
 */

import { baseName, comparePaths, type TextFile } from "./corpus.ts";
import { ImportResolver, parseImports } from "./imports.ts";
import { groupByProject } from "./project.ts";

/**
 * Orders nodes 0..count-1 so that `dependencies[i]` come before `i`. Cycles are broken at the node with the
 * fewest dependencies inside the cycle, ties by index. Deterministic; self-loops and repetitions are ignored.
 */
export function topologicalOrder(count: number, dependencies: readonly (readonly number[])[]): number[] {
  const order: number[] = [];
  const work: number[][] = [Array.from({ length: count }, (_, i) => i)];
  while (work.length > 0) {
    const nodes = work.pop()!;
    const components = stronglyConnected(nodes, dependencies);
    if (components.length > 1) {
      // Components arrive dependencies first; the stack hands out the last one pushed.
      for (let c = components.length - 1; c >= 0; c--) work.push(components[c]);
      continue;
    }
    const members = components[0] ?? [];
    if (members.length <= 1) {
      order.push(...members);
      continue;
    }
    const inside = new Set(members);
    let best = -1;
    let fewest = Number.POSITIVE_INFINITY;
    for (const node of members) {
      const unmet = new Set(dependencies[node].filter((d) => d !== node && inside.has(d))).size;
      if (unmet < fewest || (unmet === fewest && node < best)) {
        best = node;
        fewest = unmet;
      }
    }
    order.push(best);
    work.push(members.filter((node) => node !== best));
  }
  return order;
}

/** Tarjan's strongly connected components of the subgraph on `nodes`, dependencies first; no recursion. */
function stronglyConnected(
  nodes: readonly number[],
  dependencies: readonly (readonly number[])[],
): number[][] {
  const inside = new Set(nodes);
  const index = new Map<number, number>();
  const low = new Map<number, number>();
  const onStack = new Set<number>();
  const stack: number[] = [];
  const components: number[][] = [];
  const enter = (node: number) => {
    low.set(node, index.size);
    index.set(node, index.size);
    stack.push(node);
    onStack.add(node);
  };
  for (const start of nodes) {
    if (index.has(start)) continue;
    enter(start);
    const calls = [{ node: start, next: 0 }];
    while (calls.length > 0) {
      const call = calls[calls.length - 1];
      const edges = dependencies[call.node];
      if (call.next < edges.length) {
        const target = edges[call.next++];
        if (!inside.has(target)) continue;
        if (!index.has(target)) {
          enter(target);
          calls.push({ node: target, next: 0 });
        } else if (onStack.has(target)) {
          low.set(call.node, Math.min(low.get(call.node)!, index.get(target)!));
        }
        continue;
      }
      calls.pop();
      const parent = calls.at(-1);
      if (parent) low.set(parent.node, Math.min(low.get(parent.node)!, low.get(call.node)!));
      if (low.get(call.node) !== index.get(call.node)) continue;
      const component: number[] = [];
      for (let member = -1; member !== call.node; ) {
        member = stack.pop()!;
        onStack.delete(member);
        component.push(member);
      }
      components.push(component.sort((a, b) => a - b));
    }
  }
  return components;
}

/** For each file, the indices of the files of the same project that it imports. */
export function dependencyGraph(files: readonly TextFile[], root = ""): number[][] {
  const goMod = files.find((file) => baseName(file.path) === "go.mod");
  const goModule = goMod ? (/^\s*module\s+(\S+)/m.exec(goMod.text)?.[1] ?? null) : null;
  const indexOf = new Map(files.map((file, i) => [file.path, i]));
  const resolver = new ImportResolver(indexOf.keys(), root, goModule);
  return files.map((file) => {
    const targets = new Set<number>();
    for (const specifier of parseImports(file.path, file.text)) {
      for (const path of resolver.resolve(file.path, specifier)) targets.add(indexOf.get(path)!);
    }
    return [...targets];
  });
}

/** The files of one project, imports first; independent files keep the order of their paths. */
export function dependencyOrder(files: readonly TextFile[], root = ""): TextFile[] {
  const sorted = [...files].sort((a, b) => comparePaths(a.path, b.path));
  return topologicalOrder(sorted.length, dependencyGraph(sorted, root)).map((i) => sorted[i]);
}

export interface RepositoryOptions {
  /** Paths of manifests that are not among the files (see `FolderCorpus.manifests`). */
  readonly manifests?: Iterable<string>;
  /** Put the path, relative to the project, into a comment on the first line (default false). */
  readonly pathComment?: boolean;
  /** One document per file (default) or one per project, as DeepSeek-Coder concatenates repositories. */
  readonly join?: "file" | "project";
}

/** The files of one project in dependency order, each as it is shown in the training text. */
export function projectFiles(
  files: readonly TextFile[],
  project: string,
  options: { readonly pathComment?: boolean } = {},
): TextFile[] {
  return dependencyOrder(files, project).map((file) =>
    options.pathComment
      ? { path: file.path, text: withPathComment(pathInProject(file.path, project), file.text) }
      : file,
  );
}

/** A path relative to the root of its project. */
export function pathInProject(path: string, project: string): string {
  return project === "" ? path : path.slice(project.length + 1);
}

/** Documents in repository order: projects by path, files of each in dependency order. Holds all texts. */
export function repositoryDocuments(files: readonly TextFile[], options: RepositoryOptions = {}): TextFile[] {
  const documents: TextFile[] = [];
  for (const { project, items } of groupByProject(files, options.manifests)) {
    const ordered = projectFiles(items, project, options);
    if (options.join === "project") {
      const text = ordered
        .map((file) => (file.text.endsWith("\n") ? file.text : `${file.text}\n`))
        .join("\n");
      documents.push({ path: project === "" ? "." : project, text });
    } else {
      for (const file of ordered) documents.push(file);
    }
  }
  return documents;
}

const COMMENTS: readonly [RegExp, string, string][] = [
  [
    /\.(?:[cm]?[jt]sx?|c|cc|cpp|cxx|h|hh|hpp|hxx|cu|cuh|m|mm|java|kt|kts|scala|go|rs|swift|cs|fs|dart|zig|d)$/i,
    "// ",
    "",
  ],
  [/\.(?:php|proto|wgsl|glsl|scss|less|v|sv)$/i, "// ", ""],
  [
    /\.(?:pyi?|rb|pl|pm|r|jl|sh|bash|zsh|ps1|ya?ml|toml|cmake|nim|exs?|graphql|mk)$|(?:^|\/)(?:Makefile|Dockerfile)$/i,
    "# ",
    "",
  ],
  [/\.(?:sql|lua|hs|lean|vhd)$/i, "-- ", ""],
  [/\.(?:css)$/i, "/* ", " */"],
  [/\.(?:html?|xml|xslt?|vue|svelte|md|markdown|mdx)$/i, "<!-- ", " -->"],
  [/\.(?:mli?)$/i, "(* ", " *)"],
  [/\.(?:tex|erl)$/i, "% ", ""],
  [/\.(?:clj|lisp|el|scm)$/i, "; ", ""],
];

/** The path as a comment of the file's language, or null if the language has no comments. */
export function pathComment(path: string): string | null {
  const style = COMMENTS.find(([pattern]) => pattern.test(path));
  return style ? style[1] + path + style[2] : null;
}

/** The text with its path as a comment on the first line (the second after `#!`). */
export function withPathComment(path: string, text: string): string {
  const comment = pathComment(path);
  if (comment === null) return text;
  if (!/^#!|^<\?(?:xml|php)/.test(text)) return `${comment}\n${text}`;
  const end = text.indexOf("\n");
  return end < 0 ? `${text}\n${comment}` : `${text.slice(0, end + 1)}${comment}\n${text.slice(end + 1)}`;
}
