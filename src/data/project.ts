/**
 * Groups files by the project they belong to: the nearest folder with a manifest (package.json, pyproject.toml,
 * Cargo.toml, go.mod ...), else the package folder under `node_modules`, else the top-level folder.
 */

import { baseName, comparePaths, folderOf } from "./corpus.ts";

/** File names that mark the root of a project. */
export const PROJECT_MARKERS: ReadonlySet<string> = new Set([
  "package.json",
  "pyproject.toml",
  "setup.py",
  "Cargo.toml",
  "go.mod",
  "pom.xml",
  "build.gradle",
  "build.gradle.kts",
  "CMakeLists.txt",
  "lakefile.lean",
  "lakefile.toml",
]);

/**
 * Returns a function from path to project root ("" = corpus root). `manifests` are paths of manifest files, which
 * need not be part of the corpus themselves.
 */
export function projectFinder(manifests: Iterable<string>): (path: string) => string {
  const roots = new Set<string>();
  for (const path of manifests) if (PROJECT_MARKERS.has(baseName(path))) roots.add(folderOf(path));
  return (path) => {
    const packageRoot = packageFolder(path);
    for (let folder = folderOf(path); ; folder = folderOf(folder)) {
      // The manifest of the project that installed a package does not own the package's files.
      if (folder === packageRoot || (roots.has(folder) && folder.length > (packageRoot?.length ?? -1)))
        return folder;
      if (folder === "") break;
    }
    const slash = path.indexOf("/");
    return slash < 0 ? "" : path.slice(0, slash);
  };
}

/** Groups items by project; projects and the items of each are sorted by path. */
export function groupByProject<T extends { readonly path: string }>(
  items: readonly T[],
  manifests: Iterable<string> = [],
): { readonly project: string; readonly items: T[] }[] {
  const find = projectFinder([...manifests, ...items.map((item) => item.path)]);
  const groups = new Map<string, T[]>();
  for (const item of [...items].sort((a, b) => comparePaths(a.path, b.path))) {
    const project = find(item.path);
    const group = groups.get(project);
    if (group) group.push(item);
    else groups.set(project, [item]);
  }
  return [...groups]
    .sort(([a], [b]) => comparePaths(a, b))
    .map(([project, members]) => ({ project, items: members }));
}

function packageFolder(path: string): string | null {
  const match = /^((?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(path);
  return match ? match[1] : null;
}
