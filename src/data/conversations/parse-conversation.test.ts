import { describe, expect, it } from "vitest";
import { FormatError } from "../../tensor/errors.ts";
import type { ConversationRules } from "./fields.ts";
import type { ConversationMessage, ImageConversation, ImageSource } from "./messages.ts";
import { captionOf, imagesOf, loadImages } from "./messages.ts";
import { parseConversation } from "./parse-conversation.ts";

const parse = (value: unknown, rules?: ConversationRules) =>
  parseConversation(value, "a.jsonl line 7", rules);
const answer = { role: "assistant", content: "yes" } as const;
const file = (path: string) => ({ type: "image", image: { path } }) as const;
const text = (words: string) => ({ type: "text", text: words }) as const;

/** A line of the first form with one question. */
const asked = (content: unknown, rest: object = {}) => ({
  ...rest,
  messages: [{ role: "user", content }, answer],
});
/** One of LLaVA's. */
const llava = (value: string, image?: unknown) => ({
  id: "000000033471",
  image,
  conversations: [
    { from: "human", value },
    { from: "gpt", value: "yes" },
  ],
});
const question = (
  conversation: ImageConversation<ImageSource>,
): ConversationMessage<ImageSource>["content"] => conversation.messages.at(-2)!.content;

describe("a picture with its caption", () => {
  it("is answered by the caption, and says that it may be drawn", async () => {
    const conversation = parse({ image: "b/a.png", caption: "a red ring", id: 3 });
    expect(conversation).toEqual({
      messages: [
        { role: "user", content: [file("b/a.png")] },
        { role: "assistant", content: "a red ring" },
      ],
      captioned: true,
    });
    expect(captionOf(conversation)).toEqual({ image: { path: "b/a.png" }, caption: "a red ring" });
    expect(captionOf(await loadImages(conversation, async () => 7))).toEqual({
      image: 7,
      caption: "a red ring",
    });
    expect(parse(llava("<image> x", "a.png")).captioned).toBeUndefined();
  });
});

describe("the form with messages", () => {
  it("takes texts, and parts with images in several spellings", () => {
    expect(parse(asked("is it <image> red ?"))).toEqual({
      messages: [{ role: "user", content: "is it <image> red ?" }, answer],
    });
    for (const part of [
      { type: "image", image: "b/a.png" },
      { type: "image", image: { path: "./b/a.png" } },
      { type: "image", path: "b/a.png" },
      { type: "image", url: "b/a.png" },
      { type: "image_url", image_url: { url: "b/a.png" }, detail: "low" },
      { type: "image_url", image_url: "b/a.png" },
    ]) {
      const content = [text("one"), part, text("two")];
      expect(question(parse(asked(content)))).toEqual([text("one"), file("b/a.png"), text("two")]);
    }
  });

  it("takes images that are named beside the messages, by marks or by parts without a name", () => {
    const rest = { images: ["a.png", { path: "b.png" }] };
    const expected = [text("compare"), file("a.png"), text("with"), file("b.png"), text("now")];
    expect(question(parse(asked("compare <image>\nwith <image>\n now", rest)))).toEqual(expected);
    const parts = [text("compare"), { type: "image" }, text("with <image> now")];
    expect(question(parse(asked(parts, rest)))).toEqual(expected);
    // Images of later turns follow those of earlier ones.
    const turns = ["<image>x", "<image>"].flatMap((content) => [{ role: "user", content }, answer]);
    expect(imagesOf(parse({ messages: turns, ...rest }))).toEqual([{ path: "a.png" }, { path: "b.png" }]);
  });

  it("takes a system's turn, drawings of the assistant, and data URLs", () => {
    const dataUrl = "data:image/png;base64,AAAA";
    const messages = [
      { role: "system", content: "be brief" },
      { role: "user", content: "a ring" },
      { role: "assistant", content: [{ type: "image", image: dataUrl }] },
    ];
    expect(parse({ messages }).messages.at(-1)).toEqual({
      role: "assistant",
      content: [{ type: "image", image: { dataUrl } }],
    });
  });
});

describe("LLaVA's form", () => {
  it("puts the image where the mark is", () => {
    expect(parse(llava("<image>\nWhat is it?", "coco/1.jpg"))).toEqual({
      messages: [{ role: "user", content: [file("coco/1.jpg"), text("What is it?")] }, answer],
    });
    expect(question(parse(llava("What is it?\n<image>", "1.jpg")))).toEqual([
      text("What is it?"),
      file("1.jpg"),
    ]);
    expect(question(parse(llava("<image><image> same?", ["1.jpg", "2.jpg"])))).toEqual([
      file("1.jpg"),
      file("2.jpg"),
      text("same?"),
    ]);
  });

  it("takes text alone, in which a mark is text", () => {
    expect(question(parse(llava("What is an <image>?")))).toBe("What is an <image>?");
    expect(question(parse(llava("What?", null)))).toBe("What?");
  });
});

describe("paths", () => {
  it.each([
    ["/etc/passwd", "absolute path"],
    ["C:\\a.png", "absolute path"],
    ["\\\\host\\a.png", "absolute path"],
    ["../a.png", "leaves the data folder"],
    ["a/../../b.png", "leaves the data folder"],
    ["./../a.png", "leaves the data folder"],
    ["a\\..\\b.png", "leaves the data folder"],
    [".", "leaves the data folder"],
    ["a//b.png", "leaves the data folder"],
    ["", "not a path"],
    ["a\0.png", "not a path"],
    ["a".repeat(5000), "not a path"],
    ["https://host/a.png", "an address is no file"],
    ["file:///a.png", "an address is no file"],
  ])("refuses %j", (path, message) => {
    expect(() => parse(llava("<image> a", path))).toThrow(FormatError);
    expect(() => parse(llava("<image> a", path))).toThrow(message);
    expect(() => parse(llava("<image> a", path))).toThrow(/^a\.jsonl line 7: .*name: image;/);
  });

  it("may be absolute if that is allowed, but never lead upwards", () => {
    const rules = { allowAbsolute: true };
    expect(imagesOf(parse(llava("<image> a", "/data/a.png"), rules))).toEqual([{ path: "/data/a.png" }]);
    expect(() => parse(llava("<image> a", "../a.png"), rules)).toThrow("leaves the data folder");
  });
});

