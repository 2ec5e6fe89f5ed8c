/** Says what is missing before the tests start. Plain JavaScript: it runs with whatever Node there is. */

const problems = [];
const [major, minor] = process.versions.node.split(".").map(Number);
if (major < 22 || (major === 22 && minor < 18)) {
  problems.push(`tests run the TypeScript sources: Node 22.18 or later expected, found ${process.version}`);
}
try {
  await import("vitest/node");
} catch {
  problems.push("the test runner's optional packages are not installed");
}
if (problems.length > 0) {
  for (const problem of problems) console.error(problem);
  console.error("Run `npm ci` without --omit=optional: it brings a current Node and everything else.");
  process.exit(1);
}
