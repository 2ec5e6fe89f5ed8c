import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { TextFile } from "./corpus.ts";
import { ImportResolver, parseImports } from "./imports.ts";
import { groupByProject } from "./project.ts";
import {
  dependencyGraph,
  dependencyOrder,
  pathComment,
  repositoryDocuments,
  topologicalOrder,
  withPathComment,
} from "./repository-order.ts";

/** Files from an object of path to text, and the imports found as "from -> to". */
function edges(texts: Record<string, string>, root = ""): string[] {
  const files = Object.entries(texts).map(([path, text]) => ({ path, text }));
  return dependencyGraph(files, root).flatMap((list, i) =>
    list.map((j) => `${files[i].path} -> ${files[j].path}`),
  );
}

describe("topologicalOrder", () => {
  const graph = fc.integer({ min: 0, max: 12 }).chain((n) =>
    fc.record({
      n: fc.constant(n),
      pairs: fc.array(fc.tuple(fc.nat(Math.max(0, n - 1)), fc.nat(Math.max(0, n - 1))), { maxLength: n * 3 }),
    }),
  );

  it("is a permutation that respects every edge outside cycles", () => {
    fc.assert(
      fc.property(graph, ({ n, pairs }) => {
        const dependencies: number[][] = Array.from({ length: n }, () => []);
        if (n > 0) for (const [a, b] of pairs) dependencies[a].push(b);
        const order = topologicalOrder(n, dependencies);
        expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: n }, (_, i) => i));
        const place = new Map(order.map((node, i) => [node, i]));
        // Warshall's closure: an edge lies on a cycle exactly if its target reaches its source.
        const reach = dependencies.map((list) => Array.from({ length: n }, (_, j) => list.includes(j)));
        for (let k = 0; k < n; k++)
          for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) reach[i][j] ||= reach[i][k] && reach[k][j];
        dependencies.forEach((list, a) => {
          for (const b of list) if (!reach[b][a]) expect(place.get(b)!).toBeLessThan(place.get(a)!);
        });
      }),
      { numRuns: 500 },
    );
  });

  it("breaks a cycle at the node with the fewest imports inside it", () => {
    // 0 imports 1 and 2, 1 imports 0 and 2, 2 imports 0: node 2 goes first.
    expect(topologicalOrder(3, [[1, 2], [0, 2], [0]])).toEqual([2, 0, 1]);
    expect(topologicalOrder(2, [[1], [0]])).toEqual([0, 1]);
    expect(topologicalOrder(2, [[0], [1, 1]])).toEqual([0, 1]);
  });

  it("manages long chains without recursion", () => {
    const n = 20000;
    const order = topologicalOrder(
      n,
      Array.from({ length: n }, (_, i) => (i + 1 < n ? [i + 1] : [])),
    );
    expect(order[0]).toBe(n - 1);
    expect(order[n - 1]).toBe(0);
  });
});

