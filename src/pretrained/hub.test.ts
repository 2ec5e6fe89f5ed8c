/** Downloads from a hub on this machine: what is fetched, continued, verified, refused, and how the cache looks. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openCheckpoint } from "../checkpoint/folder.ts";
import { torchFile } from "../checkpoint/pytorch/testing.ts";
import { ConfigError, FormatError } from "../tensor/errors.ts";
import { Random } from "../tensor/random.ts";
import { type DownloadOptions, type DownloadProgress, downloadModel } from "./hub.ts";
import { parseHubName } from "./hub-name.ts";
import { hubSettings } from "./hub-settings.ts";
import { hubTree } from "./hub-tree.ts";
import { gitBlobId, sha256, TestingHub } from "./testing-hub.ts";

const text = (value: string) => new TextEncoder().encode(value);
const commit = "0123456789abcdef0123456789abcdef01234567";
const random = new Random(5);
const noise = (size: number) => Uint8Array.from({ length: size }, () => random.int(256));

let hub: TestingHub;
let cacheDir: string;
const weights = noise(300_000);
const single = () =>
  new Map([
    ["README.md", text("# read me")],
    ["config.json", text('{"model_type":"llama"}')],
    ["generation_config.json", text("{}")],
    ["tokenizer.json", noise(2000)],
    ["tokenizer_config.json", text('{"a":1}')],
    ["model.safetensors", weights],
    ["pytorch_model.bin", noise(500)],
    ["original/consolidated.safetensors", noise(500)],
  ]);

beforeEach(async () => {
  hub = await TestingHub.start();
  hub.repos.set("org/model", { commit, files: single() });
  cacheDir = await mkdtemp(join(tmpdir(), "hub-cache-"));
});
afterEach(async () => {
  await hub[Symbol.asyncDispose]();
  await rm(cacheDir, { recursive: true, force: true });
});

const get = (name = "org/model", options: DownloadOptions = {}) =>
  downloadModel(name, {
    ...{ endpoint: hub.endpoint, cacheDir, token: null, offline: false, retryDelay: 5 },
    ...options,
  });
const failure = async (promise: Promise<unknown>): Promise<Error> => {
  const error = await promise.then(
    () => null,
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(Error);
  return error as Error;
};
/** Compared by hand: the matcher takes seconds. */
const expectWeights = async (path: string) => expect(Buffer.compare(await readFile(path), weights)).toBe(0);
const blobs = () => join(cacheDir, "models--org--model", "blobs");
const incomplete = () => join(blobs(), `${sha256(weights)}.deepseek-ts.incomplete`);

describe("parseHubName", () => {
  it.each([
    ["org/name", { repo: "org/name", revision: "main" }],
    ["deepseek-ai/DeepSeek-V2-Lite@v1.0", { repo: "deepseek-ai/DeepSeek-V2-Lite", revision: "v1.0" }],
    ["a/b@refs/pr/1", { repo: "a/b", revision: "refs/pr/1" }],
    ["name", null],
    ["./a/b", null],
    ["../b", null],
    ["/a/b", null],
    ["a/b/c", null],
    ["a/b@", null],
    ["a/b@../x", null],
    ["a/b@x/../y", null],
    ["a/b--c", null],
    ["a/b.gguf", null],
    ["a/ b", null],
  ])("%s", (name, expected) => expect(parseHubName(name)).toEqual(expected));
});

