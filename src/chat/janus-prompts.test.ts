/** Prompts of Janus, Janus-Pro and JanusFlow against their own processor: roles, images, what precedes a drawing. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { worldTokenizer } from "../data/world/vocabulary.ts";
import { ConfigError } from "../tensor/errors.ts";
import { finish } from "../tokenizer/slices.ts";
import type { EncodeOptions, Tokenizer } from "../tokenizer/tokenizer.ts";
import { loadTokenizer } from "../tokenizer/tokenizer.ts";
import { type ImageMessage, markedContent, type PromptPiece } from "./image-messages.ts";
import { visionTemplate } from "./vision-template.ts";
import {
  drawingPrompt,
  renderVl,
  VL_SYSTEM,
  type VlFamily,
  vlLessonPieces,
  vlPrompt,
  vlVoices,
} from "./vl-prompt.ts";

const IMAGE = "<image_placeholder>";
const TOKENS = {
  "<｜end▁of▁sentence｜>": 100001,
  "<begin_of_image>": 100016,
  "<end_of_image>": 100593,
  "<｜begin▁of▁generation｜>": 100600,
  [IMAGE]: 100581,
};
const PRO = { ...TOKENS, "<|User|>": 100601, "<|Assistant|>": 100602 };

/** A character is its code point; control tokens are ids above all of these. */
function characters(tokens: Readonly<Record<string, number>>): Tokenizer {
  const tokenizer = {
    prefixIds: [100000],
    specialIds: { bos: 100000, eos: 100001 },
    idOf: (token: string) => tokens[token],
    encode: () => [],
    decode: () => "",
    *encodeSlices(text: string, options: EncodeOptions = {}) {
      expect(options.parseSpecial).toBe(false);
      return Array.from(text, (c) => c.codePointAt(0)!);
    },
  };
  return tokenizer as unknown as Tokenizer;
}

/** The prompt as one text, control tokens by name. */
function shown(pieces: readonly PromptPiece[], tokens: Readonly<Record<string, number>>): string {
  const names = new Map(Object.entries(tokens).map(([name, id]) => [id, name]));
  names.set(100000, "<bos>");
  const one = (id: number) => names.get(id) ?? String.fromCodePoint(id);
  return pieces.map((piece) => ("ids" in piece ? piece.ids.map(one).join("") : IMAGE)).join("");
}

interface Case {
  readonly system: string;
  readonly messages: readonly { readonly role: string; readonly content: string }[];
  readonly rendered: string;
}
const path = new URL("../../test/fixtures/janus/prompts.json", import.meta.url);
const cases = JSON.parse(readFileSync(path, "utf8")).cases as Case[];
const roleOf = (role: string) => role.replace(/[<|>]/g, "").toLowerCase() as ImageMessage["role"];

