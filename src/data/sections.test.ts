import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { openForReading } from "../files/text-file.ts";
import { readSection, sectionCount } from "./sections.ts";

let root = "";
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "sections-"));
});
afterAll(() => rm(root, { recursive: true, force: true }));

it("sections add up to the file and cut no character, lines only where they are long", async () => {
  const unit = fc.constantFrom("a", "\n", "é", "中", "😀", "word ", "\r\n", "x".repeat(40));
  await fc.assert(
    fc.asyncProperty(
      fc.string({ unit, minLength: 1, maxLength: 60 }),
      fc.integer({ min: 8, max: 64 }),
      async (text, size) => {
        const path = join(root, "f");
        await writeFile(path, text);
        const bytes = new TextEncoder().encode(text).length;
        const handle = await openForReading(path);
        const parts: string[] = [];
        try {
          for (let index = 0; index < sectionCount(bytes, size); index++) {
            const part = await readSection(handle, bytes, { index, size });
            parts.push(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(part));
          }
        } finally {
          await handle.close();
        }
        expect(parts.join("")).toBe(text);
        // A part that begins inside a line: there was no line's end near its place.
        let at = 0;
        parts.forEach((part, i) => {
          const begins = new TextEncoder().encode(text.slice(0, at)).length;
          if (i > 0 && at > 0 && text[at - 1] !== "\n") {
            const near = Buffer.from(text).subarray(i * size - 1, i * size - 1 + Math.max(4, size >> 2));
            expect(near.includes(10)).toBe(false);
            expect(begins - i * size).toBeLessThan(4);
          }
          at += part.length;
        });
      },
    ),
    { numRuns: 300 },
  );
});
