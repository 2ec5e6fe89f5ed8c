/** What is right, as rows of data tell it to rewards. */

/** Fields that hold it where none is named. */
const KEYS = ["key", "answer"];

/** What a field of the data says is right; of GSM8K's answers what stands behind the last `####`. */
export function keyOf(value: unknown): string | null {
  if (typeof value === "number") return String(value);
  if (typeof value !== "string") return null;
  const mark = value.lastIndexOf("####");
  return (mark < 0 ? value : value.slice(mark + 4)).trim();
}

/** What the row says is right: its field `name`, by default the first of `key` and `answer` that says something. */
export function rowKey(fields: Readonly<Record<string, unknown>>, name?: string): string | null {
  const field = name ?? KEYS.find((each) => keyOf(fields[each]) !== null);
  return field === undefined ? null : keyOf(fields[field]);
}
