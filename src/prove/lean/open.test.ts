import { expect, test } from "vitest";
import { ConfigError } from "../../tensor/errors.ts";
import { LeanError } from "./lean-error.ts";
import { leanChoice, openLean } from "./open.ts";

test("flags choose a Lean", () => {
  expect(leanChoice(undefined, undefined)).toEqual({ kind: "wasm" });
  expect(leanChoice(undefined, "mine")).toEqual({ kind: "native", project: "mine" });
  expect(leanChoice("native", undefined)).toEqual({ kind: "native", project: "." });
  const url = "http://localhost:8000";
  expect(leanChoice(`kimina=${url}`, undefined, undefined)).toEqual({ kind: "kimina", url });
  expect(leanChoice(`kimina=${url}`, undefined, "k")).toEqual({ kind: "kimina", url, key: "k" });
  for (const [named, project] of [
    ["lean", undefined],
    ["kimina", undefined],
    ["wasm", "mine"],
    [`kimina=${url}`, "mine"],
  ]) {
    expect(() => leanChoice(named, project)).toThrow(ConfigError);
  }
});

test("says what is missing for a Lean of one's own", async () => {
  await expect(openLean({ kind: "native", project: "no-such-folder" })).rejects.toThrow(LeanError);
  await expect(openLean({ kind: "kimina", url: "nowhere" })).rejects.toThrow("http://localhost:8000");
});