describe("downloadModel", () => {
  it("fetches what a model needs into the layout of the shared cache", async () => {
    const reports: DownloadProgress[] = [];
    const model = await get("org/model", { onProgress: (progress) => reports.push(progress) });
    const folder = join(cacheDir, "models--org--model", "snapshots", commit);
    const expected = [
      "config.json",
      "generation_config.json",
      "tokenizer.json",
      "tokenizer_config.json",
      "model.safetensors",
    ];
    expect(model).toEqual({
      ...{ repo: "org/model", revision: "main", commit, kind: "safetensors", path: folder },
      ...{ files: expected, fromCache: false },
    });
    expect((await readdir(folder)).sort()).toEqual([...expected].sort());
    await expectWeights(join(folder, "model.safetensors"));
    expect(await readFile(join(cacheDir, "models--org--model", "refs", "main"), "utf8")).toBe(commit);
    expect(await readlink(join(folder, "model.safetensors"))).toBe(
      join("..", "..", "blobs", sha256(weights)),
    );
    const small = hub.repos.get("org/model")!.files.get("config.json")!;
    expect(await readlink(join(folder, "config.json"))).toBe(join("..", "..", "blobs", gitBlobId(small)));
    expect((await readdir(blobs())).every((name) => /^[0-9a-f]+$/.test(name))).toBe(true);
    const last = reports.at(-1)!;
    expect(last).toMatchObject({ filesDone: 5, files: 5, stage: "download" });
    expect(last.done).toBe(last.total);
    expect(last.total).toBe(weights.length + 2000 + 22 + 2 + 7);
    const { scanCacheDir } = await import("@huggingface/hub");
    const scan = await scanCacheDir(cacheDir);
    expect(scan.warnings).toEqual([]);
    expect(scan.repos[0].revisions[0]).toMatchObject({ commitOid: commit, refs: ["main"] });
    // A second call asks for the listing alone.
    const before = hub.seen.length;
    expect(await get()).toEqual(model);
    expect(hub.seen.slice(before).every(({ url }) => url.startsWith("/api/"))).toBe(true);
  });

  it("takes the shards of an index, from a listing in pages", async () => {
    const files = new Map([
      ["config.json", text("{}")],
      ["model.safetensors.index.json", text('{"weight_map":{"a":"s-1.safetensors","b":"s-2.safetensors"}}')],
      ["s-1.safetensors", noise(100)],
      ["s-2.safetensors", noise(10)],
      ["s-3.safetensors", noise(10)],
    ]);
    hub.repos.set("org/model", { commit, files });
    hub.pageSize = 2;
    const model = await get();
    const names = ["config.json", "model.safetensors.index.json", "s-1.safetensors", "s-2.safetensors"];
    expect((await readdir(model.path)).sort()).toEqual(names);
    files.delete("s-2.safetensors");
    hub.repos.set("org/model", { commit: commit.replaceAll("0", "9"), files });
    expect((await failure(get())).message).toMatch(/index names a file.*s-2/);
  });

  it("takes one GGUF file: the only one, or the one asked for", async () => {
    const files = new Map([["a-Q4_0.gguf", noise(50)]]);
    hub.repos.set("org/model", { commit, files });
    const only = await get();
    expect(only).toMatchObject({ kind: "gguf", files: ["a-Q4_0.gguf"] });
    expect(only.path.endsWith("a-Q4_0.gguf")).toBe(true);
    files.set("big/a-Q8_0.gguf", noise(60)).set("mmproj-a.gguf", noise(5));
    expect((await failure(get())).message).toMatch(
      /several GGUF files.*a-Q4_0.gguf, big\/a-Q8_0.gguf.*--file/,
    );
    expect((await get("org/model", { file: "q8_0" })).files).toEqual(["big/a-Q8_0.gguf"]);
    expect((await get("org/model", { file: "a-Q4_0.gguf" })).files).toEqual(["a-Q4_0.gguf"]);
    expect((await failure(get("org/model", { file: "Q5" }))).message).toMatch(/no such GGUF file.*name: Q5/);
    expect((await failure(get("org/model", { file: "a-" }))).message).toMatch(/more than one/);
  });

  it("takes torch's files where there are no safetensors, and nothing else that torch saved", async () => {
    const files = new Map([
      ["config.json", text("{}")],
      ["pytorch_model.bin", noise(50)],
      ["optimizer.pt", noise(60)],
      ["scheduler.pt", noise(60)],
      ["rng_state_0.pth", noise(60)],
      ["training_args.bin", noise(60)],
      ["consolidated.00.pth", noise(60)],
      ["a-Q4_0.gguf", noise(60)],
    ]);
    hub.repos.set("org/model", { commit, files });
    const single = await get();
    expect([single.kind, ...single.files]).toEqual(["pytorch", "config.json", "pytorch_model.bin"]);
    expect((await get("org/model", { file: "Q4_0" })).kind).toBe("gguf");

    files.delete("pytorch_model.bin");
    hub.repos.set("org/shards", { commit, files });
    const shards = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"];
    for (const shard of shards) files.set(shard, noise(70));
    const index = { weight_map: { a: shards[0], b: shards[1], c: shards[0] } };
    files.set("pytorch_model.bin.index.json", text(JSON.stringify(index)));
    const sharded = await get("org/shards");
    expect(sharded.files).toEqual(["config.json", "pytorch_model.bin.index.json", ...shards]);
    expect((await get("org/shards", { offline: true })).files).toEqual(sharded.files);
  });

  it("refuses repositories without weights, and torch's files by name", async () => {
    const files = new Map([["README.md", text("x")]]);
    hub.repos.set("org/model", { commit, files });
    expect((await failure(get())).message).toMatch(/no weights in the repository.*README.md/);
    files.set("optimizer.pt", noise(50));
    expect((await failure(get())).message).toMatch(/no weights in the repository/);
    const named = await failure(get("org/model", { file: "pytorch_model.bin" }));
    expect(named.message).toMatch(/only GGUF files can be selected by name/);
  });

  it.each(["../x.safetensors", "a\\b.safetensors", "C:x"])(
    "lets no path leave the cache: %s",
    async (path) => {
      const index = text(JSON.stringify({ weight_map: { a: path } }));
      const files = new Map([
        ["config.json", text("{}")],
        ["model.safetensors.index.json", index],
        [path, noise(100)],
      ]);
      hub.repos.set("org/model", { commit, files });
      expect(await failure(get())).toBeInstanceOf(FormatError);
    },
  );
});

