/** Orders of files that arms differ in, and the lines that are asked across files. */
import { describe, expect, it } from "vitest";
import { crossFilePlaces } from "./cross-file.ts";
import { inOrder, pathOf } from "./repository.ts";

const file = (path: string, ...lines: string[]) => ({ path, text: `${lines.join("\n")}\n` });
const project = (name: string) => [
  file(
    `${name}/a.js`,
    'import { second } from "./b.js";',
    "",
    "// second",
    "export const first = second(1);",
  ),
  file(`${name}/b.js`, 'import third from "./c.js";', "export const second = (x) => third + x;"),
  // A cycle, which must not end the order.
  file(`${name}/c.js`, 'import { first } from "./a.js";', "export default () => first;"),
  file(`${name}/d.js`, "export const alone = 4;"),
];
const files = [...project("one"), ...project("two"), ...project("three")];
const paths = (order: Parameters<typeof inOrder>[1], seed = 1) =>
  inOrder(files, order, seed).map(({ path }) => path);
const projectsOf = (all: readonly string[]) => all.map((path) => path.split("/")[0]);
/** How often the project changes from one file to the next. */
const changes = (all: readonly string[]) =>
  projectsOf(all).filter((each, i, whole) => i > 0 && each !== whole[i - 1]).length;

describe("orders of files", () => {
  it("hold the same files, projects together but where all are mixed", () => {
    for (const order of ["dependencies", "random", "mixed"] as const) {
      expect([...paths(order)].sort()).toEqual(files.map(({ path }) => path).sort());
      expect(paths(order)).not.toEqual(paths(order, 2));
    }
    expect(changes(paths("dependencies"))).toBe(2);
    expect(changes(paths("random"))).toBe(2);
    expect(changes(paths("mixed"))).toBeGreaterThan(2);
    // Projects come in one order of the seed's in both.
    expect(projectsOf(paths("random"))).toEqual(projectsOf(paths("dependencies")));
  });

  it("put imports first, a cycle broken once", () => {
    const order = paths("dependencies");
    const at = (path: string) => order.indexOf(path);
    for (const name of ["one", "two", "three"]) {
      const [a, b, c] = ["a", "b", "c"].map((each) => at(`${name}/${each}.js`));
      expect([a > b, b > c, c > a].filter(Boolean)).toHaveLength(2);
    }
  });
});

describe("lines across files", () => {
  it("are those behind imports and comments that use an imported name", () => {
    const places = crossFilePlaces(project("one"), 10);
    expect(places.map(({ path }) => path).sort()).toEqual(["one/a.js", "one/b.js", "one/c.js"]);
    for (const { path, needed, other, prefix, line } of places) {
      const { text } = files.find((each) => each.path === path)!;
      expect(text.startsWith(`${prefix}${line}\n`)).toBe(true);
      expect(other).not.toBe(path);
      expect(other).not.toBe(needed);
    }
    const first = places.find(({ path }) => path === "one/a.js")!;
    expect(first).toMatchObject({ needed: "one/b.js", line: "export const first = second(1);" });
    expect(crossFilePlaces(project("one").slice(3), 10)).toEqual([]);
  });

  it("paths come back from the first line", () => {
    expect(pathOf("// one/a.js\nimport x")).toBe("one/a.js");
    expect(pathOf("import x")).toBeNull();
  });
});
