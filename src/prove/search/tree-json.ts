/** A search tree as JSON, and the check of one that was read. */
import { FormatError } from "../../tensor/errors.ts";
import { type TreeOptions, treeOptions } from "./tree-options.ts";

export interface TreeJson {
  readonly version: 1;
  readonly options: Required<TreeOptions>;
  readonly nodes: readonly {
    /** Null for the root, the first node. */
    readonly parent: number | null;
    readonly state: string;
    /** W0, N0, W, N. */
    readonly counts: readonly [number, number, number, number];
    readonly places: readonly (readonly [code: string, comment: string])[];
  }[];
}

const refuse = (name: string, expected: string, found: unknown): never => {
  throw new FormatError("no search tree", {
    where: "ProofTree.fromJSON",
    ...{ name, expected, found: JSON.stringify(found)?.slice(0, 100) },
  });
};

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isCount = (value: unknown) => typeof value === "number" && Number.isFinite(value) && value >= 0;
const isText = (value: unknown) => typeof value === "string";
/** The value if it is a tree. @throws FormatError, ConfigError for an option out of range */
export function checkedTree(json: unknown): TreeJson {
  if (!isObject(json) || json.version !== 1)
    return refuse("version", "1", isObject(json) ? json.version : json);
  const { options, nodes } = json;
  if (!isObject(options)) return refuse("options", "an object", options);
  if (!isText(options.root)) refuse("options.root", "a text", options.root);
  if (typeof options.gamma !== "number") refuse("options.gamma", "a number", options.gamma);
  treeOptions(options);
  if (!Array.isArray(nodes) || nodes.length === 0) return refuse("nodes", "at least the root", nodes);
  const seen = new Set<string>();
  for (const [id, node] of nodes.entries()) {
    const at = `nodes[${id}]`;
    if (!isObject(node)) return refuse(at, "an object", node);
    const { parent, state, counts, places } = node;
    const known = Number.isInteger(parent) && (parent as number) >= 0 && (parent as number) < id;
    if (id === 0 ? parent !== null : !known)
      refuse(`${at}.parent`, id === 0 ? "null" : "an earlier node", parent);
    if (!isText(state)) refuse(`${at}.state`, "a text", state);
    if (id === 0 && state !== options.root) refuse(`${at}.state`, "the state in options.root", state);
    if (seen.size === seen.add(JSON.stringify([parent, state])).size)
      refuse(at, "one child for a state", state);
    if (!Array.isArray(counts) || counts.length !== 4 || !counts.every(isCount)) {
      refuse(`${at}.counts`, "four numbers, 0 or more", counts);
    }
    const pairs = Array.isArray(places) && places.length > 0;
    if (
      !pairs ||
      !places.every((place) => Array.isArray(place) && place.length === 2 && place.every(isText))
    ) {
      refuse(`${at}.places`, "pairs of texts, at least one", places);
    }
  }
  return json as unknown as TreeJson;
}
