/** Builds the page into `dist/studio`: files that any server can hand out, with addresses relative to the page. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { defineConfig } from "vite";

const { version } = JSON.parse(readFileSync(join(import.meta.dirname, "../../package.json"), "utf8"));

/** Modules that are loaded later by some and at once by others are no fault, and how long the build took is no news. */
const CHECKS = { ineffectiveDynamicImport: false, pluginTimings: false };

export default defineConfig({
  root: import.meta.dirname,
  base: "./",
  logLevel: "warn",
  define: { __VERSION__: JSON.stringify(version) },
  // Workers of workers, and what they load when it is needed.
  worker: { format: "es", rolldownOptions: { checks: CHECKS } },
  build: {
    outDir: join(import.meta.dirname, "../../dist/studio"),
    emptyOutDir: true,
    // The policy of the page allows no inline script, and all browsers that run it know preloading.
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    target: "es2023",
    reportCompressedSize: false,
    rolldownOptions: {
      checks: CHECKS,
      output: {
        // What the first screen needs is one file: what later screens share with it is not taken out of it.
        codeSplitting: {
          groups: [
            {
              name: "studio",
              test: /src\/(?:text|vision|tensor)\/|src\/studio\/(?:backend\/(?!worker-)|state|frame|chat|page|markdown\/(?!lean))|node_modules\/(?:preact|@preact|marked|idb)\//,
            },
          ],
        },
      },
    },
  },
});