describe("continuing and verifying", () => {
  it("goes on where the connection was cut, as often as it brings bytes", async () => {
    hub.faults.push({ path: "model.safetensors", kind: "cut", after: 20_000, times: 9 });
    await get("org/model", { attempts: 3 });
    const ranges = hub.contentRequests("model.safetensors").filter(({ host }) => host === "storage");
    expect(ranges).toHaveLength(10);
    expect(ranges[0].range).toBeNull();
    expect(ranges.slice(1).map(({ range }) => Number(/\d+/.exec(range!)![0]))).toEqual(
      [1, 2, 3, 4, 5, 6, 7, 8, 9].map((n) => n * 20_000),
    );
    const folder = join(cacheDir, "models--org--model", "snapshots", commit);
    await expectWeights(join(folder, "model.safetensors"));
  });

  it("keeps what came when it gives up, and the next call continues", async () => {
    hub.faults.push({ path: "model.safetensors", kind: "cut", after: 123_456, times: 1 });
    hub.faults.push({ path: "model.safetensors", kind: "cut", after: 0, times: 99 });
    const error = await failure(get("org/model", { attempts: 2 }));
    expect(error.message).toMatch(
      /model.safetensors: the download stopped.*123456 of 300000 bytes.*to resume/,
    );
    expect((await lstat(incomplete())).size).toBe(123_456);
    expect(existsSync(join(cacheDir, "models--org--model", "refs", "main"))).toBe(false);
    hub.faults.length = 0;
    hub.seen.length = 0;
    await get();
    expect(hub.contentRequests("model.safetensors").map(({ range }) => range)).toEqual([
      "bytes=123456-",
      "bytes=123456-",
    ]);
  });

  it.each(["ignore-range", "wrong-range"] as const)(
    "starts over with a server that does %s",
    async (kind) => {
      await mkdir(blobs(), { recursive: true });
      await writeFile(incomplete(), weights.subarray(0, 1000));
      hub.faults.push({ path: "model.safetensors", kind, times: 1 });
      const model = await get();
      await expectWeights(join(model.path, "model.safetensors"));
    },
  );

  it("drops a left-over longer than the file, takes a whole one without a request", async () => {
    await mkdir(blobs(), { recursive: true });
    await writeFile(incomplete(), noise(weights.length + 1));
    await get();
    await rm(join(blobs(), sha256(weights)));
    await writeFile(incomplete(), weights);
    hub.seen.length = 0;
    await get();
    expect(hub.contentRequests("model.safetensors")).toEqual([]);
  });

  it.each(["model.safetensors", "config.json"])("deletes a damaged %s and says what to do", async (path) => {
    hub.faults.push({ path, kind: "corrupt", times: 1 });
    const error = await failure(get());
    expect(error).toBeInstanceOf(FormatError);
    expect(error.message).toMatch(
      /org\/model: .*damaged and was deleted; expected: (SHA-256|Git).*Run the command again/,
    );
    expect(error.message).toContain(path);
    const damaged = hub.repos.get("org/model")!.files.get(path)!;
    const etag = path === "config.json" ? gitBlobId(damaged) : sha256(damaged);
    expect((await readdir(blobs())).filter((name) => name.startsWith(etag))).toEqual([]);
    await get();
  });

  it("finds a left-over that was damaged on disk", async () => {
    await mkdir(blobs(), { recursive: true });
    const bad = weights.slice(0, 5000);
    bad[17] ^= 4;
    await writeFile(incomplete(), bad);
    expect((await failure(get())).message).toMatch(/damaged/);
    expect(existsSync(incomplete())).toBe(false);
    await get();
  });

  it("fetches a blob of the wrong size again", async () => {
    const { path } = await get();
    await writeFile(join(blobs(), sha256(weights)), weights.subarray(0, 10));
    await get();
    expect((await readFile(join(path, "model.safetensors"))).length).toBe(weights.length);
  });

  it("waits out 503 and 429, also of the listing, and gives up on 500 for good", async () => {
    hub.faults.push({ path: "revision", kind: "status", status: 503, times: 1 });
    hub.faults.push({ path: "tree", kind: "status", status: 429, headers: { "retry-after": "0" }, times: 1 });
    hub.faults.push({ path: "model.safetensors", kind: "status", status: 503, times: 2 });
    await get();
    hub.faults.push({ path: "revision", kind: "status", status: 500, times: 99 });
    expect((await failure(get())).message).toMatch(/unavailable.*500/);
    expect(hub.faults.at(-1)!.times).toBe(94);
  });

  it("counts a silent connection as lost", async () => {
    hub.faults.push({ path: "model.safetensors", kind: "stall", after: 1000, times: 1 });
    await get("org/model", { stallTimeout: 150 });
    expect(hub.contentRequests("model.safetensors").at(-1)!.range).toBe("bytes=1000-");
  });

  it("stops on a signal, keeps what came and leaves no lock", async () => {
    hub.pieceDelay = 5;
    const controller = new AbortController();
    const reason = new Error("enough");
    const failed = failure(get("org/model", { signal: controller.signal }));
    while (hub.contentRequests("model.safetensors").length < 2) await new Promise((r) => setTimeout(r, 5));
    await new Promise((r) => setTimeout(r, 40));
    controller.abort(reason);
    expect(await failed).toBe(reason);
    const left = await readdir(blobs());
    expect(left.filter((name) => name.endsWith(".lock"))).toEqual([]);
    const { size } = await lstat(incomplete());
    expect(size).toBeGreaterThan(0);
    expect(size).toBeLessThan(weights.length);
    hub.pieceDelay = 0;
    await get();
    expect(hub.contentRequests("model.safetensors").at(-1)!.range).toBe(`bytes=${size}-`);
  });
});

