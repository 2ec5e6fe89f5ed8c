import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["src/**/*.test.ts", "test/**/*.test.ts"],
    setupFiles: ["./test/property-seed.ts"],
    pool: "forks",
    testTimeout: 60_000,
    // Kernels use every core themselves; more test processes than cores only fight each other.
    maxWorkers: 2,
    reporters: ["default", "./scripts/closing-line-reporter.ts"],
  },
});
