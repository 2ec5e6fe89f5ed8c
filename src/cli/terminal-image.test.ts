import { describe, expect, it } from "vitest";
import { Random } from "../tensor/random.ts";
import { decodeImage } from "../vision/image/decode.ts";
import type { RgbImage } from "../vision/image/image.ts";
import { imageProtocol, imageText, sixelText } from "./terminal-image.ts";

/** Control characters as their pictures. */
const visible = (text: string) => text.replaceAll("\x1b", "␛").replaceAll("\x07", "␇");

/** A picture of noise. */
function picture(width: number, height: number): RgbImage {
  const rgb = new Uint8Array(width * height * 3);
  const random = new Random(5);
  for (let i = 0; i < rgb.length; i++) rgb[i] = random.int(256);
  return { width, height, rgb };
}

describe("imageProtocol", () => {
  const cases: [string, Record<string, string>, string | null][] = [
    ["kitty", { TERM: "xterm-kitty", KITTY_WINDOW_ID: "1" }, "kitty"],
    ["Ghostty", { TERM: "xterm-ghostty", TERM_PROGRAM: "ghostty" }, "kitty"],
    ["iTerm2", { TERM: "xterm-256color", TERM_PROGRAM: "iTerm.app" }, "iterm2"],
    ["iTerm2 over ssh", { TERM: "xterm-256color", LC_TERMINAL: "iTerm2" }, "iterm2"],
    ["WezTerm", { TERM: "xterm-256color", TERM_PROGRAM: "WezTerm" }, "iterm2"],
    ["a new Konsole", { TERM: "xterm-256color", KONSOLE_VERSION: "230804" }, "iterm2"],
    ["an old Konsole", { TERM: "xterm-256color", KONSOLE_VERSION: "211203" }, null],
    ["foot", { TERM: "foot-extra" }, "sixel"],
    ["mlterm", { TERM: "mlterm-256color" }, "sixel"],
    ["kitty with tmux inside", { TERM: "tmux-256color", TMUX: "/tmp/x", KITTY_WINDOW_ID: "1" }, null],
    ["iTerm2 with screen inside", { TERM: "screen", STY: "1.pts", TERM_PROGRAM: "iTerm.app" }, null],
    ["Terminal.app", { TERM: "xterm-256color", TERM_PROGRAM: "Apple_Terminal" }, null],
    ["a console", { TERM: "linux" }, null],
    ["nothing", {}, null],
  ];
  it.each(cases)("is told for %s", (_, environment, expected) =>
    expect(imageProtocol(environment)).toBe(expected),
  );
});

describe("imageText", () => {
  it("is for kitty a PNG in messages of at most 4096 bytes", async () => {
    const image = picture(60, 50);
    const text = visible(await imageText(image, "kitty", 9));
    const messages = [...text.matchAll(/␛_G([^;]*);([^␛]*)␛\\/g)];
    expect(messages.map(([whole]) => whole).join("")).toBe(text);
    expect(messages.length).toBeGreaterThan(2);
    const keys = messages.map(
      ([, each]) => new Map(each.split(",").map((pair) => pair.split("=") as [string, string])),
    );
    expect(Object.fromEntries(keys[0])).toMatchObject({ f: "100", a: "T", r: "9", q: "2", C: "1" });
    expect(keys.map((each) => each.get("m"))).toEqual([...messages.slice(1).map(() => "1"), "0"]);
    for (const [, , data] of messages) expect(data.length).toBeLessThanOrEqual(4096);
    const png = Buffer.from(messages.map(([, , data]) => data).join(""), "base64");
    expect((await decodeImage(png, { name: "kitty" })).rgb).toEqual(image.rgb);
  });

  it("is for iTerm2 one PNG with its length and height", async () => {
    const image = picture(6, 5);
    const [, keys, data] = /^␛\]1337;File=([^:]*):(.*)␇$/.exec(visible(await imageText(image, "iterm2", 9)))!;
    const png = Buffer.from(data, "base64");
    expect(keys.split(";")).toEqual(["inline=1", `size=${png.length}`, "height=9", "preserveAspectRatio=1"]);
    expect((await decodeImage(png, { name: "iterm2" })).rgb).toEqual(image.rgb);
  });

  it("is for sixels not higher than its rows", async () => {
    const size = async (image: RgbImage) =>
      /^␛Pq"1;1;(\d+;\d+)/.exec(visible(await imageText(image, "sixel", 5)))![1];
    expect(await size(picture(100, 200))).toBe("40;80");
    expect(await size(picture(30, 20))).toBe("30;20");
  });
});

/** What a terminal shows of sixels: the subset of the protocol that has no pixel painted twice. */
function shown(text: string): RgbImage {
  const [, size, body] = /^␛Pq"1;1;(\d+;\d+)(.*)␛\\$/s.exec(visible(text))!;
  const [width, height] = size.split(";").map(Number);
  const rgb = new Uint8Array(width * height * 3);
  const painted = new Uint8Array(width * height);
  const palette = new Map<number, number[]>();
  let [x, top, color] = [0, 0, -1];
  for (const [, define, red, green, blue, choose, move, times, letter] of body.matchAll(
    /#(\d+);2;(\d+);(\d+);(\d+)|#(\d+)|([$-])|(?:!(\d+))?([?-~])/g,
  )) {
    if (define !== undefined) palette.set(Number(define), [red, green, blue].map(Number));
    else if (choose !== undefined) color = Number(choose);
    else if (move !== undefined) {
      x = 0;
      if (move === "-") top += 6;
    } else {
      for (let i = 0; i < Number(times ?? 1); i++, x++) {
        const bits = letter.charCodeAt(0) - 63;
        for (let row = 0; row < 6; row++) {
          if (!((bits >> row) & 1)) continue;
          const at = (top + row) * width + x;
          expect(painted[at]++).toBe(0);
          rgb.set(
            palette.get(color)!.map((percent) => Math.round(percent * 2.55)),
            at * 3,
          );
        }
      }
    }
  }
  expect(painted.every((count) => count === 1)).toBe(true);
  return { width, height, rgb };
}

describe("sixelText", () => {
  it("paints every pixel once, near its color", () => {
    const image = picture(41, 32);
    const found = shown(sixelText(image));
    expect([found.width, found.height]).toEqual([41, 32]);
    for (let i = 0; i < image.rgb.length; i++) {
      expect(Math.abs(found.rgb[i] - image.rgb[i])).toBeLessThanOrEqual(i % 3 === 1 ? 44 : 53);
    }
  });

  it("keeps the mean of a color between two of the palette", () => {
    const rgb = new Uint8Array(16 * 16 * 3).map((_, i) => [100, 33, 217][i % 3]);
    const found = shown(sixelText({ width: 16, height: 16, rgb }));
    for (let c = 0; c < 3; c++) {
      const sum = found.rgb.filter((_, i) => i % 3 === c).reduce((a, b) => a + b, 0);
      expect(Math.abs(sum / 256 - [100, 33, 217][c])).toBeLessThan(3);
    }
  });

  it("paints colors of the palette as they are", () => {
    const colors = [
      [0, 0, 0],
      [255, 255, 255],
      [255, 0, 0],
      [51, 85, 204],
    ];
    const rgb = Uint8Array.from(colors.flatMap((color) => Array.from({ length: 9 }, () => color).flat()));
    const found = shown(sixelText({ width: 9, height: 4, rgb }));
    // Terminals take whole percents.
    for (let i = 0; i < rgb.length; i++) expect(Math.abs(found.rgb[i] - rgb[i])).toBeLessThanOrEqual(1);
  });
});
