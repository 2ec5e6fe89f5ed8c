/** The entries of the package, by the `exports` of its package.json. */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");

export interface Entry {
  /** As a program imports it. */
  readonly specifier: string;
  /** The part behind the slash, with `_` for further ones: a name in programs; `index` for the package itself. */
  readonly name: string;
  /** Absolute paths: the declarations that are built, and the source they come from. */
  readonly types: string;
  readonly source: string;
}

const { name, exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  name: string;
  exports: Record<string, { types: string; default: string } | string>;
};

/** All that hold code. @throws Error for one whose declarations and code are not of one file of `dist` */
export const entries: readonly Entry[] = Object.entries(exports).flatMap(([key, target]) => {
  if (typeof target === "string") return [];
  const built = /^\.\/dist\/(.+)\.js$/.exec(target.default)?.[1];
  if (built === undefined || target.types !== `./dist/${built}.d.ts`) {
    throw new Error(
      `package.json exports "${key}": expected one file of dist, found ${JSON.stringify(target)}`,
    );
  }
  return [
    {
      specifier: join(name, key).replaceAll("\\", "/"),
      name: key === "." ? "index" : key.slice(2).replaceAll("/", "_"),
      types: join(root, target.types),
      source: join(root, "src", `${built}.ts`),
    },
  ];
});
