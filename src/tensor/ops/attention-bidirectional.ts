/**
 * Bidirectional attention of vision towers (SigLIP; SAM of arXiv 2304.02643 with windows and decomposed relative positions),
 * flash style: no matrix of scores outlives a block, relative positions are added to scores in the nearest cache, and windows
 * are index arithmetic on the fused projection. The backward pass computes scores again from one log-sum-exp per query.
 */
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import type { Tensor } from "../tensor.ts";
import { dot, MAX_WIDTH } from "./attention.ts";

/** Units of the backward pass that keep any number of threads we know busy. */
const ENOUGH_UNITS = 32;
/** Most bytes of what relative positions take per window: they lie in a thread's scratch memory. */
const MOST_RELATIVE = 3 * 2 ** 18;

const sizeNames = [
  ...(["batch", "gridHeight", "gridWidth", "windowHeight", "windowWidth", "heads", "width"] as const),
] as const;

type Sizes = Record<(typeof sizeNames)[number], number>;

function windowsOf({ gridHeight, gridWidth, windowHeight, windowWidth }: Sizes): number {
  return Math.ceil(gridHeight / windowHeight) * Math.ceil(gridWidth / windowWidth);
}

function work(s: Sizes): number {
  return (s.batch * windowsOf(s) * s.heads * (s.windowHeight * s.windowWidth) ** 2 * s.width) / 8;
}

/** A query with all keys of its window: where its rows start, and its index among log-sum-exps. */
interface Query {
  readonly q: number;
  readonly y: number;
  readonly lse: number;
  /** Of each key: where k and v start (in the padding if `outside`), and rows of the two tables. */
  readonly keys: readonly { k: number; v: number; outside: boolean; row: number; column: number }[];
}

function eachQuery(s: Sizes, visit: (query: Query) => void): void {
  const { batch, gridHeight: rows, gridWidth: columns, windowHeight, windowWidth, heads, width } = s;
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      for (let y = 0; y < rows; y++) {
        for (let x = 0; x < columns; x++) {
          const token = (b * rows + y) * columns + x;
          const keys = Array.from({ length: windowHeight * windowWidth }, (_, i) => {
            const keyY = y - (y % windowHeight) + Math.floor(i / windowWidth);
            const keyX = x - (x % windowWidth) + (i % windowWidth);
            const outside = keyY >= rows || keyX >= columns;
            const at = outside ? 0 : (b * rows + keyY) * columns + keyX;
            return {
              k: ((at * 3 + 1) * heads + h) * width,
              v: ((at * 3 + 2) * heads + h) * width,
              outside,
              row: (y - keyY + windowHeight - 1) * width,
              column: (x - keyX + windowWidth - 1) * width,
            };
          });
          const lse = ((b * heads + h) * rows + y) * columns + x;
          visit({ q: (token * 3 * heads + h) * width, y: (token * heads + h) * width, lse, keys });
        }
      }
    }
  }
}

interface Inputs {
  readonly qkv: Float64Array;
  readonly padding: Float64Array | null;
  readonly rowTable: Float64Array | null;
  readonly columnTable: Float64Array | null;
}

function scoresOf({ q, keys }: Query, inputs: Inputs, width: number, scale: number): number[] {
  const { qkv, padding, rowTable, columnTable } = inputs;
  return keys.map(({ k, outside, row, column }) => {
    let score = scale * dot(qkv, q, outside ? padding! : qkv, k, width);
    if (rowTable) score += dot(qkv, q, rowTable, row, width) + dot(qkv, q, columnTable!, column, width);
    return score;
  });
}

const forwardKernel = defineKernel({
  name: "attention_bidirectional",
  operands: {
    qkv: "in f32",
    padding: "in f32?",
    rowTable: "in f32?",
    columnTable: "in f32?",
    y: "out f32",
    lse: "out f32?",
  },
  ints: sizeNames,
  floats: ["scale"],
  work,
  reference: ({ y, lse, ...inputs }, sizes, { scale }) => {
    const { width } = sizes;
    eachQuery(sizes, (query) => {
      const scores = scoresOf(query, inputs, width, scale);
      const largest = scores.reduce((a, s) => Math.max(a, s), Number.NEGATIVE_INFINITY);
      const sum = scores.reduce((a, s) => a + Math.exp(s - largest), 0);
      y.fill(0, query.y, query.y + width);
      query.keys.forEach(({ v, outside }, j) => {
        const weight = Math.exp(scores[j] - largest) / sum;
        const values = outside ? inputs.padding! : inputs.qkv;
        for (let c = 0; c < width; c++) y[query.y + c] += weight * values[v + c];
      });
      if (lse) lse[query.lse] = largest + Math.log(sum);
    });
  },
});

