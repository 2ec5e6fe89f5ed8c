/**
 * Types, format and lint of the kernels. Biome does not parse AssemblyScript's decorators of functions, so it sees
 * copies in which they are comments. With --write the formatted text is written back.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const kernels = join(root, "kernels");
const write = process.argv.includes("--write");
const bin = (name: string) => join(root, "node_modules", ".bin", name);

execFileSync(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "--noEmit", "-p", kernels], {
  stdio: "inherit",
});

const folder = mkdtempSync(join(tmpdir(), "deepseek-ts-kernels-"));
try {
  const copies = join(folder, "kernels");
  mkdirSync(copies);
  const { formatter } = JSON.parse(readFileSync(join(root, "biome.json"), "utf8"));
  const rules = {
    preset: "recommended",
    suspicious: {
      // AssemblyScript's == compares values of one type; === compares references.
      noDoubleEquals: "off",
      // Decorators of functions are no TypeScript.
      noTsIgnore: "off",
      // Constants are the floats that the arithmetic needs.
      noApproximativeNumericConstant: "off",
    },
  };
  writeFileSync(join(folder, "biome.json"), JSON.stringify({ root: true, formatter, linter: { rules } }));
  const files = readdirSync(kernels).filter((file) => file.endsWith(".ts"));
  for (const file of files) {
    const text = readFileSync(join(kernels, file), "utf8");
    writeFileSync(join(copies, file), text.replace(/^@(?=\w)/gm, "//@"));
  }
  const { status } = spawnSync(bin("biome"), ["check", ...(write ? ["--write"] : []), "kernels"], {
    cwd: folder,
    stdio: "inherit",
  });
  if (write) {
    for (const file of files) {
      const text = readFileSync(join(copies, file), "utf8");
      writeFileSync(join(kernels, file), text.replace(/^\/\/@(?=\w)/gm, "@"));
    }
  }
  process.exitCode = status ?? 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
