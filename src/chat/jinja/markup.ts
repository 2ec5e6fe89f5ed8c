/** Escaping for HTML: `escape`, and what strings marked safe do to those joined to them. */

import { softStr } from "./print.ts";
import type { Runtime } from "./runtime.ts";
import type { Str } from "./text.ts";
import type { Value } from "./values.ts";

const ESCAPES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  "'": "&#39;",
  '"': "&#34;",
};

/** The value as safe text: what is marked so stays as it is. */
export function escapeMarkup(rt: Runtime, value: Value): Str {
  const text = softStr(rt, value);
  if (text.safe) return text;
  rt.scan(text.text.length);
  if (/[&<>'"]/.test(text.text)) rt.spend(text.text.length);
  return text.map((part) => part.replace(/[&<>'"]/g, (c) => ESCAPES[c])).marked(true);
}
