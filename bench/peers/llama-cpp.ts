/** node-llama-cpp as far as the benchmarks use it, so that they type-check without it. */
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

export interface LlamaSequence {
  evaluate(tokens: readonly number[], options?: { readonly temperature?: number }): AsyncIterable<number>;
  evaluateWithoutGeneratingNewTokens(tokens: readonly number[]): Promise<void>;
  clearHistory(): Promise<void>;
  dispose(): void;
}

export interface LlamaContext {
  getSequence(): LlamaSequence;
  dispose(): Promise<void>;
}

export interface LlamaModel {
  createContext(options: {
    readonly contextSize: number;
    readonly sequences?: number;
    readonly batchSize?: number;
    readonly threads?: number;
  }): Promise<LlamaContext>;
  dispose(): Promise<void>;
}

export interface Llama {
  readonly systemInfo: string;
  readonly llamaCppRelease: { readonly repo: string; readonly release: string };
  loadModel(options: { readonly modelPath: string }): Promise<LlamaModel>;
  dispose(): Promise<void>;
}

/** Starts llama.cpp on the processor. @throws if `npm install --prefix bench/peers` has not been run */
export async function startLlama(threads: number): Promise<Llama> {
  const path = (() => {
    try {
      return createRequire(new URL("./package.json", import.meta.url)).resolve("node-llama-cpp");
    } catch (cause) {
      throw new Error("node-llama-cpp is not installed: run `npm install --prefix bench/peers`", { cause });
    }
  })();
  const { getLlama, LlamaLogLevel } = (await import(pathToFileURL(path).href)) as {
    getLlama(options: object): Promise<Llama>;
    LlamaLogLevel: { readonly error: string };
  };
  return getLlama({ build: "never", gpu: false, maxThreads: threads, logLevel: LlamaLogLevel.error });
}
