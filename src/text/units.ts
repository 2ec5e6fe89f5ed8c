/**
 * Bytes, counts, rates and durations as every command prints them. Units are decimal (1 GB = 10^9 bytes), as for file
 * sizes on the hub, memory bandwidth, and parameters times bytes per weight; figures have three significant digits.
 */

const STEP = 1000;

/** Three significant digits in the first unit that keeps the rounded figure below 1000; whole in the smallest unit. */
function scaled(value: number, units: readonly string[]): string {
  let figure = value;
  let unit = 0;
  for (; unit < units.length - 1 && Number(figure.toPrecision(3)) >= STEP; unit++) figure /= STEP;
  const whole = unit === 0 || Number(figure.toPrecision(3)) >= STEP;
  return `${whole ? formatCount(figure) : figure.toPrecision(3)}${units[unit]}`;
}

/** "950 bytes", "12.3 kB", "4.56 GB". */
export function formatBytes(bytes: number): string {
  return bytes === 1 ? "1 byte" : scaled(bytes, [" bytes", " kB", " MB", " GB", " TB"]);
}

/** Part of a whole in the unit of the whole: "1.20 of 4.56 GB". */
export function formatBytesOf(done: number, total: number): string {
  const whole = formatBytes(total);
  const [figure, unit] = whole.split(" ");
  const size = { kB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 }[unit];
  const decimals = figure.split(".")[1]?.length ?? 0;
  return `${size === undefined ? formatCount(done) : (done / size).toFixed(decimals)} of ${whole}`;
}

/** Every digit, in groups of three: "129,280". */
export function formatCount(count: number): string {
  return String(Math.round(count)).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** Three significant digits: "950", "12.3k", "4.56M", "15.7B". */
export function formatCompact(count: number): string {
  return scaled(count, ["", "k", "M", "B", "T"]);
}

/** "1 file", "1,200 files". */
export function plural(count: number, noun: string): string {
  return `${formatCount(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** Per second: "0.424", "19.5", "4,087"; "-" without a duration to divide by. */
export function formatRate(count: number, seconds: number): string {
  const rate = count / seconds;
  if (!Number.isFinite(rate)) return "-";
  return rate === 0 || Number(rate.toPrecision(3)) >= STEP ? formatCount(rate) : rate.toPrecision(3);
}

/** A fraction in percent: "12.3%". */
export function formatPercent(fraction: number, decimals = 1): string {
  return `${(100 * fraction).toFixed(decimals)}%`;
}

/** Time that runs, elapsed or left: "0:07", "1:05", "2:03:20". */
export function formatClock(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  const [h, m] = [Math.floor(s / 3600), Math.floor(s / 60) % 60];
  const two = (n: number) => String(n).padStart(2, "0");
  return h > 0 ? `${h}:${two(m)}:${two(s % 60)}` : `${m}:${two(s % 60)}`;
}

/** What something took: "0.4 s", "12.3 s", "1:05". */
export function formatDuration(seconds: number): string {
  const text = Math.max(0, seconds).toFixed(1);
  return Number(text) < 60 ? `${text} s` : formatClock(seconds);
}