describe("several at once", () => {
  it("fetches each file once", async () => {
    hub.pieceDelay = 2;
    const notices: string[] = [];
    const models = await Promise.all([
      get(),
      get("org/model", { onNotice: (notice) => notices.push(notice) }),
      get(),
    ]);
    expect(new Set(models.map(({ path }) => path)).size).toBe(1);
    expect(hub.contentRequests("model.safetensors").filter(({ host }) => host === "storage")).toHaveLength(1);
    await expectWeights(join(models[0].path, "model.safetensors"));
  });

  it.skipIf(!process.features.typescript)("takes over from a process that was killed", async () => {
    hub.pieceDelay = 5;
    const script = `import { downloadModel } from ${JSON.stringify(new URL("./hub.ts", import.meta.url).href)};
      await downloadModel("org/model", ${JSON.stringify({ endpoint: hub.endpoint, cacheDir, token: null })});`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: "ignore" });
    const lock = join(blobs(), `${sha256(weights)}.deepseek-ts.lock`);
    for (let n = 0; n < 1000 && hub.contentRequests("model.safetensors").length < 2; n++) {
      await new Promise((r) => setTimeout(r, 10));
    }
    expect(existsSync(lock)).toBe(true);
    const ended = new Promise((resolve) => child.on("exit", resolve));
    child.kill("SIGKILL");
    await ended;
    expect(existsSync(lock)).toBe(true);
    hub.pieceDelay = 0;
    expect((await lstat(incomplete())).size).toBeLessThan(weights.length);
    await get();
    expect(existsSync(lock)).toBe(false);
    // The child may have died with a small file done and its lock not yet released, which nobody asks for again.
    const left = (await readdir(blobs())).filter((name) => name.includes("deepseek-ts"));
    expect(left.filter((name) => name.endsWith(".incomplete"))).toEqual([]);
  });
});