const backwardKernel = defineKernel({
  name: "attention_bidirectional_backward",
  operands: {
    qkv: "in f32",
    padding: "in f32?",
    rowTable: "in f32?",
    columnTable: "in f32?",
    y: "in f32",
    lse: "in f32",
    dy: "in f32",
    partial: "out f32?",
    dqkv: "out f32",
    dpadding: "out f32?",
    dRowTable: "out f32?",
    dColumnTable: "out f32?",
  },
  ints: [...sizeNames, "groups"],
  floats: ["scale"],
  work: (sizes) => 2.5 * work(sizes),
  reference: (operands, sizes, { scale }) => {
    const { y, lse, dy, dqkv, dpadding, dRowTable, dColumnTable, ...inputs } = operands;
    const { qkv, padding, rowTable, columnTable } = inputs;
    const { batch, gridHeight, gridWidth, windowHeight, windowWidth, heads, width } = sizes;
    dqkv.fill(0, 0, batch * gridHeight * gridWidth * 3 * heads * width);
    dpadding?.fill(0, 0, 3 * heads * width);
    dRowTable?.fill(0, 0, (2 * windowHeight - 1) * width);
    dColumnTable?.fill(0, 0, (2 * windowWidth - 1) * width);
    eachQuery(sizes, (query) => {
      const { q, keys, y: at } = query;
      const delta = dot(dy, at, y, at, width);
      const scores = scoresOf(query, inputs, width, scale);
      keys.forEach(({ k, v, outside, row, column }, j) => {
        const from = outside ? padding! : qkv;
        const to = outside ? dpadding : dqkv;
        const p = Math.exp(scores[j] - lse[query.lse]);
        const slope = p * (dot(dy, at, from, v, width) - delta);
        for (let c = 0; c < width; c++) {
          dqkv[q + c] += slope * scale * from[k + c];
          if (to) to[k + c] += slope * scale * qkv[q + c];
          if (to) to[v + c] += p * dy[at + c];
          if (rowTable) dqkv[q + c] += slope * (rowTable[row + c] + columnTable![column + c]);
          if (dRowTable) dRowTable[row + c] += slope * qkv[q + c];
          if (dColumnTable) dColumnTable[column + c] += slope * qkv[q + c];
        }
      });
    });
  },
});

export interface BidirectionalOptions {
  /** Factor of the products of queries and keys; positive. Relative positions take the plain query. */
  readonly scale: number;
  /** Rows and columns of tokens, `[height, width]` with T = height * width. Default: one row. */
  readonly grid?: readonly [height: number, width: number];
  /** Rows and columns of a window; queries see the keys of their own. Default: all of the grid. */
  readonly window?: readonly [height: number, width: number];
  /**
   * q, k and v of positions outside the grid, [3, H, D] or flat, usually the projection's bias. Needed where windows reach
   * over the bottom or right edge: all of a window's positions are keys.
   */
  readonly padding?: Tensor;
  /** Relative positions: tables [2 * window height - 1, D] and [2 * window width - 1, D]. */
  readonly relative?: { readonly rows: Tensor; readonly columns: Tensor };
}

function refuse(message: string, expected: unknown, found: unknown): never {
  throw new ShapeError(message, { where: "attentionBidirectional", expected, found });
}

function checkPair(name: string, pair: readonly number[]): void {
  if (pair.length !== 2 || pair.some((n) => !Number.isInteger(n) || n < 1)) {
    refuse(`${name} must be a height and a width`, "two positive integers", pair);
  }
}

