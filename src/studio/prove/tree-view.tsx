/**
 * The tree of a search while it grows: walked by arrows, zoomed by buttons and by + and -, with the way to the root of what is picked
 * marked. Picking one shows its tactic, and its goals or Lean's message.
 */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { formatCount, plural } from "../../text/units.ts";
import { Icon } from "../frame/icons.tsx";
import { CodeBlock, copyText } from "../markdown/code-block.tsx";
import { type NodeKind, type ProofTree, pathTo, type TreeNode } from "./search-model.ts";
import { NODE, neighbor, type PlacedNode, placeTree } from "./tree-layout.ts";

const GLYPHS: Readonly<Record<NodeKind, string>> = { open: "○", proved: "✓", failed: "✗", same: "=" };
const WORDS: Readonly<Record<NodeKind, string>> = {
  open: "open",
  proved: "proved",
  failed: "failed",
  same: "duplicate",
};
const LEAST_ZOOM = 0.3;
const MOST_ZOOM = 2;

const title = ({ tactic, parent }: TreeNode) => (parent === null ? "the statement" : oneLine(tactic));
const oneLine = (text: string) => text.replaceAll(/\s*\n\s*/g, " ; ");

const figures = ({ visits, value }: TreeNode) =>
  value === null ? formatCount(visits) : `${formatCount(visits)} · ${value.toFixed(2)}`;

/** The lines between the nodes, as one path. */
const edges = (nodes: readonly PlacedNode[], wanted: (node: TreeNode) => boolean): string => {
  const places = new Map(nodes.map((placed) => [placed.node, placed]));
  return nodes
    .flatMap(({ node, x, y }) => {
      const parent = node.parent && places.get(node.parent);
      if (!parent || !wanted(node)) return [];
      const [from, to, top] = [parent.x + NODE.width / 2, x + NODE.width / 2, parent.y + NODE.height];
      const middle = (top + y) / 2;
      return [`M${from} ${top}C${from} ${middle} ${to} ${middle} ${to} ${y}`];
    })
    .join("");
};

export const LeanCode = ({ code }: { readonly code: string }) => (
  <div class="markdown lean-code">
    <CodeBlock code={code} language="lean" growing={false} />
  </div>
);

function NodeDetail({ node }: { readonly node: TreeNode }) {
  const way = pathTo(node).slice(1);
  return (
    <section class="stack node-detail" aria-label="Picked node">
      <p class="row small">
        <span class={`node-kind ${node.kind}`}>
          <span aria-hidden="true">{GLYPHS[node.kind]} </span>
          {WORDS[node.kind]}
        </span>
        <span class="soft">
          {plural(node.visits, "visit")}
          {node.value !== null && `, value ${node.value.toFixed(2)}`}
        </span>
      </p>
      {node.parent !== null && <LeanCode code={node.tactic} />}
      <h3 class="tiny soft">{node.kind === "failed" ? "Lean says" : "State behind it"}</h3>
      <pre class="says" tabIndex={0}>
        {node.says || "nothing"}
      </pre>
      {way.length > 1 && (
        <div>
          <button
            type="button"
            class="quiet"
            onClick={() => copyText(way.map(({ tactic }) => tactic).join("\n"), "The way to it")}
          >
            <Icon name="copy" />
            Copy the {way.length} steps to it
          </button>
        </div>
      )}
    </section>
  );
}

interface TreeViewProps {
  readonly tree: ProofTree;
  /** Changes when the tree has grown. */
  readonly version: unknown;
}

