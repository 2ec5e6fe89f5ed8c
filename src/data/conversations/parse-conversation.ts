/**
 * One conversation from the JSON of a line, in one of three forms:
 *
 *     {"messages": [{"role": "user", "content": [{"type": "image", "image": "a.png"}, {"type": "text", "text": ".."}]}, ..]}
 *     {"image": "a.png", "conversations": [{"from": "human", "value": "<image>\n.."}, {"from": "gpt", "value": ".."}]}
 *     {"image": "a.png", "caption": "a red ring"}
 *
 * The first is that of OpenAI and Hugging Face, the second LLaVA's; the third is a picture whose caption is the answer, or which is
 * drawn for it. `image` or `images` beside either of them are the
 * pictures of `<image>` marks in texts, and of image parts that name none, in their order; without them `<image>` is
 * text. White space around a mark is dropped, since templates set images off themselves. A conversation without images is
 * text alone. Fields of a line that say where it is from (`id`, `source`) are passed over.
 */
import { type ConversationRules, type JsonFields, LineFields, shown } from "./fields.ts";
import type {
  ConversationMessage,
  ConversationPart,
  ConversationRole,
  ImageConversation,
  ImageSource,
} from "./messages.ts";
import { imagesOf } from "./messages.ts";

type Part = ConversationPart<ImageSource>;
type Content = ConversationMessage<ImageSource>["content"];

const MARK = "<image>";
const ROLES: ReadonlyMap<string, ConversationRole> = new Map([
  ["system", "system"],
  ["user", "user"],
  ["assistant", "assistant"],
]);
const LLAVA_ROLES: ReadonlyMap<string, ConversationRole> = new Map([
  ["system", "system"],
  ["human", "user"],
  ["gpt", "assistant"],
]);
/** Further keys of a line that would change what is learned. */
const UNSUPPORTED = ["tools", "functions", "system", "video", "videos", "audio", "audios"];
/** Where an image part names its file. */
const IMAGE_KEYS = ["image", "image_url", "path", "url"];

/** The images named beside the turns, in their order, as marks use them up. */
class Supply {
  readonly #fields: LineFields;
  /** Null: none are named, and marks are text. */
  readonly #images: readonly ImageSource[] | null;
  #used = 0;
  #marks = 0;

  constructor(fields: LineFields, json: JsonFields) {
    this.#fields = fields;
    const given = (["image", "images"] as const).filter(
      (key) => json[key] !== undefined && json[key] !== null,
    );
    if (given.length > 1) fields.refuse("images", "image and images at once", { expected: "one of them" });
    const [key] = given;
    const value = json[key];
    if (key === undefined) this.#images = null;
    else if (Array.isArray(value)) {
      this.#images = value.map((item, i) => fields.image(imageText(item), `${key}[${i}]`));
    } else this.#images = [fields.image(imageText(value), key)];
  }

  get marked(): boolean {
    return this.#images !== null;
  }

  next(field: string): ImageSource {
    this.#marks++;
    const image = this.#images?.[this.#used++];
    return image ?? this.#miscount(field);
  }

  /** All images must have been used. */
  end(): void {
    if (this.#images !== null && this.#used < this.#images.length) this.#miscount("");
  }

  #miscount(field: string): never {
    const images = this.#images?.length ?? 0;
    const marks = field === "" ? String(this.#marks) : `${this.#marks} or more`;
    return this.#fields.refuse(field, `as many ${MARK} marks as images are needed`, {
      expected: `${images} ${images === 1 ? "mark" : "marks"}`,
      found: marks,
    });
  }
}

/** Hugging Face writes images as objects with a path too. */
function imageText(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  const { path, url } = value as JsonFields;
  return path ?? url ?? value;
}

/** Text with its marks replaced by images; the text alone if it has none. */
function splitMarks(text: string, field: string, supply: Supply): Content {
  if (!supply.marked || !text.includes(MARK)) return text;
  const texts = text.split(MARK);
  return texts.flatMap((between, i): Part[] => {
    let trimmed = i > 0 ? between.trimStart() : between;
    if (i < texts.length - 1) trimmed = trimmed.trimEnd();
    const part: Part[] = trimmed === "" ? [] : [{ type: "text", text: trimmed }];
    return i === 0 ? part : [{ type: "image", image: supply.next(field) }, ...part];
  });
}

