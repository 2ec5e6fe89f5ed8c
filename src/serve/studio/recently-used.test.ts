import { expect, it } from "vitest";
import { RecentlyUsed } from "./recently-used.ts";

it("forgets what was used longest ago, by number and by size, and never what is used now", () => {
  const kept = new RecentlyUsed<{ bytes: number }>(3, 100);
  for (const name of ["a", "b", "c"]) kept.use(name, { bytes: 10 });
  kept.use("a", kept.get("a")!);
  kept.use("d", { bytes: 10 });
  expect(kept.names).toEqual(["c", "a", "d"]);
  kept.use("d", { bytes: 85 });
  expect(kept.names).toEqual(["a", "d"]);
  kept.use("large", { bytes: 1000 });
  expect(kept.names).toEqual(["large"]);
  expect(kept.get("d")).toBeUndefined();
});