describe("parseConversation refuses", () => {
  const turn = (role: string) => ({ role, content: "x" });
  it.each<[string, unknown]>([
    ["must be an object; found: [1]", [1]],
    [
      "not a conversation; expected: messages, conversations (LLaVA), or image and caption; found: [text]",
      { text: "x" },
    ],
    ["not a conversation", { messages: [], conversations: [] }],
    ["must be a list; name: messages; found: {}", { messages: {} }],
    ["must end with the assistant's turn; name: messages; found: no turn", { messages: [] }],
    ['must be an object; name: messages[0]; found: "x"', { messages: ["x"] }],
    [
      'unknown; name: messages[0].role; expected: [system, user, assistant]; found: "tool"',
      { messages: [turn("tool")] },
    ],
    [
      'unknown; name: conversations[0].from; expected: [system, human, gpt]; found: "user"',
      { conversations: [{ from: "user", value: "x" }] },
    ],
    [
      "must alternate, the user's first; name: messages[0]; expected: user; found: assistant",
      { messages: [turn("assistant")] },
    ],
    [
      "must alternate, the user's first; name: messages[1]; expected: assistant; found: user",
      { messages: [turn("user"), turn("user")] },
    ],
    [
      "name: messages[2]; expected: assistant; found: system",
      { messages: [turn("system"), turn("user"), turn("system")] },
    ],
    ["must end with the assistant's turn; name: messages; found: user", { messages: [turn("user")] }],
    [
      "unknown field; name: messages[0].weight; expected: [role, content]; found: 0",
      { messages: [{ ...turn("user"), weight: 0 }] },
    ],
    ["unknown field; name: messages[0].tool_calls", { messages: [{ ...turn("user"), tool_calls: [] }] }],
    [
      "must be a string or a list of parts; name: messages[0].content; found: nothing",
      { messages: [{ role: "user" }] },
    ],
    ['a turn without text or image; name: messages[0].content; found: " "', asked(" ")],
    ["a turn without text or image", asked([])],
    [
      "a turn without text or image; name: messages[1].content",
      { messages: [turn("user"), { role: "assistant", content: "" }] },
    ],
    [
      'unknown; name: messages[0].content[0].type; expected: [text, image, image_url]; found: "audio"',
      asked([{ type: "audio" }]),
    ],
    ["must be a string; name: messages[0].content[0].text", asked([{ type: "text", text: 3 }])],
    ["an image part without an image; name: messages[0].content[0]", asked([{ type: "image" }])],
    [
      "two images in one part; name: messages[0].content[0]; found: [image, path]",
      asked([{ type: "image", image: "a", path: "b" }]),
    ],
    ["must be a string; name: messages[0].content[0].image; found: 5", asked([{ type: "image", image: 5 }])],
    ["unknown field; name: messages[0].content[0].crop", asked([{ type: "image", image: "a", crop: [1] }])],
    [
      "name: messages[0].content; expected: 1 mark; found: 2 or more",
      asked("<image><image>", { image: "a" }),
    ],
    ["expected: 2 marks; found: 1", asked("<image> x", { images: ["a", "b"] })],
    ["expected: 1 mark; found: 0", llava("x", "a")],
    ["expected: 0 marks; found: 1 or more", asked("<image> x", { images: [] })],
    ["image and images at once", asked("<image>", { image: "a", images: ["a"] })],
    ["must be a string; name: images[1]; found: null", asked("<image>", { images: ["a", null] })],
    ["not supported in training data", asked("x", { tools: [] })],
    ["not supported in training data", { ...llava("x"), video: "a.mp4" }],
    ['must be a string; name: conversations[0].value; found: ["x"]', llava(["x"] as unknown as string)],
  ])("%s", (message, value) => {
    expect(() => parse(value)).toThrow(FormatError);
    expect(() => parse(value)).toThrow(message);
    expect(() => parse(value)).toThrow(/^a\.jsonl line 7: /);
  });

  it("too many images, and shows long values cut", () => {
    const many = Array.from({ length: 3 }, () => ({ type: "image", image: "a.png" }));
    expect(() => parse(asked(many), { maxImages: 2 })).toThrow(
      "too many images; expected: at most 2; found: 3",
    );
    expect(imagesOf(parse(asked(many), { maxImages: 3 }))).toHaveLength(3);
    expect(() => parse({ messages: "y".repeat(1000) })).toThrow(/found: "y{59}…$/);
  });
});

describe("loadImages", () => {
  it("replaces images in their order, one at a time", async () => {
    const turns = [
      { role: "user", content: [{ type: "image", image: "a" }, text("x"), { type: "image", image: "b" }] },
      answer,
    ];
    let [running, most] = [0, 0];
    const loaded = await loadImages(parse({ messages: turns }), async (image) => {
      most = Math.max(most, ++running);
      await Promise.resolve();
      running--;
      return "path" in image ? image.path.toUpperCase() : "";
    });
    expect(loaded.messages).toEqual([
      { role: "user", content: [{ type: "image", image: "A" }, text("x"), { type: "image", image: "B" }] },
      answer,
    ]);
    expect(imagesOf(loaded)).toEqual(["A", "B"]);
    expect(most).toBe(1);
  });
});
