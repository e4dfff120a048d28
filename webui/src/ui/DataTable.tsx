import type { ComponentChildren } from "preact";

export interface Column<Row> {
  key: string;
  header: string;
  cell: (row: Row) => ComponentChildren;
  /** Figures: right-aligned and tabular. */
  numeric?: boolean;
  /** The cell that names the row. */
  rowHeader?: boolean;
  /** The header is read, not shown: the cells say it themselves. */
  hiddenHeader?: boolean;
  /** Left out of the card a row becomes on a phone when there is nothing to show. */
  emptyOn?: (row: Row) => boolean;
}

interface DataTableProps<Row> {
  label: string;
  columns: Column<Row>[];
  rows: Row[];
  rowKey: (row: Row) => string;
  name: string;
}

/**
 * A table that becomes a list of cards under 960 px. The explicit roles keep its meaning there: browsers drop the
 * native ones when CSS changes `display` (https://adrianroselli.com/2018/02/tables-css-display-properties-and-aria.html).
 */
export function DataTable<Row>({ label, columns, rows, rowKey, name }: DataTableProps<Row>) {
  const kind = (column: Column<Row>) => `col-${column.key}${column.numeric ? " num" : ""}`;
  return (
    <table class={`table table-${name}`} role="table" aria-label={label}>
      <thead role="rowgroup">
        <tr role="row">
          {columns.map((column) => (
            <th key={column.key} role="columnheader" scope="col" class={kind(column)}>
              {column.hiddenHeader ? <span class="visually-hidden">{column.header}</span> : column.header}
            </th>
          ))}
        </tr>
      </thead>
      <tbody role="rowgroup">
        {rows.map((row) => (
          <tr key={rowKey(row)} role="row">
            {columns.map((column) => {
              const props = {
                class: `${kind(column)}${column.emptyOn?.(row) ? " cell-empty" : ""}`,
                "data-label": column.header,
              };
              return column.rowHeader ? (
                <th key={column.key} role="rowheader" scope="row" {...props}>
                  {column.cell(row)}
                </th>
              ) : (
                <td key={column.key} role="cell" {...props}>
                  {column.cell(row)}
                </td>
              );
            })}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
