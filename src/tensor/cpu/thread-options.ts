/** What threads of Node are started with. */

/**
 * `execArgv` of a thread that runs a file. Undefined if it may inherit the program's options, those of V8 too, which
 * may not be given to a thread. A program given by --eval names its kind in an option that threads of files refuse:
 * only then the others are listed one by one.
 */
export function threadExecArgv(): string[] | undefined {
  const ofEval = (option: string) => option.startsWith("--input-type=");
  const given = process.execArgv;
  return given.some(ofEval) ? given.filter((option) => !ofEval(option)) : undefined;
}

/**
 * The file `name` next to the module `base` (its `import.meta.url`): TypeScript in the source tree, JavaScript in the
 * built package. For threads of Node; bundlers need the address of a browser's worker written out.
 */
export function siblingModule(base: string, name: string): URL {
  return new URL(`./${name}.${base.endsWith(".ts") ? "ts" : "js"}`, base);
}
