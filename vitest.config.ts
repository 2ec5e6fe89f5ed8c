import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["src/**/*.test.ts", "test/**/*.test.ts"],
    setupFiles: ["./test/property-seed.ts"],
    pool: "forks",
    // Far more than anything takes alone: other programs may keep the machine busy.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // Kernels use every core themselves; more test processes than cores only fight each other.
    maxWorkers: 2,
    reporters: ["default", "./scripts/closing-line-reporter.ts"],
  },
});
