/** One line on a terminal that tells how far opening a model is; silent elsewhere and in the first second. */
import type { DownloadProgress } from "../pretrained/hub.ts";
import type { LoadProgress } from "../pretrained/load.ts";
import { clock, type Output } from "./live-view.ts";

/** "950 bytes", "12.3 kB", "12.34 MB", "4.56 GB". */
export function bytesText(bytes: number): string {
  if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(2)} GB`;
  if (bytes >= 1e6) return `${(bytes / 1e6).toFixed(2)} MB`;
  return bytes >= 1e3 ? `${(bytes / 1e3).toFixed(1)} kB` : `${bytes} bytes`;
}

/** "1 file", "2 files". */
export function counted(n: number, thing: string): string {
  return `${n} ${thing}${n === 1 ? "" : "s"}`;
}

/** "1.20 of 4.56 GB". */
function share(done: number, total: number): string {
  const whole = bytesText(total);
  const unit = [1e9, 1e6, 1e3].find((size) => total >= size) ?? 0;
  return `${unit === 0 ? done : (done / unit).toFixed(unit === 1e3 ? 1 : 2)} of ${whole}`;
}

/** What the line says. */
export function progressText(progress: DownloadProgress | LoadProgress): string {
  const part = share(progress.done, progress.total);
  if (progress.stage === "load") return `loading  ${part}`;
  const { bytesPerSecond: speed, done, total, filesDone, files, file } = progress;
  const left = speed > 0 && done < total ? `, ${clock((total - done) / speed)} left` : "";
  return `downloading  ${part}  ${bytesText(Math.round(speed))}/s${left}  ${filesDone} of ${files} files  ${file}`;
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

  readonly update = (progress: DownloadProgress | LoadProgress): void => {
    const now = performance.now();
    if (!this.#out.isTTY || now - this.#began < this.#quietMs || now - this.#last < 100) return;
    this.#last = now;
    const width = (this.#out.columns ?? 80) - 1;
    this.#out.write(`\r\x1b[K${[...progressText(progress)].slice(0, width).join("")}`);
    this.#shown = true;
  };

  /** Writes a line of its own, on any output. */
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
