/**
 * Builds the kernels if their sources have changed: tests on an older build read arguments that the sources no longer mean, which
 * looks like faults of arithmetic.
 */
import { execFileSync } from "node:child_process";
import { join } from "node:path";

export default function setup(): void {
  execFileSync(process.execPath, [join(import.meta.dirname, "../scripts/build-kernels.js")], {
    stdio: "inherit",
  });
}
