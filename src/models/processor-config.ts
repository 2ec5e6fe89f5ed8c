/** What `preprocessor_config.json` and `processor_config.json` of the vision models have in common. */
import type { PerChannel } from "../vision/pixels.ts";
import type { ConfigReader } from "./config-reader.ts";

/** Largest side of an image, tile or canvas that a configuration may ask for, in pixels. */
export const MOST_PIXELS = 8192;

/** Three finite numbers above `above`; null if the key is missing or null. @throws ConfigError */
export function readPerChannel(
  config: ConfigReader,
  key: string,
  above = Number.NEGATIVE_INFINITY,
): PerChannel | null {
  const value = config.raw(key);
  if (value === undefined) return null;
  const numbers = Array.isArray(value) ? value : [];
  if (numbers.length !== 3 || !numbers.every((n) => Number.isFinite(n) && n > above)) {
    config.refuse(key, `three numbers${above === Number.NEGATIVE_INFINITY ? "" : ` above ${above}`}`);
  }
  return numbers as unknown as PerChannel;
}

/** The color around an image: what the processors compute from the mean, whatever their files say. */
export const backgroundOf = (mean: PerChannel): PerChannel =>
  mean.map((n) => Math.max(0, Math.min(255, Math.trunc(n * 255)))) as unknown as PerChannel;

/** A side in pixels. @throws ConfigError */
export function readSide(config: ConfigReader, key: string, fallback?: number): number {
  const side = config.integer(key, fallback);
  if (side > MOST_PIXELS) config.refuse(key, `at most ${MOST_PIXELS} pixels`);
  return side;
}

/** The text of a token. @throws ConfigError */
export function readToken(config: ConfigReader, key: string, fallback: string): string {
  const value = config.raw(key) ?? fallback;
  if (typeof value !== "string" || value === "") config.refuse(key, "a token's text");
  return value;
}
