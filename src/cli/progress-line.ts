/** One line on a terminal that tells how far long work is, such as opening a model; silent elsewhere and in the first second. */
import type { DownloadProgress } from "../pretrained/hub.ts";
import type { LoadProgress } from "../pretrained/load.ts";
import { formatBytes, formatBytesOf, formatClock, plural } from "../text/units.ts";
import type { Output } from "./output.ts";

/** What the line says. */
export function progressText(progress: DownloadProgress | LoadProgress): string {
  const part = formatBytesOf(progress.done, progress.total);
  if (progress.stage === "load") return `loading  ${part}`;
  const { bytesPerSecond: speed, done, total, filesDone, files, file } = progress;
  const left = speed > 0 && done < total ? `, ${formatClock((total - done) / speed)} left` : "";
  return `downloading  ${part}  ${formatBytes(speed)}/s${left}  ${filesDone} of ${plural(files, "file")}  ${file}`;
}

export class ProgressLine {
  readonly #out: Output;
  readonly #quietMs: number;
  readonly #began = performance.now();
  #last = Number.NEGATIVE_INFINITY;
  #shown = false;

  /** @param quietMs milliseconds from the start in which nothing is shown */
  constructor(out: Output, quietMs = 1000) {
    this.#out = out;
    this.#quietMs = quietMs;
  }

  readonly update = (progress: DownloadProgress | LoadProgress): void => this.tell(progressText(progress));

  /** Shows a line of the caller's. */
  tell(text: string): void {
    const now = performance.now();
    if (!this.#out.isTTY || now - this.#began < this.#quietMs || now - this.#last < 100) return;
    this.#last = now;
    const width = (this.#out.columns ?? 80) - 1;
    this.#out.write(`\r\x1b[K${[...text].slice(0, width).join("")}`);
    this.#shown = true;
  }

  /** Writes its own line, on any output. */
  readonly note = (text: string): void => {
    this.clear();
    this.#out.write(`${text}\n`);
  };

  /** Removes the line. */
  clear(): void {
    if (this.#shown) this.#out.write("\r\x1b[K");
    this.#shown = false;
  }
}
