import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { withClaims } from "./claims.ts";

/** Without the widths of columns, which the formatter chooses. */
const cells = (text: string) => text.replaceAll(/ *\| */g, "|").replaceAll(/-{3,}/g, "---");

it("recipes/README.md has the verdicts of the recipes' own pages (node recipes/claims.ts)", async () => {
  const readme = await readFile(join(import.meta.dirname, "README.md"), "utf8");
  expect(cells(await withClaims(import.meta.dirname))).toBe(cells(readme));
});
