import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { JobView } from "../../serve/studio/protocol.ts";
import { rootsAndModels, stoppedText } from "./studio.ts";

const folder = mkdtempSync(join(tmpdir(), "deepseek-ts-studio-command-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("roots and models of the command line", () => {
  it("give each model a root that has it, and no more than that", () => {
    const at = (...parts: string[]) => join(folder, ...parts);
    mkdirSync(at("models", "a"), { recursive: true });
    mkdirSync(at("models-beside"));
    writeFileSync(at("b.gguf"), "");
    const roots = [at("models")];
    expect(rootsAndModels([at("models", "a"), "org/name"], roots)).toEqual({
      roots,
      paths: [at("models", "a"), null],
    });
    expect(rootsAndModels([at("models-beside")], roots).roots).toEqual([...roots, at("models-beside")]);
    expect(rootsAndModels([at("b.gguf")], roots)).toEqual({
      roots: [...roots, folder],
      paths: [at("b.gguf")],
    });
    expect(() => rootsAndModels([at("absent")], roots)).toThrow(
      "neither an existing file or folder nor a name",
    );
  });
});

it("says what was running, and how far it was", () => {
  const job = (kind: JobView["kind"], title: string, progress: JobView["progress"]) =>
    ({ kind, title, progress }) as JobView;
  expect(stoppedText([])).toBe("stopped; nothing was running\n");
  expect(
    stoppedText([
      job("train", "train runs/a", { done: 3, total: 8, unit: "steps", text: "trains" }),
      job("chat", "hello", { done: 5, total: null, unit: "tokens", text: "answers" }),
      job("check", "check a text", null),
    ]),
  ).toBe(
    "stopping 3 jobs:\n  train: train runs/a, 3 of 8 steps\n  chat: hello, 5 tokens\n  check: check a text\n",
  );
});
