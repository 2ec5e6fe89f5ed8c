/** The name that is proposed for another form of a model. */
import { expect, it } from "vitest";
import type { ModelEntry } from "../backend/wire.ts";
import { proposedPath } from "./derive-dialog.tsx";

const entry = (model: string, from: ModelEntry["from"]) => ({ model, from });

it("is new, beside the model, and of a kind that the server takes", () => {
  const inRoot = entry("models/a/tiny", { root: "models", path: "a/tiny" });
  const file = entry("models/coder.GGUF", { root: "models", path: "coder.GGUF" });
  expect(proposedPath(inRoot, "q4", "quantize")).toBe("a/tiny-q4");
  expect(proposedPath(inRoot, "q8_0", "convert")).toBe("a/tiny-q8_0.gguf");
  expect(proposedPath(file, "q8", "quantize")).toBe("coder-q8");
  expect(proposedPath(entry("ada/some@1.0 b", "hub"), "q8", "quantize")).toBe("some-1.0-b-q8");
});
