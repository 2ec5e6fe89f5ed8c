/** `/draw` in a conversation: a picture in a file of its own, progress, stops, and what models that do not draw answer. */
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { modelTemplate } from "../chat/model-template.ts";
import { worldFolder } from "../data/world/testing-checkpoints.ts";
import { Conversation } from "../engine/conversation.ts";
import { draw } from "../engine/draw/draw.ts";
import { type LoadedModel, loadFolder } from "../pretrained/load.ts";
import type { Device } from "../tensor/tensor.ts";
import { cpuDevice } from "../tensor/testing.ts";
import { decodeImage } from "../vision/image/decode.ts";
import { pngTexts } from "../vision/image/png-text.ts";
import { chatDrawing } from "./chat-drawing.ts";
import { type ChatTerminal, chatLoop, type Line } from "./chat-loop.ts";
import { imageEncoder, readImageFile } from "./image-files.ts";
import { greedySettings } from "./testing.ts";

let device: Device;
let folder: string;
const models: Record<string, LoadedModel> = {};
beforeAll(async () => {
  device = await cpuDevice(1, true);
  folder = await mkdtemp(join(tmpdir(), "chat-drawing-"));
  for (const kind of ["janus", "janusflow", "vl"] as const)
    models[kind] = await loadFolder(await worldFolder(kind, device), { device, drawing: true });
});
afterAll(async () => {
  for (const each of Object.values(models)) await each.dispose();
  await rm(folder, { recursive: true, force: true });
});

/** Plays a user who types `typed`, then Ctrl-D; `stops` presses Ctrl-C once something is told of a drawing. */
async function play(kind: string, typed: readonly string[], stops = false) {
  const opened = models[kind];
  const { model, tokenizer } = opened;
  using images = imageEncoder(opened, {})!;
  const template = modelTemplate(opened, tokenizer!);
  using conversation = new Conversation(model, tokenizer!, template, { images });
  const queue = [...typed];
  const told: string[] = [];
  let screen = "";
  let stop = () => {};
  const terminal: ChatTerminal = {
    async readLine(prompt): Promise<Line> {
      const text = queue.shift();
      if (text === undefined) return { kind: "end" };
      screen += `${prompt}${text}\n`;
      return { kind: "line", text };
    },
    write: (text, style) => {
      screen += style === "note" ? `[${text.trimEnd()}]\n` : text;
    },
    stoppable: (body) => {
      const controller = new AbortController();
      stop = () => controller.abort();
      return body(controller.signal);
    },
    readFile: async () => "",
    readImage: (path) => readImageFile(path),
    status: (text) => {
      if (text === null) return;
      told.push(text);
      if (stops) stop();
    },
    writeFile: async () => {},
  };
  const screenOf = { write: () => {} };
  const drawer = chatDrawing(opened, { dtype: "f32", folder, screen: screenOf, seed: () => 7 });
  const settings = { ...greedySettings, maxTokens: 4 };
  await chatLoop(conversation, terminal, settings, { greeting: "hello", draw: drawer });
  return { screen, told };
}

it.each(["janus", "janusflow"])("draws with %s what `draw` draws, and the model sees it", async (kind) => {
  const path = join(folder, "a-red-ring-seed7-1.png");
  await rm(path, { force: true });
  const { screen, told } = await play(kind, [
    "/draw a red ring",
    `/image ${path}`,
    "what color is the ring ?",
  ]);
  expect(screen).toContain(`[drew ${path}; /image ${path} shows it to the model]\n`);
  expect(told[0]).toMatch(/^drawing: (row 1 of 4|step 1 of 30)/);
  expect(screen).not.toContain("error");
  const bytes = new Uint8Array(await readFile(path));
  expect(Object.fromEntries(pngTexts(bytes))).toMatchObject({
    prompt: "a red ring",
    seed: "7",
    dtype: "f32",
  });
  const { rgb } = await decodeImage(bytes, { name: path });
  for await (const event of draw(models[kind], { prompt: "a red ring", seed: 7 })) {
    if (event.type === "image") expect(rgb).toEqual(event.picture.rgb);
  }
});

it("gives every picture a file of its own", async () => {
  await play("janus", ["/draw a blue cross"]);
  const before = await readFile(join(folder, "a-blue-cross-seed7-1.png"));
  const { screen } = await play("janusflow", ["/draw a blue cross"]);
  const other = join(folder, "a-blue-cross-seed7-1.2.png");
  expect(screen).toContain(`[drew ${other};`);
  expect(await readFile(join(folder, "a-blue-cross-seed7-1.png"))).toEqual(before);
});

it("stops on Ctrl-C, leaves no file, and goes on", async () => {
  const { screen } = await play("janus", ["/draw a ring", "/draw"], true);
  expect(screen).toContain("> /draw a ring\n[(stopped)]\n> /draw\n[usage: /draw PROMPT]\n");
  expect((await readdir(folder)).filter((name) => name.startsWith("a-ring"))).toEqual([]);
});

it("says that a model draws nothing, and of what it cannot write the reason", async () => {
  expect((await play("vl", ["/draw a ring"])).screen).toContain("[error: memory: the model does not draw");
  const { screen } = await play("janus", ["/draw unspeakable"]);
  expect(screen).toContain("[error: encode: the vocabulary lacks");
  const help = await play("janus", ["/help"]);
  expect(help.screen).toContain("/draw PROMPT");
});