describe("tokens and refusals", () => {
  it("sends the token to the hub and to no other host", async () => {
    hub.repos.set("org/model", { commit, files: single(), token: "hf_secret" });
    await get("org/model", { token: "hf_secret" });
    expect(
      hub.seen.filter(({ host }) => host === "hub").every((r) => r.authorization === "Bearer hf_secret"),
    ).toBe(true);
    const elsewhere = hub.seen.filter(({ host }) => host === "storage");
    expect(elsewhere.length).toBeGreaterThan(0);
    expect(elsewhere.every(({ authorization }) => authorization === null)).toBe(true);
  });

  it("explains what is missing, private, gated or refused", async () => {
    expect((await failure(get("org/none"))).message).toMatch(
      /org\/none: no such model.*or it is private.*HF_TOKEN/,
    );
    expect((await failure(get("org/none", { token: "hf_x" }))).message).toMatch(
      /no such model.*Check the name\.$/,
    );
    expect((await failure(get("org/model@v9"))).message).toMatch(/no such revision.*Invalid rev id: v9/);
    hub.repos.set("org/model", { commit, files: single(), token: "hf_secret", gated: true });
    const gated = await failure(get());
    expect(gated.message).toMatch(/gated.*Accept them on http.*\/org\/model, then set HF_TOKEN/);
    expect((await failure(get("org/model", { token: "hf_other" }))).message).toMatch(/with the account/);
    hub.faults.push({
      ...{ path: "revision", kind: "status", status: 401, times: 1 },
      headers: { "x-error-message": "Invalid credentials in Authorization header" },
    });
    expect((await failure(get("org/model", { token: "hf_old" }))).message).toMatch(/rejected the token/);
    hub.faults.push({ path: "revision", kind: "status", status: 403, times: 1 });
    expect((await failure(get())).message).toMatch(/no access/);
    expect((await failure(get("model"))).message).toMatch(/expected: org\/name/);
  });
});

