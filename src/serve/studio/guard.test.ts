import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestStudio, type TestStudio, testFolder } from "./testing.ts";
import { wayIn } from "./way-in.ts";

const page = testFolder();
let t: TestStudio;
beforeAll(async () => {
  mkdirSync(join(page.path, "assets"));
  writeFileSync(join(page.path, "index.html"), "<!doctype html><title>studio</title>");
  writeFileSync(join(page.path, "assets", "main-1a2b3c.js"), "export {};");
  writeFileSync(join(page.path, "notes.xyz"), "of no type that a page has");
  symlinkSync("/etc/hostname", join(page.path, "assets", "link.txt"));
  t = await startTestStudio({ model: null, page: page.path, allowHosts: ["proxy.example"] });
});
afterAll(async () => {
  await t[Symbol.asyncDispose]();
  page.remove();
});

/** A request with exactly these headers: `fetch` sets Host and Origin by itself. */
function send(method: string, path: string, headers: Record<string, string>, body = "") {
  return new Promise<{ status: number; headers: NodeJS.Dict<string | string[]>; text: string }>(
    (resolve, reject) => {
      const asked = request({ host: "127.0.0.1", port: t.studio.port, method, path, headers }, (answer) => {
        let text = "";
        answer.setEncoding("utf8").on("data", (part) => (text += part));
        answer.on("end", () => resolve({ status: answer.statusCode!, headers: answer.headers, text }));
      });
      asked.on("error", reject).end(method === "POST" ? body : undefined);
    },
  );
}

const own = () => `127.0.0.1:${t.studio.port}`;
const bearer = () => ({ authorization: `Bearer ${t.studio.token}` });
const json = { "content-type": "application/json" };

const ROUTES = [
  ["GET", "/"],
  ["GET", "/assets/main-1a2b3c.js"],
  ["GET", "/studio/api/hello"],
  ["GET", "/studio/api/jobs/some-job-of-others/events"],
  ["POST", "/studio/api/jobs"],
  ["DELETE", "/studio/api/models?model=work"],
  ["POST", "/v1/chat/completions"],
] as const;

