/** Pictures in a conversation at the terminal: shown with a message, kept by what edits, saves and takes back. */
import { afterAll, expect, it } from "vitest";
import { imagesOf } from "../chat/messages.ts";
import { builtinTemplate } from "../chat/template.ts";
import { testTokenizer } from "../chat/testing.ts";
import { visionTemplate } from "../chat/vision-template.ts";
import { worldTokenizer } from "../data/world/index.ts";
import { Conversation } from "../engine/conversation.ts";
import { ImageEncoder } from "../engine/image-encoder.ts";
import { scriptedSource } from "../engine/testing-source.ts";
import { ConfigError } from "../tensor/errors.ts";
import { reshape } from "../tensor/ops/reshape.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import { loadTokenizer } from "../tokenizer/tokenizer.ts";
import { encodePng } from "../vision/image/png-writer.ts";
import { type ChatTerminal, chatLoop, type Line } from "./chat-loop.ts";
import { savedMessages } from "./saved-conversation.ts";
import { greedySettings } from "./testing.ts";

const device = createReferenceDevice();
afterAll(() => device[Symbol.asyncDispose]());

/** A picture of one pixel. */
const dot = (red: number) => encodePng({ width: 1, height: 1, rgb: Uint8Array.of(red, 0, 0) });
const pictures = new Map([
  ["a.png", await dot(1)],
  ["b.png", await dot(2)],
]);

/** Sees a pixel as two tokens. */
const encoder = () =>
  new ImageEncoder(
    {
      device,
      imageTokens: () => 2,
      // biome-ignore lint/correctness/useYield: it has no layers
      *encodeViewsByLayer() {
        return device.zeros([1, 2, 4]);
      },
      arrange: (views) => [reshape(views, [2, 4])],
    },
    {
      side: 1,
      tiles: () => [0, 0],
      areas: () => [],
      views: async (image) => [image],
      pixels: () => new Float32Array(3),
    },
  );

/** Plays a user who types `typed`, then Ctrl-D. */
async function play(
  typed: readonly string[],
  { files = new Map<string, string>(), first = [] as string[] } = {},
) {
  const { tokenizer: json, config } = worldTokenizer({ image: "<image>" });
  const tokenizer = loadTokenizer(JSON.stringify(json), JSON.stringify(config));
  const source = scriptedSource(tokenizer, Array(9).fill("red ring"));
  using images = encoder();
  const template = visionTemplate(tokenizer, "vl2", "<image>");
  const conversation = new Conversation(source, tokenizer, template, { images });
  const queue = [...typed];
  let screen = "";
  const part = (path: string) => {
    const image = pictures.get(path);
    if (image === undefined) throw new ConfigError("no picture", { where: path });
    return { type: "image", image, name: path } as const;
  };
  const terminal: ChatTerminal = {
    async readLine(prompt, initial = ""): Promise<Line> {
      const text = queue.shift();
      if (text === undefined) return { kind: "end" };
      screen += `${prompt}${initial}${text}\n`;
      return { kind: "line", text: initial + text };
    },
    write: (text, style) => {
      screen += style === "note" ? `[${text.trimEnd()}]\n` : text;
    },
    stoppable: (body) => body(new AbortController().signal),
    readFile: async (path) => files.get(path)!,
    readImage: async (path) => part(path),
    status() {},
    writeFile: async (path, text) => void files.set(path, text),
  };
  const options = { greeting: "hello", images: first.map(part) };
  const unsaved = await chatLoop(conversation, terminal, greedySettings, options);
  return { conversation, source, screen, files, unsaved };
}

const shown = (messages: Parameters<typeof imagesOf>[0]) => imagesOf(messages).map(({ name }) => name);

it("shows pictures of the command line with the first message, others with the next one", async () => {
  const { conversation, screen, source } = await play(
    ["what color is the ring ?", "/image b.png", "/image", "and ?", "and ?"],
    { first: ["a.png"] },
  );
  const { messages } = conversation;
  expect(messages.map((message) => shown([message]))).toEqual([["a.png"], [], ["b.png"], [], [], []]);
  expect(screen).toContain("[hello]\n[[a.png] with the first message]\n> what");
  expect(screen).toContain("> /image\n[[b.png] with the next message]\n");
  // Two tokens for each.
  expect(source.prompts.at(-1)!.split("<image>").length - 1).toBe(2 + 2);
});

it("keeps pictures when a message is edited, and gives back those of one that is taken back", async () => {
  const { conversation, screen } = await play([
    ...["/image a.png", "what color is the ring ?", "/edit", " and ?", "/undo", "/image"],
    ...["/image b.png", "and ?", "/history", "/undo", "/image -", "and ?"],
  ]);
  expect(screen).toContain("1> what color is the ring ? and ?\n");
  expect(screen).toContain(
    "[removed: [a.png] what color is the ring ? and ?]\n[[a.png] with the next message;",
  );
  expect(screen).toContain("[1> [a.png] [b.png] and ?]\n");
  expect(screen).toContain("> /image -\n[no picture]\n");
  expect(shown(conversation.messages)).toEqual([]);
});

it("saves pictures with the conversation, so that it goes on without their files", async () => {
  const { files, conversation, unsaved } = await play([
    "/image a.png",
    "and ?",
    "/save c.json",
    "/image b.png",
  ]);
  expect(unsaved).toBeNull();
  const saved = savedMessages(files.get("c.json")!, "c.json");
  expect(saved).toEqual(conversation.messages.map((message) => ({ ...message })));
  const again = await play(["/load c.json", "and ?"], { files });
  expect(shown(again.conversation.messages)).toEqual(["a.png"]);
  expect(imagesOf(again.conversation.messages)[0].image).toEqual(pictures.get("a.png"));
  // What a signal would save.
  expect(again.unsaved).toContain("data:image/png;base64,");
});

it("reads conversations of others with data URLs, and refuses addresses and unknown fields", async () => {
  const url = (link: unknown, more = {}) =>
    JSON.stringify([{ role: "user", content: [{ type: "image_url", image_url: { url: link }, ...more }] }]);
  const data = `data:image/png;base64,${Buffer.from(pictures.get("a.png")!).toString("base64")}`;
  expect(imagesOf(savedMessages(url(data), "x.json"))[0].image).toEqual(pictures.get("a.png"));
  expect(() => savedMessages(url("https://x.y/z.png"), "x.json")).toThrow(
    /x\.json: messages\[0\]\.content\[0\].*data URLs/,
  );
  expect(() => savedMessages(url(3), "x.json")).toThrow(/data URLs/);
  expect(() => savedMessages(url(data, { size: 3 }), "x.json")).toThrow(
    /unknown field of a picture; name: size/,
  );
});

it("leaves pictures with the next message where one could not be sent", async () => {
  const { screen, conversation } = await play(["/image a.png", "unknown words", "/image no.png", "and ?"]);
  expect(screen).toContain("[error: encode: the vocabulary lacks");
  expect(screen).toContain("[error: no.png: no picture");
  expect(shown(conversation.messages)).toEqual(["a.png"]);
});

it("is refused by the template of a model that reads text only", async () => {
  const tokenizer = await testTokenizer("v3");
  const conversation = new Conversation(
    scriptedSource(tokenizer, []),
    tokenizer,
    builtinTemplate(tokenizer, "v3"),
  );
  const image = { type: "image", image: pictures.get("a.png")! } as const;
  expect(() => conversation.send([image])).toThrow(/no place for images.*Use a model that sees/);
});
