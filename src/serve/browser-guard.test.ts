import { hostname } from "node:os";
import { describe, expect, it } from "vitest";
import { browserGuard, type GuardOptions } from "./browser-guard.ts";
import { ApiError } from "./errors.ts";

const guardOf = (options: Partial<GuardOptions> = {}) =>
  browserGuard({ allowOrigins: [], allowHosts: [], keyed: false, ...options });

function code(host: string | undefined, origin: string | undefined, options: Partial<GuardOptions> = {}) {
  try {
    guardOf(options).check(host, origin);
    return null;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    expect(error.shape.status).toBe(403);
    return error.shape.code;
  }
}

describe("hosts", () => {
  it.each([
    ...["localhost", "localhost:8080", "LOCALHOST:1", "localhost.", "app.localhost:80", "127.0.0.1:8080"],
    ...["127.1.2.3", "[::1]:8080", "[::1]", "192.168.1.5:8080", "[fe80::1]:80", "10.0.0.1", hostname()],
    ...[`${hostname()}.local:8080`, "host.docker.internal:8080", ""],
  ])("of this machine are let in: %s", (host) => expect(code(host, undefined)).toBeNull());

  it.each([
    ...[
      "evil.example",
      "evil.example:8080",
      "localhost.evil.example",
      "127.0.0.1.evil.example",
      "notlocalhost",
    ],
    ...["xlocalhost:8080", "127.0.0.1.:x", "0x7f.1", "2130706433", "999.1.1.1", "[::1].evil.example"],
  ])("of others are refused: %s", (host) => expect(code(host, undefined)).toBe("host_not_allowed"));

  it("that are allowed by name are let in, and all where there are keys", () => {
    const allowHosts = ["chat.example"];
    expect(code("chat.example:443", undefined, { allowHosts })).toBeNull();
    expect(code("CHAT.example", undefined, { allowHosts })).toBeNull();
    expect(code("evil.example", undefined, { allowHosts })).toBe("host_not_allowed");
    expect(code("evil.example", undefined, { allowHosts: ["*"] })).toBeNull();
    expect(code("evil.example", undefined, { keyed: true })).toBeNull();
    // Names given by hand are meant, with keys too.
    expect(code("evil.example", undefined, { keyed: true, allowHosts })).toBe("host_not_allowed");
  });
});

describe("origins", () => {
  it.each([
    ...[
      undefined,
      "http://localhost:3000",
      "https://localhost",
      "http://127.0.0.1:8080",
      "http://[::1]:3000",
    ],
    ...["http://tauri.localhost", "app://obsidian.md", "vscode-webview://1abc", "chrome-extension://abc"],
  ])("of this machine's programs are let in: %s", (origin) => expect(code("localhost", origin)).toBeNull());

  it.each([
    ...["http://evil.example", "https://evil.example:8080", "null", "http://localhost.evil.example"],
    ...["http://evil.example/localhost", "", "localhost", "http://192.168.1.7:3000", "data:text/html,x"],
  ])("of web sites are refused: %s", (origin) =>
    expect(code("localhost", origin)).toBe("origin_not_allowed"),
  );

  it("that are the server's own are let in where its name is known", () => {
    const allowHosts = ["chat.example"];
    expect(code("chat.example", "https://chat.example", { allowHosts })).toBeNull();
    expect(code("chat.example", "https://other.example", { allowHosts })).toBe("origin_not_allowed");
    expect(code("192.168.1.5:8080", "http://192.168.1.5:8080")).toBeNull();
  });

  it("that are allowed may read, with keys only those", () => {
    const allowOrigins = ["https://page.example"];
    const guard = guardOf({ allowOrigins, keyed: true });
    expect(guard.readable("https://PAGE.example", "a")).toBe(true);
    expect(guard.readable("https://evil.example", "a")).toBe(false);
    expect(code("localhost", "https://page.example", { allowOrigins })).toBeNull();
    // A page cannot know the key, so that there is nothing to refuse.
    expect(code("localhost", "https://evil.example", { keyed: true })).toBeNull();
    expect(guardOf({ allowOrigins: ["*"] }).readable("null", undefined)).toBe(true);
  });
});
