/**
 * Checks wording that is easy to get wrong: American spelling, one style of `@throws`, and phrases that name a person where
 * a mechanism acts. Only words that are never right here are listed, so that every report is a fault.
 */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { root } from "./support/packed-package.ts";

/** What is wrong, and what to write instead. */
const rules: readonly (readonly [RegExp, string])[] = [
  [
    /\b(?:de|re|un)?(?:normal|initial|quant|token|recogn|optim|minim|maxim|serial|final|special|general|summar|organ|synchron|parallel|vector|determin|real|random|character|categor)is(?:e|ed|er|ers|es|ing|ation|ations)\b/i,
    "American spelling: -ize",
  ],
  [/\b(?:behaviour|neighbour|honour|favour|colour)(?!space)\w*/i, "American spelling: -or"],
  [/\b\w*(?:ancelled|ancelling|abelled|odelled|odelling)\w*/, "American spelling: one l"],
  [/\b(?:centre|centred|grey|licence|learnt|spelt|whilst|artefact)s?\b/i, "American spelling"],
  [/@throws (?:[A-Z]\w*,? (?:or )?)+(?:where|when)\b/, '"@throws X if .."'],
  [/(?:^|[\s*;])[Tt]hrows (?:a |an )?[A-Z]\w*Error\b/, '"@throws X if .."'],
  [/\b(?:[Hh]ears of|[Ww]hoever|had better|for want of)\b/, "say what the mechanism does"],
];
/** Names that are others' to spell. */
const theirs =
  /\b(?:toColourspace|pipelineColourspace|grey16|JobCancelledError)\b|\baria-labelledby\b|\blearnt(?=: \[)|\.learnt\b/g;

const files = execFileSync("git", ["ls-files", "-z"], { cwd: root, encoding: "utf8" })
  .split("\0")
  .filter(
    (file) =>
      /\.(?:tsx?|css|js|md)$/.test(file) &&
      !/^test\/(?:fixtures|clients)\/|^scripts\/check-words\.ts$/.test(file),
  );
const problems: string[] = [];
for (const file of files) {
  for (const [i, line] of readFileSync(`${root}/${file}`, "utf8").split("\n").entries()) {
    for (const [pattern, advice] of rules) {
      const found = pattern.exec(line.replace(theirs, ""));
      if (found) problems.push(`${file}:${i + 1}: ${found[0].trim()}: ${advice}`);
    }
  }
}
for (const problem of problems) console.error(problem);
if (problems.length > 0) process.exit(1);
console.log(`words: ${files.length} files checked`);