describe("offline", () => {
  it("uses the cache, and names what it lacks", async () => {
    const missing = await failure(get("org/model", { offline: true }));
    expect(missing).toBeInstanceOf(ConfigError);
    expect(missing.message).toMatch(
      /not in the cache, and offline mode is on.*deepseek-ts download org\/model/,
    );
    const online = await get();
    hub.seen.length = 0;
    expect(await get("org/model", { offline: true })).toEqual({
      ...online,
      files: expect.anything(),
      fromCache: true,
    });
    expect(await get(`org/model@${commit}`, { offline: true })).toMatchObject({ path: online.path });
    expect(hub.seen).toEqual([]);
    expect((await failure(get("org/model@v2", { offline: true }))).message).toMatch(/--revision v2/);
    expect((await failure(get("org/model", { offline: true, file: "x.gguf" }))).message).toMatch(
      /no x.gguf in the cache/,
    );
    await rm(join(blobs(), sha256(weights)));
    expect((await failure(get("org/model", { offline: true }))).message).toMatch(/holds no weights/);
  });

  it("names shards that are missing", async () => {
    const files = new Map([
      ["config.json", text("{}")],
      ["model.safetensors.index.json", text('{"weight_map":{"a":"s-1.safetensors","b":"s-2.safetensors"}}')],
      ["s-1.safetensors", noise(100)],
      ["s-2.safetensors", noise(110)],
    ]);
    hub.repos.set("org/model", { commit, files });
    const { path } = await get();
    await rm(join(path, "s-2.safetensors"));
    expect((await failure(get("org/model", { offline: true }))).message).toMatch(
      /lacks 1 of 2 weight files.*s-2/,
    );
  });

  it("reads a snapshot that another program wrote", async () => {
    const root = join(cacheDir, "models--org--model");
    const snapshot = join(root, "snapshots", commit);
    for (const folder of [snapshot, join(root, "blobs"), join(root, "refs")])
      await mkdir(folder, { recursive: true });
    await writeFile(join(root, "refs", "main"), `${commit}\n`);
    for (const [path, bytes] of single()) {
      if (path.includes("/")) continue;
      await writeFile(join(root, "blobs", sha256(bytes)), bytes);
      await symlink(join("..", "..", "blobs", sha256(bytes)), join(snapshot, path));
    }
    expect(await get("org/model", { offline: true })).toMatchObject({ path: snapshot, fromCache: true });
    // Online nothing of it is fetched again, though small blobs have other names.
    await get();
    expect(hub.seen.every(({ url }) => url.startsWith("/api/"))).toBe(true);
  });

  it("falls back to the cache, and says so, where the hub cannot be reached", async () => {
    const closed = "http://127.0.0.1:9";
    expect((await failure(get("org/model", { endpoint: closed, attempts: 2 }))).message).toMatch(
      /cannot reach 127.0.0.1:9/,
    );
    await get();
    const notices: string[] = [];
    const onNotice = (notice: string) => notices.push(notice);
    const model = await get("org/model", { endpoint: closed, attempts: 1, onNotice });
    expect(model.fromCache).toBe(true);
    expect(notices).toEqual(["org/model: cannot reach 127.0.0.1:9; using what is in the cache"]);
  });
});

