import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { ImagePart } from "../chat/messages.ts";
import { ApiError } from "./errors.ts";
import { FETCH_POLICY, type FetchPolicy, fetchImage } from "./image-fetch.ts";
import { imageLoader } from "./image-loader.ts";
import { MOST_IMAGES } from "./request-images.ts";

let server: Server;
let port = "";
const asked: string[] = [];
const resolved: string[] = [];

beforeAll(async () => {
  server = createServer((request, response) => {
    const url = request.url ?? "";
    asked.push(`${request.headers.host} ${url}`);
    const at = Number(/\/hop(\d)/.exec(url)?.[1] ?? -1);
    if (at === 0) response.writeHead(302, { location: "/picture" }).end();
    else if (at > 0) response.writeHead(301, { location: `/hop${at - 1}` }).end();
    else if (url === "/to-private") response.writeHead(302, { location: "http://10.0.0.1/x" }).end();
    else if (url === "/to-loopback") response.writeHead(302, { location: "//[::1]/x" }).end();
    else if (url === "/to-name") response.writeHead(307, { location: "http://inside.test/x" }).end();
    else if (url === "/to-file") response.writeHead(302, { location: "file:///etc/passwd" }).end();
    else if (url === "/large") response.writeHead(200, { "content-length": "101" }).end(Buffer.alloc(101));
    else if (url === "/endless") {
      const more = () => {
        if (response.write(Buffer.alloc(40))) setImmediate(more);
        else response.once("drain", more);
      };
      response.on("error", () => {});
      more();
    } else if (url === "/silent") return;
    else if (url === "/encoded") response.writeHead(200, { "content-encoding": "gzip" }).end("x");
    else if (url === "/missing") response.writeHead(404).end("no");
    else if (url === "/broken")
      response.writeHead(200, { "content-length": "50" }).write("x", () => response.destroy());
    else response.end("a picture");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  port = String((server.address() as AddressInfo).port);
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

/** Names of `.test` lead to the local server; only `outside.test` is said to be public. */
const policy = (changes: Partial<FetchPolicy> = {}): FetchPolicy => ({
  ...FETCH_POLICY,
  resolve: async (host) => {
    resolved.push(host);
    if (host === "both.test") return ["127.0.0.1", "10.0.0.7"].map((address) => ({ address, family: 4 }));
    if (host === "inside.test") return [{ address: "192.168.0.9", family: 4 }];
    if (host === "unknown.test") throw new Error("not found");
    return [{ address: "127.0.0.1", family: 4 }];
  },
  allowed: (address) => address === "127.0.0.1",
  ports: ["", port],
  maxBytes: 100,
  seconds: 5,
  ...changes,
});

const at = (path: string) => `http://outside.test:${port}${path}`;
const never = new AbortController().signal;
const get = (url: string, changes?: Partial<FetchPolicy>) => fetchImage(url, "f", never, policy(changes));

async function refusal(work: Promise<unknown>) {
  const error = await work.catch((error: unknown) => error);
  if (error instanceof ApiError) return error.shape;
  throw error;
}

it("fetches from the address that was looked at, under the host's name", async () => {
  asked.length = 0;
  expect(Buffer.from(await get(at("/picture"))).toString()).toBe("a picture");
  expect(asked).toEqual([`outside.test:${port} /picture`]);
});

it("resolves each host of a chain once, so that a second answer of its name server counts for nothing", async () => {
  resolved.length = 0;
  await get(at("/picture"));
  expect(resolved).toEqual(["outside.test"]);
});

it("follows three redirects and no fourth", async () => {
  await expect(get(at("/hop2"))).resolves.toHaveLength(9);
  expect(await refusal(get(at("/hop3")))).toMatchObject({
    status: 400,
    param: "f",
    message: expect.stringContaining("redirected more than 3 times"),
  });
});

it.each([
  ["a private address", () => "http://10.0.0.1/", "image_address_refused"],
  ["an address in brackets", () => "http://[::1]/", "image_address_refused"],
  ["an address written as a number", () => "http://167772161/", "image_address_refused"],
  ["an address written in octal", () => "http://012.0.0.1/", "image_address_refused"],
  ["a name that leads inside", () => "http://inside.test/", "image_address_refused"],
  ["a name with one address inside", () => `http://both.test:${port}/`, "image_address_refused"],
  ["a redirect to a private address", () => at("/to-private"), "image_address_refused"],
  ["a redirect to loopback", () => at("/to-loopback"), "image_address_refused"],
  ["a redirect to a name that leads inside", () => at("/to-name"), "image_address_refused"],
  ["a redirect to a file", () => at("/to-file"), "file:"],
  ["a file", () => "file:///etc/passwd", "file:"],
  ["credentials", () => `http://a:b@outside.test:${port}/`, "credentials"],
  ["another port", () => "http://outside.test:22/", "port 22"],
  ["an unknown host", () => "http://unknown.test/", "not known"],
  ["an announced length that is too large", () => at("/large"), "larger than 100"],
  ["a body without end", () => at("/endless"), "larger than 100"],
  ["an encoding", () => at("/encoded"), "encoded as 'gzip'"],
  ["a status that is no success", () => at("/missing"), "status 404"],
  ["a connection that breaks", () => at("/broken"), "connection failed"],
  ["no URL", () => "http://", "not a URL"],
])("refuses %s", async (_, url, text) => {
  const shape = await refusal(get(url()));
  expect(shape).toMatchObject({ status: 400, param: "f" });
  expect(`${shape.code} ${shape.message}`).toContain(text);
});

it("connects to nothing on the way to a refused address", async () => {
  asked.length = 0;
  await refusal(get(`http://both.test:${port}/`));
  expect(asked).toEqual([]);
});

it("gives up after its time, and with the client", async () => {
  expect(await refusal(get(at("/silent"), { seconds: 0.1 }))).toMatchObject({
    message: expect.stringContaining("longer than 0.1 s"),
  });
  const client = new AbortController();
  const work = fetchImage(at("/silent"), "f", client.signal, policy());
  client.abort(new Error("gone"));
  await expect(work).rejects.toThrow("gone");
  const stuck = new AbortController();
  const resolving = fetchImage(at("/x"), "f", stuck.signal, policy({ resolve: () => new Promise(() => {}) }));
  stuck.abort(new Error("gone too"));
  await expect(resolving).rejects.toThrow("gone too");
});

const image = (url: string, param = "f") => ({
  role: "user" as const,
  content: [{ type: "image_url" as const, url, param }],
});
const PNG = "data:image/png;base64,iVBORw==";

it("reads data URLs, each of equal ones once, and fetches only where it may", async () => {
  const load = imageLoader({ allowUrls: true, policy: policy() });
  asked.length = 0;
  const [one, two, three, text] = await load(
    [
      image(PNG, "a"),
      image(at("/picture"), "b"),
      image(at("/picture"), "c"),
      { role: "user", content: "hi" },
    ],
    never,
  );
  const parts = [one, two, three].map(
    ({ content }) => (content as readonly ImagePart[])[0].image as Uint8Array,
  );
  expect([...parts[0]]).toEqual([0x89, 0x50, 0x4e, 0x47]);
  expect(Buffer.from(parts[1]).toString()).toBe("a picture");
  expect(parts[2]).toBe(parts[1]);
  expect(two).toMatchObject({ role: "user", content: [{ type: "image", name: "b" }] });
  expect(text).toEqual({ role: "user", content: "hi" });
  expect(asked).toHaveLength(1);

  const closed = imageLoader({ allowUrls: false, policy: policy() });
  asked.length = 0;
  expect(await refusal(closed([image(at("/picture"))], never))).toMatchObject({
    code: "image_urls_not_allowed",
    param: "f",
    message: expect.stringContaining("--allow-image-urls"),
  });
  expect(asked).toEqual([]);
});

it("refuses what is no image's URL, broken base64 and too many images", async () => {
  const load = imageLoader({ allowUrls: true, policy: policy() });
  const shape = (...messages: ReturnType<typeof image>[]) => refusal(load(messages, never));
  expect(await shape(image("page.png"))).toMatchObject({ code: "invalid_image_url", param: "f" });
  expect(await shape(image("file:///etc/passwd"))).toMatchObject({ code: "invalid_image_url" });
  expect(await shape(image("data:image/png,abc"))).toMatchObject({ code: "invalid_image" });
  expect(await shape(image("data:image/png;base64,a*b"))).toMatchObject({ code: "invalid_image" });
  const many = Array.from({ length: MOST_IMAGES + 1 }, (_, i) => image(PNG, `f${i}`));
  expect(await shape(...many)).toMatchObject({ code: "too_many_images", param: `f${MOST_IMAGES}` });
});