function parsePart(value: unknown, field: string, fields: LineFields, supply: Supply): Part[] {
  const json = fields.object(value, field);
  switch (json.type) {
    case "text": {
      fields.only(json, ["type", "text"], field);
      const content = splitMarks(fields.text(json.text, `${field}.text`), `${field}.text`, supply);
      return typeof content === "string" ? [{ type: "text", text: content }] : [...content];
    }
    case "image":
    case "image_url": {
      fields.only(json, ["type", "detail", ...IMAGE_KEYS], field);
      const keys = IMAGE_KEYS.filter((key) => json[key] !== undefined && json[key] !== null);
      if (keys.length > 1) fields.refuse(field, "two images in one part", { found: keys });
      if (keys.length === 0) {
        if (!supply.marked) fields.refuse(field, "an image part without an image", { expected: IMAGE_KEYS });
        return [{ type: "image", image: supply.next(field) }];
      }
      return [{ type: "image", image: fields.image(imageText(json[keys[0]]), `${field}.${keys[0]}`) }];
    }
    default:
      return fields.refuse(`${field}.type`, "unknown", {
        expected: ["text", "image", "image_url"],
        found: shown(json.type),
      });
  }
}

function parseContent(value: unknown, field: string, fields: LineFields, supply: Supply): Content {
  if (typeof value === "string") return splitMarks(value, field, supply);
  if (!Array.isArray(value)) {
    return fields.refuse(field, "must be a string or a list of parts", { found: shown(value) });
  }
  return value.flatMap((part, i) => parsePart(part, `${field}[${i}]`, fields, supply));
}

const isEmpty = (content: Content) =>
  typeof content === "string"
    ? content.trim() === ""
    : content.every((part) => part.type === "text" && part.text.trim() === "");

/** System first if at all, then users and assistants in turn; what follows the last answer would not be learned. */
function checkOrder(messages: readonly ConversationMessage<ImageSource>[], list: string, fields: LineFields) {
  const first = messages[0]?.role === "system" ? 1 : 0;
  messages.slice(first).forEach(({ role }, i) => {
    const expected = i % 2 === 0 ? "user" : "assistant";
    if (role === expected) return;
    fields.refuse(`${list}[${first + i}]`, "turns must alternate, the user's first", {
      expected,
      found: role,
    });
  });
  if (messages.at(-1)?.role === "assistant") return;
  fields.refuse(list, "must end with the assistant's turn", { found: messages.at(-1)?.role ?? "no turn" });
}

function parseTurns(
  json: JsonFields,
  fields: LineFields,
  supply: Supply,
  [list, roleKey, textKey]: readonly [list: string, role: string, text: string],
): ConversationMessage<ImageSource>[] {
  const roles = list === "messages" ? ROLES : LLAVA_ROLES;
  return fields.list(json[list], list).map((value, i) => {
    const field = `${list}[${i}]`;
    const turn = fields.object(value, field);
    fields.only(turn, [roleKey, textKey], field);
    const role = fields.oneOf(turn[roleKey], roles, `${field}.${roleKey}`);
    const where = `${field}.${textKey}`;
    const content =
      list === "messages"
        ? parseContent(turn[textKey], where, fields, supply)
        : splitMarks(fields.text(turn[textKey], where), where, supply);
    if (isEmpty(content))
      fields.refuse(where, "a turn without text or image", { found: shown(turn[textKey]) });
    return { role, content };
  });
}

function parseCaptioned(json: JsonFields, fields: LineFields): ImageConversation<ImageSource> {
  const caption = fields.text(json.caption, "caption");
  if (caption.trim() === "") fields.refuse("caption", "empty", { found: shown(json.caption) });
  if (json.image === undefined || json.image === null) {
    fields.refuse("image", "a caption without its picture", { expected: "a path or a data URL" });
  }
  const image = fields.image(imageText(json.image), "image");
  return {
    messages: [
      { role: "user", content: [{ type: "image", image }] },
      { role: "assistant", content: caption },
    ],
    captioned: true,
  };
}

/**
 * The conversation of a parsed line. `where` names file and line.
 * @throws FormatError with the field that is missing, malformed, unknown, or not allowed by `rules`
 */
export function parseConversation(
  value: unknown,
  where: string,
  rules: ConversationRules = {},
): ImageConversation<ImageSource> {
  const fields = new LineFields(where, rules);
  const json = fields.object(value, "");
  for (const key of UNSUPPORTED) {
    if (json[key] !== undefined && json[key] !== null) fields.refuse(key, "not supported in training data");
  }
  const forms = ["messages", "conversations", "caption"].filter((key) => json[key] !== undefined);
  if (forms.length !== 1) {
    const found = forms.length === 0 ? Object.keys(json).slice(0, 8) : forms;
    fields.refuse("", "not a conversation", {
      expected: "messages, conversations (LLaVA), or image and caption",
      found,
    });
  }
  if (forms[0] === "caption") return parseCaptioned(json, fields);
  const supply = new Supply(fields, json);
  const messages =
    forms[0] === "messages"
      ? parseTurns(json, fields, supply, ["messages", "role", "content"])
      : parseTurns(json, fields, supply, ["conversations", "from", "value"]);
  supply.end();
  checkOrder(messages, forms[0], fields);
  const images = imagesOf({ messages }).length;
  const { maxImages } = fields.rules;
  if (images > maxImages)
    fields.refuse("", "too many images", { expected: `at most ${maxImages}`, found: images });
  return { messages };
}
