/**
 * One spelling for every path. Clients put the address of the interface together themselves: with `/v1` or without it
 * (DeepSeek's own has none), with `/beta` (where DeepSeek has what is new), with doubled or trailing slashes.
 */

/** What may stand before a route; the longest comes first. */
const PREFIXES = ["/beta/v1", "/beta", "/v1"] as const;

/** A function from the path of a request to the one of `routes` that is meant; unknown paths keep what was sent. */
export function pathNormalizer(routes: readonly string[]): (path: string) => string {
  // A parameter stands last in a route: what comes before it is fixed.
  const fixed = routes.map((route) => route.replace(/:.*$/, ""));
  const known = (path: string) =>
    fixed.some((route, i) => (route === routes[i] ? path === route : path.startsWith(route)));
  return (path) => {
    const clean = path.replace(/\/{2,}/g, "/").replace(/(?<=.)\/$/, "");
    if (known(clean)) return clean;
    const prefix = PREFIXES.find((text) => clean === text || clean.startsWith(`${text}/`)) ?? "";
    const rest = clean.slice(prefix.length) || "/";
    return [`/v1${rest}`, rest].find(known) ?? clean;
  };
}
