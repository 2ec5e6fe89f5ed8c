import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { collect } from "./corpus.ts";
import { folderCorpus } from "./node-files.ts";
import { leftOutText, type SelectOptions } from "./select.ts";

const code = "export const value = compute(first, second);\n".repeat(5);
let root = "";

async function put(path: string, content: string | Uint8Array = code): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true });
  await writeFile(join(root, path), content);
}

async function paths(options: SelectOptions = {}, folder = ""): Promise<string[]> {
  return (await collect(await folderCorpus(join(root, folder), options))).map((f) => f.path);
}

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "select-"));
});
afterEach(() => rm(root, { recursive: true, force: true }));

describe("folderCorpus", () => {
  it("lists in a fixed order and drops what is not text", async () => {
    await put("b.ts");
    await put("a/z.ts");
    await put("a/A.ts");
    await put("bin.ts", new Uint8Array([65, 0, 66]));
    await put("latin.ts", new Uint8Array([99, 97, 102, 0xe9, 10]));
    await put("bom.ts", `\ufeff${code}`);
    await put("image.png");
    await put(".git/hook.ts");
    await put("package.json", "{}");
    const corpus = await folderCorpus(root);
    const files = await collect(corpus);
    expect(files.map((f) => f.path)).toEqual(["a/A.ts", "a/z.ts", "b.ts", "bom.ts"]);
    expect(files[3].text).toBe(code);
    const dropped = { extension: 1, ignoredFolder: 1, binary: 2, dataSize: 1 };
    expect(corpus.report).toMatchObject({ seen: 8, kept: 4, dropped });
    expect(corpus.manifests).toEqual(["package.json"]);
    // A second pass gives the same and counts afresh.
    expect(await collect(corpus)).toEqual(files);
    expect(corpus.report.dropped).toEqual(dropped);
  });

  it("honors root and nested ignore files, negation, and the enclosing repository's", async () => {
    await put(".gitignore", "*.gen.ts\nsecret/\n!secret/kept.ts\n");
    await put("a.gen.ts");
    await put("secret/kept.ts");
    await put("pkg/.gitignore", "!b.gen.ts\n/top.ts\n");
    await put("pkg/b.gen.ts");
    await put("pkg/top.ts");
    await put("pkg/sub/top.ts");
    await put("x.ts");
    expect(await paths()).toEqual(["pkg/b.gen.ts", "pkg/sub/top.ts", "x.ts"]);
    expect(await paths({ gitignore: false })).toContain("secret/kept.ts");
    expect(await paths({ ignore: ["/pkg/"] })).toEqual(["x.ts"]);
    await mkdir(join(root, ".git"));
    await put("pkg/c.gen.ts");
    expect(await paths({}, "pkg")).toEqual(["b.gen.ts", "sub/top.ts"]);
    expect(await paths({ ignore: ["sub"] }, "pkg")).toEqual(["b.gen.ts"]);
  });

  it("enters node_modules as root or on request only, with its build folders", async () => {
    await put(".gitignore", "node_modules\ndist\n");
    await put("src/a.ts");
    await put("dist/a.ts");
    await put("node_modules/p/dist/index.d.ts");
    await put("node_modules/p/.gitignore", "dist\n");
    await put("node_modules/p/node_modules/q/index.d.ts");
    expect(await paths()).toEqual(["src/a.ts"]);
    const inside = ["p/dist/index.d.ts", "p/node_modules/q/index.d.ts"];
    expect(await paths({ includeNodeModules: true })).toEqual([
      ...inside.map((p) => `node_modules/${p}`),
      "src/a.ts",
    ]);
    expect(await paths({}, "node_modules")).toEqual(inside);
    expect(await paths({}, "node_modules/p")).toEqual(inside.map((p) => p.slice(2)));
  });

  it("survives symbolic link loops and reads each folder once", async () => {
    await put("a/x.ts");
    await symlink(root, join(root, "a/loop"));
    await symlink(join(root, "a"), join(root, "b"));
    await symlink(join(root, "missing"), join(root, "broken.ts"));
    await symlink(join(root, "a/x.ts"), join(root, "link.ts"));
    expect(await paths()).toEqual(["a/x.ts"]);
    expect(await paths({ followSymlinks: true })).toEqual(["a/x.ts", "link.ts"]);
  });

  it("caps by size and bytes, and samples reproducibly", async () => {
    for (let i = 0; i < 20; i++) await put(`f${String(i).padStart(2, "0")}.ts`, `${code}// ${i}\n`);
    await put("huge.ts", code.repeat(100));
    const small = { maxFileBytes: 1000, maxBytes: 5 * (code.length + 6) };
    expect(await paths(small)).toEqual(["f00.ts", "f01.ts", "f02.ts", "f03.ts", "f04.ts"]);
    const sampled = await paths({ ...small, sampleSeed: 1 });
    expect(sampled).toHaveLength(5);
    expect(sampled).toEqual(await paths({ ...small, sampleSeed: 1 }));
    expect(sampled).not.toEqual(await paths({ ...small, sampleSeed: 2 }));
    const corpus = await folderCorpus(root, small);
    await collect(corpus);
    expect(corpus.report.dropped).toEqual({ tooLarge: 1, cap: 15 });
  });

  it("reads a text again, or says that it is gone", async () => {
    for (const name of ["a", "b", "c", "d", "e"]) await put(`${name}.ts`, `\ufeff${code}`);
    const corpus = await folderCorpus(root, { maxFileBytes: 2 * code.length });
    expect(await collect(corpus)).toHaveLength(5);
    await put("a.ts", `${code}// more\n`);
    await rm(join(root, "b.ts"));
    await put("c.ts", code.repeat(3));
    await put("d.ts", new Uint8Array([65, 0, 66]));
    const again = await Promise.all(["a", "b", "c", "d", "e"].map((name) => corpus.read(`${name}.ts`)));
    expect(again).toEqual([`${code}// more\n`, null, null, null, code]);
    expect((await collect(corpus)).map((f) => f.path)).toEqual(["a.ts", "e.ts"]);
    expect(corpus.report.dropped).toEqual({ vanished: 2, binary: 1 });
  });

  it("takes a single file and refuses a missing root", async () => {
    await put("a.ts");
    expect(await paths({}, "a.ts")).toEqual(["a.ts"]);
    // Rules are for what is found, not for what is named.
    await put("one.json", "[1, 2]");
    expect(await paths({}, "one.json")).toEqual(["one.json"]);
    expect(await paths({ filters: { dataSize: true } }, "one.json")).toEqual([]);
    await put(".env", code);
    expect(await paths({}, ".env")).toEqual([".env"]);
    await expect(folderCorpus(join(root, "nowhere"))).rejects.toThrow(
      /nowhere: no such folder or file\. Pass/,
    );
  });

  it("reads long text in sections, and code only up to a limit that can be set", async () => {
    const line = (i: number) => `line ${i} of a long text, such as a book or a dump of an encyclopedia\n`;
    const lines = Array.from({ length: 150_000 }, (_, i) => line(i));
    const text = lines.join("");
    await put("input.txt", text);
    await put("input.ts", text);
    await put("short.txt", line(0));
    const corpus = await folderCorpus(root, { extensions: ["txt", "ts"] });
    const files = await collect(corpus);
    const count = Math.ceil(text.length / 2 ** 22);
    expect(count).toBeGreaterThan(2);
    const names = Array.from({ length: count }, (_, i) => `input.txt#part-0000${i}`);
    expect(files.map((f) => f.path)).toEqual([...names, "short.txt"]);
    expect(files.slice(0, -1).map((f) => f.section)).toEqual(
      names.map((_, index) => ({ file: "input.txt", index })),
    );
    const parts = files.slice(0, -1).map((f) => f.text);
    expect(parts.join("") === text).toBe(true);
    for (const part of parts) expect(part.startsWith("line ") && part.endsWith("\n")).toBe(true);
    expect((await corpus.read(names[1])) === parts[1]).toBe(true);
    expect(corpus.report).toMatchObject({ seen: 3, kept: 2, dropped: { tooLarge: 1 } });
    expect(leftOutText(corpus.report)).toBe("1 too large (data.maxFileBytes)");

    expect(await paths({ extensions: ["ts"], maxFileBytes: 1e9 })).toHaveLength(count);
    // As the command line asks, with a setting that is not given.
    expect(await paths({ maxFileBytes: undefined }, "input.ts")).toHaveLength(count);
    expect(await paths({ extensions: ["txt"], maxFileBytes: 1e6 })).toEqual(["short.txt"]);
    // A limit of the whole corpus below the file's size takes some of it.
    const some = await collect(await folderCorpus(root, { extensions: ["txt"], maxBytes: 1e6 }));
    expect(some.length).toBeGreaterThan(5);
    await writeFile(join(root, "input.txt"), lines.slice(0, 100).join(""));
    expect(await corpus.read(names[2])).not.toBe(parts[2]);
  });

  it.skipIf(process.platform !== "linux")("skips and counts names that are not UTF-8", async () => {
    await put("a.ts");
    await put("\ufffd.ts");
    await writeFile(Buffer.from(`${root}/caf\xe9.ts`, "latin1"), code);
    await mkdir(Buffer.from(`${root}/\xe9`, "latin1"));
    const corpus = await folderCorpus(root);
    expect((await collect(corpus)).map((f) => f.path)).toEqual(["a.ts", "\ufffd.ts"]);
    expect(corpus.report.dropped).toEqual({ fileName: 2 });
    expect(leftOutText(corpus.report)).toBe("2 whose name is not UTF-8");
  });

  it("leaves out runs, models, dot files and secrets unless they are named", async () => {
    const key = `-----BEGIN PRIVATE KEY-----\n${"MIIEvQIBADANBgkqhkiG9w0BAQEFAASC".repeat(3)}\n-----END`;
    await put("src/a.ts");
    await put("src/runs/b.ts");
    await put("src/credentials.ts");
    await put("src/parser.ts", `${code}const begin = "-----BEGIN PRIVATE KEY-----";\n`);
    await put("src/key.ts", `${code}const key = \`${key}\`;\n`);
    await put("src/escaped.ts", `${code}const key = "${key.replaceAll("\n", "\\n")}";\n`);
    await put("runs/demo-1/notes.ts");
    await put("old/run.json", '{"folder":"x","seed":1,"vocabSize":9,"model":{},"data":{},"training":{}}');
    await put("old/x.ts");
    await put("other/run.json", '{"folder": "x"}');
    await put("other/x.ts");
    await put("model/.deepseek-ts.json", "{}");
    await put("model/tokenizer.ts");
    await put("half.tmp-1-00000000-00000000/x.ts");
    await put(".github/ci.ts");
    await put(".github/deep/er.ts");
    await put(".eslintrc.ts");
    const secrets = [
      ".env",
      ".env.local",
      "prod.env",
      "id_rsa",
      "server.pem",
      "x.key",
      "credentials.json",
      ".npmrc",
    ];
    for (const name of secrets) await put(`conf/${name}`);

    const all = { extensions: "all" as const, filters: { dataSize: false } };
    const corpus = await folderCorpus(root, all);
    const kept = [
      "other/run.json",
      "other/x.ts",
      "src/a.ts",
      "src/credentials.ts",
      "src/parser.ts",
      "src/runs/b.ts",
    ];
    expect((await collect(corpus)).map((f) => f.path)).toEqual(kept);
    expect(corpus.report.dropped).toEqual({ secret: secrets.length + 2, dotFile: 2, run: 4 });
    expect(leftOutText(corpus.report)).toBe(
      "2 whose name begins with a dot, 4 that hold runs or models of this program, 10 that look like secrets",
    );
    const include = ["./conf/.env", ".github/deep/", "runs", "old", "src/key.ts", "model/tokenizer.ts"];
    expect(await paths({ ...all, include })).toEqual(
      [
        ...[...kept, "conf/.env", ".github/deep/er.ts", "runs/demo-1/notes.ts", "old/run.json", "old/x.ts"],
        ...["src/key.ts", "model/tokenizer.ts"],
      ].sort(),
    );
    // A root folder that is named explicitly is read.
    expect(await paths(all, "old")).toEqual(["run.json", "x.ts"]);
    expect(await paths(all, ".github")).toEqual(["ci.ts", "deep/er.ts"]);
  });

  it("reads what pnpm installed, whose folder begins with a dot", async () => {
    await put("node_modules/.pnpm/p@1/node_modules/p/index.d.ts");
    await put("node_modules/.bin/x.ts");
    expect(await paths({ includeNodeModules: true })).toEqual([
      "node_modules/.pnpm/p@1/node_modules/p/index.d.ts",
    ]);
  });
});
