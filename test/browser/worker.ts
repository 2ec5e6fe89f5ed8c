/** The page's worker: answers each message of options with the report of `tenSteps`, or with an error's text. */
import { type DeepseekPackage, type TenStepsOptions, tenSteps } from "./ten-steps.ts";

const entry: string = "/dist/index.js";

self.addEventListener("message", async (event) => {
  try {
    const deepseek = (await import(entry)) as DeepseekPackage;
    self.postMessage({ report: await tenSteps(deepseek, event.data as TenStepsOptions) });
  } catch (error) {
    self.postMessage({ error: String((error as Error)?.stack ?? error) });
  }
});
