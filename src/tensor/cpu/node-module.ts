/**
 * Modules of Node, for code that also runs in browsers. The name is not a literal and the comments tell bundlers to leave
 * the import alone: some would refuse it in code for a browser, others would warn of it.
 */
export function nodeModule<T>(name: `node:${string}`): Promise<T> {
  return import(/* @vite-ignore */ /* webpackIgnore: true */ name) as Promise<T>;
}