describe("the studio's guard", () => {
  it.each(ROUTES)("answers %s %s under no name but its own", async (method, path) => {
    const port = t.studio.port;
    const foreign = [
      "evil.example",
      `evil.example:${port}`,
      `127.0.0.1:${port + 1}`,
      "127.0.0.1",
      `localhost.evil.example:${port}`,
    ];
    for (const host of [...foreign, `127.0.0.1.evil.example:${port}`, `[::2]:${port}`]) {
      const { status, text } = await send(method, path, { host, ...bearer(), ...json }, "{}");
      expect([status, text], host).toEqual([403, expect.stringContaining("host_not_allowed")]);
    }
  });

  it.each(ROUTES)("answers %s %s to no page of another origin", async (method, path) => {
    const port = t.studio.port;
    for (const origin of [
      "http://evil.example",
      `http://127.0.0.1:${port + 1}`,
      "null",
      `http://localhost:${port}`,
    ]) {
      const { status, text, headers } = await send(
        method,
        path,
        { host: own(), origin, ...bearer(), ...json },
        "{}",
      );
      expect([status, text], origin).toEqual([403, expect.stringContaining("origin_not_allowed")]);
      expect(Object.keys(headers).filter((name) => name.startsWith("access-control"))).toEqual([]);
    }
    const site = { "sec-fetch-site": "same-site", "sec-fetch-mode": "cors" };
    expect((await send(method, path, { host: own(), ...site, ...bearer(), ...json }, "{}")).status).toBe(403);
  });

  it("answers its own page under each of its names, and that of a proxy", async () => {
    const port = t.studio.port;
    for (const host of [own(), `localhost:${port}`, `[::1]:${port}`, "proxy.example", "proxy.example:8443"]) {
      for (const origin of [`http://${host}`, `https://${host}`]) {
        expect((await send("GET", "/studio/api/hello", { host, origin, ...bearer() })).status).toBe(200);
      }
    }
    const opened = { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate" };
    expect((await send("GET", "/", { host: own(), ...opened })).status).toBe(200);
  });

  it.each(ROUTES.slice(2))("asks for its token at %s %s", async (method, path) => {
    const token = t.studio.token!;
    const wrong = [
      `Bearer ${token.slice(0, -1)}`,
      `Bearer ${token}x`,
      "Bearer ",
      `Basic ${token}`,
      token,
      "Bearer null",
    ];
    for (const authorization of wrong) {
      const { status, text } = await send(method, path, { host: own(), authorization, ...json }, "{}");
      expect([status, text], authorization).toEqual([401, expect.stringContaining("token")]);
    }
    expect((await send(method, path, { host: own(), cookie: `token=${token}`, ...json }, "{}")).status).toBe(
      401,
    );
    expect((await send(method, `${path}?token=${token}`, { host: own(), ...json }, "{}")).status).toBe(401);
    expect(Buffer.from(token, "base64url")).toHaveLength(32);
  });

  it("reads no body but JSON", async () => {
    for (const path of ["/studio/api/jobs", "/studio/api/models/close", "/v1/chat/completions"]) {
      for (const type of ["text/plain", "application/x-www-form-urlencoded", ""]) {
        const headers = { host: own(), ...bearer(), ...(type !== "" && { "content-type": type }) };
        expect((await send("POST", path, headers, "{}")).status, type).toBe(415);
      }
    }
  });

  it("asks pages of other origins in vain to be asked first", async () => {
    const preflight = { origin: "http://evil.example", "access-control-request-method": "DELETE" };
    const { status, headers } = await send("OPTIONS", "/studio/api/jobs/x", { host: own(), ...preflight });
    expect(status).toBe(403);
    expect(headers["access-control-allow-origin"]).toBeUndefined();
  });
});

describe("the page's files", () => {
  it("come with their types, what may be kept, and the headers that keep the page to itself", async () => {
    const index = await send("GET", "/", { host: own() });
    expect(index).toMatchObject({ status: 200, text: "<!doctype html><title>studio</title>" });
    expect(index.headers).toMatchObject({
      "content-type": "text/html; charset=utf-8",
      "cache-control": "no-cache",
      "cross-origin-opener-policy": "same-origin",
      "cross-origin-embedder-policy": "require-corp",
      "cross-origin-resource-policy": "same-origin",
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
    });
    const policy = String(index.headers["content-security-policy"]).split("; ");
    expect(policy).toEqual(
      expect.arrayContaining([
        ...[
          "default-src 'none'",
          "script-src 'self' 'wasm-unsafe-eval'",
          "style-src 'self'",
          "frame-ancestors 'none'",
        ],
        ...["require-trusted-types-for 'script'", "trusted-types studio", "connect-src 'self'"],
      ]),
    );
    const script = await send("GET", "/assets/main-1a2b3c.js", { host: own() });
    expect(script.headers).toMatchObject({
      "content-type": "text/javascript; charset=utf-8",
      "cache-control": "public, max-age=31536000, immutable",
    });
    const head = await send("HEAD", "/assets/main-1a2b3c.js", { host: own() });
    expect([head.status, head.text]).toEqual([200, ""]);
    const answer = await send("GET", "/studio/api/hello", { host: own(), ...bearer() });
    expect(answer.headers).toMatchObject({
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
    });
  });

  it.each([
    ...[
      "/../package.json",
      "/%2e%2e/package.json",
      "/assets/..%2f..%2fpackage.json",
      "/assets/link.txt",
      "/notes.xyz",
    ],
    ...["/assets", "/assets/", "/.hidden.js", "//etc/passwd", "/assets%00.js", "/index.html/"],
  ])("are not %s", async (path) => {
    expect((await send("GET", path, { host: own() })).status).toBe(404);
  });
});

it("says how the page is built where it is not", async () => {
  await using bare = await startTestStudio({ model: null, page: join(page.path, "nothing") });
  const answer = await fetch(bare.studio.url);
  expect([answer.status, await answer.text()]).toEqual([503, expect.stringContaining("npm run build")]);
});

describe("the way in", () => {
  const enter = (body: string, headers: Record<string, string> = json) =>
    send(
      "POST",
      "/studio/api/enter",
      { host: own(), ...headers, "content-length": String(body.length) },
      body,
    );

  it("gives the token for the code once, and for nothing else", async () => {
    const body = JSON.stringify({ code: t.studio.code });
    expect((await enter(JSON.stringify({ code: "c".repeat(43) }))).status).toBe(401);
    for (const [bad, headers] of [
      [body, { "content-type": "text/plain" }],
      [body, { ...json, origin: "http://evil.example" }],
      [`{"code": "${"c".repeat(300)}"}`, json],
      ['{"code": 7}', json],
      ["{", json],
    ] as const) {
      expect([400, 403]).toContain((await enter(bad, headers)).status);
    }
    const first = await enter(body);
    expect([first.status, JSON.parse(first.text)]).toEqual([200, { token: t.studio.token }]);
    const second = await enter(body);
    expect([second.status, second.text]).toEqual([401, expect.stringContaining("opened already")]);
    expect((await send("GET", "/studio/api/enter", { host: own() })).status).toBe(401);
  });

  it("closes after a minute", () => {
    let now = 5;
    const { code, enter } = wayIn("secret", () => now);
    now += 60_001;
    expect(() => enter(code)).toThrow(/older than a minute/);
    now -= 1;
    expect(enter(code)).toBe("secret");
  });
});
