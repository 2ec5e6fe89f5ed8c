import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { recoverConversation } from "./chat-recovery.ts";

it("writes the conversation where it can, replaces nothing, and says where it is", async () => {
  const folder = mkdtempSync(join(tmpdir(), "recovery-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const now = new Date("2026-11-27T09:45:12.345Z");
  const told: string[] = [];
  const recover = (text: string, folders: readonly string[]) =>
    recoverConversation(text, (line) => told.push(line), { folders, now });
  const missing = join(folder, "missing", "deep");
  await recover("first", [missing, folder]);
  const path = join(folder, "deepseek-ts-chat-20261127-094512.json");
  expect(told).toEqual([`conversation saved to ${path}; \`/load ${path}\` continues it\n`]);
  await recover("second", [folder]);
  expect(told[1]).toMatch(/^error: the conversation could not be saved: .*already exists/);
  expect(readFileSync(path, "utf8")).toBe("first");
  expect(readdirSync(folder)).toHaveLength(1);
});
