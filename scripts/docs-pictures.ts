/**
 * Draws the pictures of docs/vision.md with the commands that stand there: trains a small model on scenes of the picture world, marks
 * what it finds with `ground`, and asks it on the page of examples/browser. With a folder as an argument that model is asked
 * instead. Needs Chromium, and takes under a minute.
 */
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { describeObjects } from "../src/data/world/questions.ts";
import { worldSample } from "../src/data/world/sample.ts";
import { worldCheckpoint } from "../src/data/world/testing-checkpoints.ts";
import { createCpuDevice } from "../src/tensor/cpu/backend.ts";
import { encodePng } from "../src/vision/image/png-writer.ts";
import { findChromium, serveSite, startChromium } from "../test/browser/chromium.ts";
import { buildExample } from "../test/browser/example-site.ts";
import { root } from "./support/packed-package.ts";

const SCENES = 12;
const pictures = join(root, "docs/pictures");
const work = mkdtempSync(join(tmpdir(), "deepseek-ts-pictures-"));
const path = (name: string) => join(work, name);

function cli(...args: readonly string[]): void {
  console.log(`deepseek-ts ${args.join(" ")}`);
  const main = join(root, "src/cli/main.ts");
  const { status } = spawnSync(process.execPath, [main, ...args], { cwd: work, stdio: "inherit" });
  if (status !== 0) throw new Error(`deepseek-ts ${args[0]} ended with status ${status}`);
}

/** Scenes of four objects and more, as a folder of pictures with questions about each. */
async function writeScenes(): Promise<string> {
  const lines: string[] = [];
  let phrase = "";
  for (let index = 0; lines.length < 2 * SCENES; index++) {
    const { task, image, objects, question, answer } = worldSample("questions", 2, index);
    if (task !== "find" || objects!.length < 4) continue;
    const file = `scene-${lines.length / 2}.png`;
    phrase ||= question.replaceAll(/<[^>]*>/g, "");
    writeFileSync(path(`scenes/${file}`), await encodePng(image!));
    const described = ["<|grounding|>describe the image .", describeObjects(objects!, image!.width)];
    for (const [asked, answered] of [[question, answer], described]) {
      const content = [
        { type: "image", image: file },
        { type: "text", text: asked },
      ];
      const messages = [
        { role: "user", content },
        { role: "assistant", content: answered },
      ];
      lines.push(JSON.stringify({ messages }));
    }
  }
  writeFileSync(path("scenes/scenes.jsonl"), `${lines.join("\n")}\n`);
  return phrase;
}

try {
  mkdirSync(pictures, { recursive: true });
  for (const name of ["scenes", "small"]) mkdirSync(path(name));
  const phrase = await writeScenes();
  const model = process.argv[2] === undefined ? path("own/model") : resolve(process.argv[2]);
  if (process.argv[2] === undefined) {
    await using device = await createCpuDevice({ threads: 1 });
    for (const [name, bytes] of await worldCheckpoint("vl2", device))
      if (name.endsWith(".json")) writeFileSync(path(`small/${name}`), bytes);
    const length = ["--batch", "8", "--rate", "4e-3", "--steps", "500", "--held-out", "0", "--threads", "1"];
    cli("train", "--data", "scenes/scenes.jsonl", "--init", "small", "--out", "own", ...length);
  }
  if (!existsSync(join(model, "config.json"))) throw new Error(`${model}: no model is there`);
  const boxes = (name: string) => ["--out", join(pictures, name), "--force", "--temperature", "0"];
  cli("ground", model, "scenes/scene-0.png", phrase, ...boxes("found.png"));
  cli("ground", model, "scenes/scene-1.png", ...boxes("described.png"));

  const executablePath = findChromium();
  if (executablePath === null) throw new Error("the picture of the page needs a Chromium (CHROMIUM_PATH)");
  const { folder, page: html } = await buildExample("pictures-of-docs");
  cpSync(model, join(folder, "model"), { recursive: true });
  await using server = await serveSite(folder, html);
  const browser = await startChromium(executablePath);
  const page = await browser.newPage({ viewport: { width: 720, height: 790 } });
  await page.goto(`${server.url}/?model=model`);
  await page.getByText(/is open/).waitFor({ timeout: 120_000 });
  await page.setInputFiles("#file", path("scenes/scene-0.png"));
  await page.fill("#question", phrase);
  await page.check("#find");
  await page.click("#ask button[type=submit]");
  await page.getByText(/written$/).waitFor({ timeout: 120_000 });
  await page.screenshot({ path: join(pictures, "page.png") });
  await browser.close();
} finally {
  rmSync(work, { recursive: true, force: true });
}