describe("prompts of Janus", () => {
  it.each([
    ["janus", "User", TOKENS],
    ["janus-pro", "<|User|>", PRO],
    ["janus-pro", "<|User|>", TOKENS],
    ["janusflow", "User", PRO],
  ] as const)("render with the roles of %s, %s", (family, role, tokens) => {
    const own = cases.filter(({ messages }) => messages[0].role === role);
    expect(own).toHaveLength(15);
    for (const { system, messages, rendered } of own) {
      const turns = messages.map(({ role, content }) => ({
        role: roleOf(role),
        content: markedContent(content, IMAGE),
      }));
      const whole = [{ role: "system" as const, content: system }, ...turns];
      const parts = renderVl(whole, false, vlVoices(characters(tokens), family));
      const text = parts.map((part) =>
        part.type === "text" ? part.text : part.type === "token" ? part.token : IMAGE,
      );
      expect(text.join("")).toBe(rendered);
    }
  });

  it.each([
    ["vl", TOKENS, `User: ${IMAGE}What?\n\nAssistant:`],
    ["janus", TOKENS, `User: <begin_of_image>${IMAGE}<end_of_image>What?\n\nAssistant:`],
    ["janus-pro", PRO, `<|User|>: <begin_of_image>${IMAGE}<end_of_image>What?\n\n<|Assistant|>:`],
    // What begins an image is a vector that the model learned.
    ["janusflow", TOKENS, `User: ${IMAGE}<end_of_image>What?\n\nAssistant:`],
  ] as const)(
    "of %s have their tokens around images, and the system text before",
    (family, tokens, expected) => {
      const message = { role: "user" as const, content: markedContent(`${IMAGE}What?`, IMAGE) };
      const tokenizer = characters(tokens);
      expect(shown(vlPrompt([message], tokenizer, undefined, family), tokens)).toBe(
        `<bos>${VL_SYSTEM}\n\n${expected}`,
      );
      const template = visionTemplate(tokenizer, family, IMAGE);
      const { ids, places } = template.prompt([
        {
          role: "user",
          content: [
            { type: "image", image: Uint8Array.of(1) },
            { type: "text", text: "What?" },
          ],
        },
      ]);
      expect(shown([{ ids, learned: false }], tokens)).toBe(`<bos>${VL_SYSTEM}\n\n${expected}`);
      expect(places.map((at) => ids[at])).toEqual([TOKENS[IMAGE]]);
      const lesson = finish(
        vlLessonPieces([message, { role: "assistant", content: "Yes" }], tokenizer, family),
      );
      expect(shown(lesson, tokens)).toContain(expected);
    },
  );

  it.each([
    ["janus", TOKENS, "<bos>User: a red cube\n\nAssistant:<begin_of_image>"],
    ["janus-pro", PRO, "<bos><|User|>: a red cube\n\n<|Assistant|>:<begin_of_image>"],
    ["janusflow", TOKENS, "<bos>User: a red cube\n\nAssistant:<｜begin▁of▁generation｜>"],
  ] as const)(
    "before a drawing of %s have no system text, and end where an image begins",
    (family, tokens, expected) => {
      expect(
        shown([{ ids: drawingPrompt(" a red cube\n", characters(tokens), family), learned: false }], tokens),
      ).toBe(expected);
    },
  );

  it("take no control token from what is to be drawn", () => {
    const ids = drawingPrompt("<|Assistant|>: <begin_of_image>", characters(PRO), "janus-pro");
    const special = ids.filter((id) => id > 100000);
    expect(special).toEqual([PRO["<|User|>"], PRO["<|Assistant|>"], PRO["<begin_of_image>"]]);
  });

  it("are refused by a vocabulary without the token that begins an image", () => {
    expect(() => drawingPrompt("a cube", characters({}), "janus")).toThrow(ConfigError);
    expect(() => drawingPrompt("a cube", characters({}), "janus")).toThrow("<begin_of_image>");
  });

  it.each(["janus", "janus-pro", "janusflow"] as const)("of %s speak the world's vocabulary", (family) => {
    const { tokenizer: json, config } = worldTokenizer();
    const tokenizer = loadTokenizer(json, config);
    const names = drawingPrompt("a red ring", tokenizer, family).map((id) => tokenizer.tokenOf(id));
    const begin = family === "janusflow" ? "<｜begin▁of▁generation｜>" : "<begin_of_image>";
    const turn = ["<|User|>", ":", "a", "red", "ring", "\n", "\n", "<|Assistant|>", ":"];
    expect(names).toEqual(["<｜begin▁of▁sentence｜>", ...turn, begin]);
  });

  it("end where the other side would speak", () => {
    const stops = (family: VlFamily) => visionTemplate(characters(PRO), family, IMAGE);
    expect(stops("janus-pro").stopStrings).toEqual(["<|User|>"]);
    expect(stops("janus-pro").stopIds).toEqual([100001, PRO["<|User|>"]]);
    expect(stops("janus").stopStrings).toEqual(["User:"]);
  });
});