describe("hubTree", () => {
  it("reads parts of files and nothing else", async () => {
    hub.repos.set("org/model", { commit, files: single().set("big.gguf", weights) });
    const tree = await hubTree("org/model", { endpoint: hub.endpoint, cacheDir, token: null, retryDelay: 5 });
    expect(tree.commit).toBe(commit);
    expect(await tree.has("config.json")).toBe(true);
    expect(await tree.has("none")).toBe(false);
    expect(await tree.list()).not.toContain("original/consolidated.safetensors");
    expect(await tree.readText("config.json")).toBe('{"model_type":"llama"}');
    const source = await tree.open("big.gguf");
    expect(source.size).toBe(weights.length);
    expect(await source.read(10, 20)).toEqual(weights.slice(10, 30));
    expect(await source.read(40, 5)).toEqual(weights.slice(40, 45));
    expect(await source.read(131_070, 10)).toEqual(weights.slice(131_070, 131_080));
    expect(await source.read(299_999, 1)).toEqual(weights.slice(299_999));
    expect((await source.read(300_000, 0)).length).toBe(0);
    // Elsewhere nothing more than asked for.
    const other = await tree.open("big.gguf");
    expect(await other.read(140_000, 1)).toEqual(weights.slice(140_000, 140_001));
    await expect(source.read(300_000, 1)).rejects.toThrow(/outside/);
    const ranges = hub.contentRequests("big.gguf").filter(({ host }) => host === "storage");
    expect(ranges.map(({ range }) => range)).toEqual([
      ...["bytes=0-131071", "bytes=131070-299999", "bytes=140000-140000"],
    ]);
    await expect(tree.open("none")).rejects.toThrow(/file not found.*none/);
    hub.faults.push({ path: "big.gguf", kind: "ignore-range", times: 9 });
    await expect(other.read(200_000, 9)).rejects.toThrow(/does not support range requests/);
    expect(await readdir(cacheDir)).toEqual([]);
  });

  it("opens torch's files by their two ends, and reads a tensor where it lies", async () => {
    const values = noise(400_000);
    const tensor = { name: "w", dtype: "U8", shape: [400_000], key: "0" } as const;
    const file = torchFile([tensor], { "0": values }, { "0": 1 });
    const files = new Map([
      ["config.json", text("{}")],
      ["pytorch_model.bin", file],
    ]);
    hub.repos.set("org/model", { commit, files });
    const tree = await hubTree("org/model", { endpoint: hub.endpoint, cacheDir, token: null, retryDelay: 5 });
    const checkpoint = await openCheckpoint(tree);
    expect(checkpoint.info("w")).toMatchObject({ dtype: "U8", bytes: 400_000 });
    const requests = () => hub.contentRequests("pytorch_model.bin").filter(({ host }) => host === "storage");
    expect(requests()).toHaveLength(2);
    expect(
      Buffer.compare(await checkpoint.readRange("w", 200_000, 50_000), values.slice(200_000, 250_000)),
    ).toBe(0);
    expect(requests()).toHaveLength(3);
    await checkpoint.close();
  });
});

describe("hubSettings", () => {
  it("follows the environment of the Python library", async () => {
    const at = join(cacheDir, "home");
    await mkdir(at);
    await writeFile(join(at, "token"), "hf_file\n");
    const env = { HF_HOME: at };
    const base = {
      endpoint: "https://huggingface.co",
      cacheDir: join(at, "hub"),
      token: "hf_file",
      offline: false,
    };
    expect(await hubSettings({}, env)).toEqual(base);
    expect(await hubSettings({}, { ...env, HF_TOKEN: " hf_env " })).toEqual({ ...base, token: "hf_env" });
    expect((await hubSettings({ token: null }, env)).token).toBeNull();
    expect((await hubSettings({}, { ...env, HF_HUB_DISABLE_IMPLICIT_TOKEN: "1" })).token).toBeNull();
    expect((await hubSettings({}, { ...env, HF_TOKEN_PATH: join(at, "none") })).token).toBeNull();
    expect((await hubSettings({}, { HOME2: "/q", HF_HUB_CACHE: "$HOME2/c" })).cacheDir).toBe("/q/c");
    expect((await hubSettings({}, { XDG_CACHE_HOME: "/x" })).cacheDir).toBe(join("/x", "huggingface", "hub"));
    expect((await hubSettings({}, { ...env, HF_HUB_OFFLINE: "TRUE" })).offline).toBe(true);
    expect((await hubSettings({}, { ...env, HF_HUB_OFFLINE: "0" })).offline).toBe(false);
    expect((await hubSettings({}, { ...env, HF_ENDPOINT: "http://m.example/" })).endpoint).toBe(
      "http://m.example",
    );
    await expect(hubSettings({}, { HF_ENDPOINT: "mirror" })).rejects.toThrow(/HF_ENDPOINT/);
  });
});