export function TreeView({ tree, version }: TreeViewProps) {
  const [picked, setPicked] = useState("0");
  const [focused, setFocused] = useState("0");
  const [closed, setClosed] = useState<ReadonlySet<string>>(new Set());
  const [follow, setFollow] = useState(true);
  const [zoom, setZoom] = useState(1);
  const view = useRef<HTMLDivElement>(null);
  const best = tree.best.key;
  const shownKey = follow ? best : picked;
  const node = tree.get(shownKey) ?? tree.root;
  const at = tree.get(focused) ?? tree.root;
  const placed = useMemo(
    () => placeTree(tree.root, closed, [node, at, tree.best]),
    [tree, version, closed, node, at],
  );
  const way = new Set(pathTo(node));
  const toggle = (key: string, close: boolean) => {
    const changed = new Set(closed);
    if (close) changed.add(key);
    else changed.delete(key);
    setClosed(changed);
  };
  const pick = (key: string) => {
    setFollow(false);
    setPicked(key);
    setFocused(key);
  };
  /** What is looked at by hand stays where it is. */
  const hold = () => {
    if (!follow) return;
    setFollow(false);
    setPicked(best);
  };
  const scale = (factor: number) => setZoom((was) => Math.min(MOST_ZOOM, Math.max(LEAST_ZOOM, was * factor)));
  const fit = () => {
    const { clientWidth, clientHeight } = view.current!;
    const most = Math.min((clientWidth - 24) / placed.width, (clientHeight - 24) / placed.height, 1);
    setZoom(Math.max(LEAST_ZOOM, most));
  };
  const element = (key: string) =>
    view.current?.querySelector<HTMLElement>(`[data-key="${CSS.escape(key)}"]`);
  useEffect(() => {
    if (!follow) return;
    const to = placed.nodes.find((each) => each.node.key === best);
    const box = view.current;
    if (!to || !box) return;
    box.scrollTo({
      left: (to.x + NODE.width / 2) * zoom - box.clientWidth / 2,
      top: (to.y + NODE.height) * zoom - box.clientHeight * 0.75,
    });
  }, [follow, best, placed, zoom]);
  useEffect(() => {
    if (!follow) element(picked)?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [follow, picked]);
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { key } = event;
    if (key === "+" || key === "-") scale(key === "+" ? 1.25 : 0.8);
    else if (key === "Enter" || key === " ") pick(focused);
    else if (key === "ArrowRight" && closed.has(focused)) toggle(focused, false);
    else if (key === "ArrowLeft" && at.children.length > 0 && !closed.has(focused)) toggle(focused, true);
    else if (["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Home", "End"].includes(key)) {
      hold();
      const next = neighbor(placed.nodes, focused, key as Parameters<typeof neighbor>[2]);
      if (next !== null) {
        setFocused(next);
        element(next)?.focus();
      }
    } else return;
    event.preventDefault();
  };
  const current = placed.nodes.some((each) => each.node.key === focused) ? focused : "0";
  return (
    <div class="tree-and-node">
      <div class="tree-box">
        <div class="row tree-tools">
          <button type="button" class="outlined" onClick={fit}>
            Fit
          </button>
          <button
            type="button"
            class="outlined"
            aria-label="Smaller"
            title="Smaller (-)"
            onClick={() => scale(0.8)}
          >
            −
          </button>
          <button
            type="button"
            class="outlined"
            aria-label="Larger"
            title="Larger (+)"
            onClick={() => scale(1.25)}
          >
            +
          </button>
          <label class="row">
            <input
              type="checkbox"
              checked={follow}
              onChange={(event) => (event.currentTarget.checked ? setFollow(true) : hold())}
            />
            Follow the best
          </label>
          <span class="tiny soft tree-count">
            {plural(tree.size, "node")}
            {placed.cut > 0 && `, ${formatCount(placed.cut)} of them hidden: the least visited`}
          </span>
        </div>
        <div class="tree-scroll" ref={view}>
          <div
            class="tree-canvas"
            style={{ width: `${placed.width * zoom}px`, height: `${placed.height * zoom}px` }}
          >
            <div
              class="tree-scaled"
              style={{
                width: `${placed.width}px`,
                height: `${placed.height}px`,
                transform: `scale(${zoom})`,
              }}
            >
              <svg width={placed.width} height={placed.height} aria-hidden="true">
                <path d={edges(placed.nodes, (each) => !way.has(each))} />
                <path class="way" d={edges(placed.nodes, (each) => way.has(each))} />
              </svg>
              <div role="tree" aria-label="Tree of the search" tabIndex={-1} onKeyDown={onKeyDown}>
                {placed.nodes.map(({ node: each, x, y, hidden }) => (
                  <div
                    key={each.key}
                    data-key={each.key}
                    role="treeitem"
                    aria-level={each.depth + 1}
                    aria-selected={each === node}
                    aria-expanded={each.children.length > 0 ? !closed.has(each.key) : undefined}
                    aria-label={`${title(each)}: ${WORDS[each.kind]}, ${plural(each.visits, "visit")}`}
                    title={each.parent === null ? undefined : each.tactic}
                    tabIndex={each.key === current ? 0 : -1}
                    class={`tree-node ${each.kind} ${way.has(each) ? "on-way" : ""}`}
                    style={{ left: `${x}px`, top: `${y}px` }}
                    onClick={() => pick(each.key)}
                    onKeyDown={() => {}}
                    onFocus={() => setFocused(each.key)}
                  >
                    <span class="glyph">{GLYPHS[each.kind]}</span>
                    <span class="cut">{title(each)}</span>
                    <span class="tiny soft">
                      {figures(each)}
                      {hidden > 0 && ` · +${formatCount(hidden)}`}
                    </span>
                  </div>
                ))}
              </div>
            </div>
          </div>
        </div>
        <p class="tiny soft legend-line">
          ○ open ✓ proved ✗ failed = duplicate · visits{tree.root.value !== null && " · value"} · +hidden
        </p>
      </div>
      <NodeDetail node={node} />
    </div>
  );
}