function sizesOf(qkv: Tensor, options: BidirectionalOptions): Sizes {
  const { scale, padding, relative } = options;
  if (qkv.shape.length !== 5 || qkv.shape[2] !== 3) {
    refuse(
      "qkv must be [batch, tokens, 3, heads, width]",
      ["batch", "tokens", 3, "heads", "width"],
      qkv.shape,
    );
  }
  const [batch, tokens, , heads, width] = qkv.shape;
  if (width > MAX_WIDTH) refuse("head width out of range", `at most ${MAX_WIDTH}`, width);
  if (!(scale > 0)) refuse("scale must be positive", "a positive number", scale);
  const grid = options.grid ?? [1, Math.max(1, tokens)];
  checkPair("grid", grid);
  const window = options.window ?? grid;
  checkPair("window", window);
  if (options.grid && grid[0] * grid[1] !== tokens) {
    refuse("grid and number of tokens differ", `${grid[0]} x ${grid[1]} = ${grid[0] * grid[1]}`, tokens);
  }
  if (!padding && (grid[0] % window[0] !== 0 || grid[1] % window[1] !== 0)) {
    refuse("windows reach over the edge of the grid but there is no padding", "padding [3, heads, width]", {
      grid,
      window,
    });
  }
  if (padding && padding.size !== 3 * heads * width) {
    refuse("padding must have one row of qkv", [3, heads, width], padding.shape);
  }
  if (relative) {
    [relative.rows, relative.columns].forEach((table, i) => {
      const expected = [2 * window[i] - 1, width];
      if (table.shape.length !== 2 || expected.some((n, axis) => n !== table.shape[axis])) {
        refuse(`the table of ${i === 0 ? "rows" : "columns"} does not fit the window`, expected, table.shape);
      }
    });
    const most = Math.floor(MOST_RELATIVE / (8 * width + 1024));
    if (window[0] + window[1] > most) {
      refuse("window too large for relative positions", `height + width of at most ${most}`, window);
    }
  }
  const [gridHeight, gridWidth] = grid;
  const [windowHeight, windowWidth] = window;
  return { batch, gridHeight, gridWidth, windowHeight, windowWidth, heads, width };
}

/**
 * Softmax attention of every token with every token of its window: qkv [B,T,3,H,D], a fused projection as it comes, to
 * [B,T,H,D], both f32. The score of query (y, x) and key (y', x') of a window of h rows and w columns is scale q.k, plus
 * q.rows[y - y' + h - 1] + q.columns[x - x' + w - 1] with `relative`. Windows start at the top left corner of the grid.
 * Gradients flow to qkv, the padding and both tables. @throws ShapeError
 */
export function attentionBidirectional(qkv: Tensor, options: BidirectionalOptions): Tensor {
  const sizes = sizesOf(qkv, options);
  const { batch, gridHeight, gridWidth, windowHeight, windowWidth, heads, width } = sizes;
  const { scale, relative } = options;
  const { device } = qkv;
  const y = device.empty([batch, qkv.shape[1], heads, width]);
  // Padding that no window reaches has no part in this: its gradient is not even zero.
  const reaches = gridHeight % windowHeight !== 0 || gridWidth % windowWidth !== 0;
  const padding = reaches ? (options.padding ?? null) : null;
  const rowTable = relative?.rows ?? null;
  const columnTable = relative?.columns ?? null;
  const optional = [padding, rowTable, columnTable];
  const inputs = [qkv, ...optional.filter((t) => t !== null)];
  if (y.size === 0) {
    record([y], [qkv], (_, grads) => grads.add(0, device.zeros(qkv.shape)));
    return y;
  }
  const tracked = device.tape !== null && inputs.some((t) => t.requiresGrad);
  const lse = tracked ? device.empty([batch, heads, gridHeight * gridWidth]) : null;
  forwardKernel.run(device, { qkv, padding, rowTable, columnTable, y, lse }, { ...sizes }, { scale });
  if (!tracked) return y;
  record([y], inputs, ([dy], grads) => {
    const groups = Math.min(windowsOf(sizes), Math.ceil(ENOUGH_UNITS / (batch * heads)));
    const tableRows = relative ? 2 * (windowHeight + windowWidth) - 2 : 0;
    const own = (t: Tensor | null) => t !== null && grads.wants(inputs.indexOf(t));
    const gradient = (t: Tensor | null) => (own(t) ? device.empty(t!.shape) : null);
    const shared = optional.some(own);
    const partial = shared ? device.empty([batch * heads * groups, tableRows + 2, width]) : null;
    const dqkv = device.empty(qkv.shape);
    const [dpadding, dRowTable, dColumnTable] = optional.map(gradient);
    backwardKernel.run(
      device,
      {
        ...{ qkv, padding, rowTable, columnTable, y, lse: lse!, dy: dy!, partial },
        ...{ dqkv, dpadding, dRowTable, dColumnTable },
      },
      { ...sizes, groups },
      { scale },
    );
    grads.add(0, dqkv);
    [dpadding, dRowTable, dColumnTable].forEach((t, i) => {
      if (t) grads.add(inputs.indexOf(optional[i]!), t);
    });
  });
  return y;
}