describe("imports", () => {
  it("TypeScript and JavaScript", () => {
    const found = edges({
      "src/a.ts": [
        'import type { B } from "./b.ts";',
        'export * from "./lib";',
        'const c = require("../c");',
        'const d = await import("./d.js");',
        '/// <reference path="types.d.ts" />',
        'import "./side.css";',
        'import fs from "node:fs"; import x from "left-pad"; import y from "./missing.js";',
        "import {\n  e,\n} from './e.mjs';",
      ].join("\n"),
      "src/b.ts": "",
      "src/lib/index.ts": "",
      "c.js": "",
      "src/d.ts": "",
      "src/types.d.ts": "",
      "src/side.css": "",
      "src/e.d.mts": "",
    });
    const targets = [
      "src/b.ts",
      "src/lib/index.ts",
      "c.js",
      "src/d.ts",
      "src/side.css",
      "src/e.d.mts",
      "src/types.d.ts",
    ];
    expect(found.sort()).toEqual(targets.map((t) => `src/a.ts -> ${t}`).sort());
  });

  it("Python", () => {
    const found = edges({
      "pkg/a.py":
        "from .b import (x,  # note\n  y)\nfrom . import c\nfrom ..top import z\nimport pkg.d, os as o\nfrom pkg.sub import e",
      "pkg/__init__.py": "",
      "pkg/b.py": "",
      "pkg/c.py": "",
      "pkg/d.py": "",
      "pkg/sub/__init__.py": "",
      "pkg/sub/e.py": "",
      "top.py": "",
    });
    const targets = [
      "pkg/b.py",
      "pkg/c.py",
      "pkg/__init__.py",
      "top.py",
      "pkg/d.py",
      "pkg/sub/e.py",
      "pkg/sub/__init__.py",
    ];
    expect(found.sort()).toEqual(targets.map((t) => `pkg/a.py -> ${t}`).sort());
    expect(edges({ "app/src/m/x.py": "import m.y", "app/src/m/y.py": "" }, "app")).toEqual([
      "app/src/m/x.py -> app/src/m/y.py",
    ]);
  });

  it("C and C++", () => {
    expect(
      edges({
        "src/a.c": '#include "a.h"\n# include <lib/b.hpp>\n#include <stdio.h>\n',
        "src/a.h": "",
        "include/lib/b.hpp": "",
        "other/a.h": "",
      }),
    ).toEqual(["src/a.c -> src/a.h", "src/a.c -> include/lib/b.hpp"]);
  });

  it("Java", () => {
    expect(
      edges({
        "src/main/java/a/A.java":
          "import a.b.B;\nimport static a.c.C.member;\nimport a.d.*;\nimport java.util.List;\n",
        "src/main/java/a/b/B.java": "",
        "src/main/java/a/c/C.java": "",
        "src/main/java/a/d/D.java": "",
        "src/main/java/a/d/E.java": "",
      }).map((e) => e.split("-> ")[1].slice(16)),
    ).toEqual(["b/B.java", "c/C.java", "d/D.java", "d/E.java"]);
  });

  it("Go, with and without go.mod", () => {
    const texts = {
      "main.go": 'import (\n  "fmt"\n  u "example.com/app/util"\n)\nimport "encoding/json"\n',
      "util/u.go": "",
      "util/u_test.go": "",
      "json/j.go": "",
    };
    expect(edges(texts)).toEqual(["main.go -> util/u.go"]);
    expect(edges({ ...texts, "go.mod": "module example.com/app\n" })).toEqual(["main.go -> util/u.go"]);
    expect(edges({ ...texts, "go.mod": "module example.com/other\n" })).toEqual([]);
  });

  it("Rust", () => {
    const found = edges({
      "src/lib.rs": "pub mod a;\nmod b;\nuse crate::b::{c::{self, D}, e};\n",
      "src/a.rs": "use super::b::c::D;\nmod inner;",
      "src/a/inner.rs": "",
      "src/b/mod.rs": "",
      "src/b/c.rs": "",
      "src/b/e.rs": "use std::io;",
    });
    expect(found.sort()).toEqual([
      "src/a.rs -> src/a/inner.rs",
      "src/a.rs -> src/b/c.rs",
      "src/lib.rs -> src/a.rs",
      "src/lib.rs -> src/b/c.rs",
      "src/lib.rs -> src/b/e.rs",
      "src/lib.rs -> src/b/mod.rs",
    ]);
  });

  it("leaves other languages and paths out of the corpus alone", () => {
    expect(parseImports("a.md", 'import "./x"')).toEqual([]);
    expect(new ImportResolver(["a.ts"]).resolve("a.ts", "../../a")).toEqual([]);
    expect(new ImportResolver(["a.ts"]).resolve("a.ts", "./a")).toEqual([]);
  });
});

describe("repositories", () => {
  const files: TextFile[] = [
    { path: "one/src/z.ts", text: "" },
    { path: "one/src/a.ts", text: 'import "./z.ts";' },
    { path: "two/b.ts", text: "#!/usr/bin/env node\nrun();\n" },
    { path: "node_modules/@s/p/index.ts", text: "" },
    { path: "node_modules/q/x/y.ts", text: "" },
  ];

  it("orders by imports, whatever the input order", () => {
    const expected = [
      "node_modules/@s/p/index.ts",
      "node_modules/q/x/y.ts",
      "one/src/z.ts",
      "one/src/a.ts",
      "two/b.ts",
    ];
    expect(repositoryDocuments(files).map((f) => f.path)).toEqual(expected);
    expect(repositoryDocuments([...files].reverse()).map((f) => f.path)).toEqual(expected);
    expect(dependencyOrder([]).length).toBe(0);
  });

  it("groups by nearest manifest, package folder, or top folder", () => {
    const items = [
      "r/package.json",
      "r/a.ts",
      "r/k/pyproject.toml",
      "r/k/s/b.py",
      "r/node_modules/q/c.ts",
      "t/u/d.ts",
      "e.ts",
    ];
    const groups = groupByProject(items.map((path) => ({ path })));
    expect(groups.map((g) => [g.project, g.items.length])).toEqual([
      ["", 1],
      ["r", 2],
      ["r/k", 2],
      ["r/node_modules/q", 1],
      ["t", 1],
    ]);
    expect(groupByProject([{ path: "t/u/d.ts" }], ["t/u/package.json"])[0].project).toBe("t/u");
    expect(groupByProject([{ path: "t/u/d.ts" }], ["package.json"])[0].project).toBe("");
  });

  it("adds path comments and joins projects", () => {
    const documents = repositoryDocuments(files, { pathComment: true, join: "project" });
    expect(documents.find((d) => d.path === "one")!.text).toBe(
      '// src/z.ts\n\n// src/a.ts\nimport "./z.ts";\n',
    );
    expect(documents.find((d) => d.path === "two")!.text).toBe("#!/usr/bin/env node\n// b.ts\nrun();\n");
    expect(pathComment("a/b.py")).toBe("# a/b.py");
    expect(pathComment("a.sql")).toBe("-- a.sql");
    expect(pathComment("a.css")).toBe("/* a.css */");
    expect(pathComment("a.html")).toBe("<!-- a.html -->");
    expect(pathComment("a.json")).toBeNull();
    expect(withPathComment("a.json", "{}")).toBe("{}");
  });
});
