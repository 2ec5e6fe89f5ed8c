/** The numbers of a picture as a table, a page of rows at a time: it opens behind a button. */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { formatCount } from "../../text/units.ts";

const PAGE = 50;

interface NumbersTableProps {
  readonly name: string;
  readonly head: readonly string[];
  readonly rows: number;
  /** Cells of a row; the first names it. */
  readonly row: (at: number) => readonly ComponentChildren[];
}

export function NumbersTable({ name, head, rows, row }: NumbersTableProps) {
  const [open, setOpen] = useState(false);
  const [page, setPage] = useState(0);
  const first = Math.min(page * PAGE, Math.max(0, Math.ceil(rows / PAGE) - 1) * PAGE);
  const last = Math.min(rows, first + PAGE);
  return (
    <div class="inside-numbers">
      <button type="button" class="outlined" aria-expanded={open} onClick={() => setOpen(!open)}>
        {name} as a table
      </button>
      {open && (
        <>
          <div class="inside-scroll" tabIndex={0} role="region" aria-label={`${name} as a table`}>
            <table class="inside-table">
              <thead>
                <tr>
                  {head.map((cell) => (
                    <th key={cell} scope="col">
                      {cell}
                    </th>
                  ))}
                </tr>
              </thead>
              <tbody>
                {Array.from({ length: last - first }, (_, i) => {
                  const [named, ...cells] = row(first + i);
                  return (
                    <tr key={first + i}>
                      <th scope="row">{named}</th>
                      {cells.map((cell, column) => (
                        <td key={head[column + 1]}>{cell}</td>
                      ))}
                    </tr>
                  );
                })}
              </tbody>
            </table>
          </div>
          {rows > PAGE && (
            <div class="row small">
              <button
                type="button"
                class="outlined"
                disabled={first === 0}
                onClick={() => setPage(first / PAGE - 1)}
              >
                Rows before
              </button>
              <span class="soft">
                {formatCount(first + 1)} to {formatCount(last)} of {formatCount(rows)}
              </span>
              <button
                type="button"
                class="outlined"
                disabled={last === rows}
                onClick={() => setPage(first / PAGE + 1)}
              >
                Rows after
              </button>
            </div>
          )}
        </>
      )}
    </div>
  );
}
