/** Turns what zod finds wrong with a body into one error of OpenAI's kind, which names the field. */
import type { z } from "zod";
import { type ApiError, invalidRequest } from "./errors.ts";

type Issue = z.core.$ZodIssue;

/** `messages[0].content` for a path. */
function pathText(path: readonly PropertyKey[]): string {
  let text = "";
  for (const part of path)
    text += typeof part === "number" ? `[${part}]` : text ? `.${String(part)}` : String(part);
  return text;
}

/** The issue that says most: of a union the branch that got furthest, which is the one that was meant. */
function deepest(issue: Issue, prefix: readonly PropertyKey[] = []): { path: PropertyKey[]; issue: Issue } {
  const path = [...prefix, ...issue.path];
  if (issue.code !== "invalid_union" || issue.errors.length === 0) return { path, issue };
  let best: { path: PropertyKey[]; issue: Issue } | null = null;
  for (const branch of issue.errors) {
    if (branch.length === 0) continue;
    const found = deepest(branch[0], path);
    const better =
      best === null ||
      found.path.length > best.path.length ||
      (found.path.length === best.path.length &&
        best.issue.code === "invalid_type" &&
        found.issue.code !== "invalid_type");
    if (better) best = found;
  }
  // Nothing got further than the union itself: it knows better what it wants than any branch.
  if (best === null || best.path.length === path.length) {
    const wanted = [...new Set(issue.errors.flat().map((i) => ("expected" in i ? String(i.expected) : "")))];
    // All branches miss the same thing.
    if (best !== null && issue.errors.every(([first]) => first?.message.endsWith("received undefined")))
      return best;
    if (best === null || best.issue.code === "invalid_type") {
      const message = `expected ${wanted.filter((w) => w !== "").join(" or ")}`;
      return { path, issue: { ...issue, code: "custom", message, params: {} } as Issue };
    }
  }
  return best;
}

/** The first issue as an error 400 whose `param` is the field's path behind `prefix`. */
export function issueError(error: z.core.$ZodError, prefix = ""): ApiError {
  const { path, issue } = deepest(error.issues[0]);
  const param = prefix + pathText(path) || null;
  // A record says of a key only that it is wrong; why stands one level deeper.
  const said = issue.code === "invalid_key" ? (issue.issues[0]?.message ?? issue.message) : issue.message;
  const text = said.replace(/^Invalid input: /, "").replace(/^Invalid input$/, "not understood");
  const missing = issue.code === "invalid_type" && /received undefined$/.test(text);
  if (missing && param !== null) {
    return invalidRequest(`Missing required parameter: '${param}'.`, param, "missing_required_parameter");
  }
  const where = param === null ? "The body" : `'${param}'`;
  return invalidRequest(`Invalid value for ${where}: ${text}.`, param, "invalid_value");
}
