"""Pairs of rows and columns with the greatest total gain (what scipy calls `linear_sum_assignment`)."""

from __future__ import annotations

import numpy as np

from sal_runtime.arrays import Float64Array, Int64Array


def best_pairs(gain: Float64Array) -> tuple[Int64Array, Int64Array]:
    """Pair each row with at most one column and each column with at most one row.

    Args:
        gain: what a pair is worth, float64 `[n, m]`, finite; 0 where the two cannot be a pair, positive elsewhere.

    Returns:
        The rows and the columns of the pairs, int64 `[p]` each.
    """
    is_pair = gain > 0
    in_row, in_column = is_pair.sum(axis=1), is_pair.sum(axis=0)
    # most people have no other one near them
    rows, columns = np.nonzero(is_pair & (in_row[:, None] == 1) & (in_column == 1))
    in_row[rows] = in_column[columns] = 0
    open_rows, open_columns = np.flatnonzero(in_row), np.flatnonzero(in_column)
    if not len(open_rows):
        return rows, columns
    rest = gain[np.ix_(open_rows, open_columns)]
    if len(open_rows) <= len(open_columns):
        row, column = np.arange(len(open_rows)), _cheapest_columns(-rest)
    else:
        row, column = _cheapest_columns(-rest.T), np.arange(len(open_columns))
    worth = rest[row, column] > 0
    return np.append(rows, open_rows[row[worth]]), np.append(columns, open_columns[column[worth]])


def _cheapest_columns(cost: Float64Array) -> Int64Array:
    """A column of its own for each row, so that the total cost is least, int64 `[n]`; there are at least n columns.

    Row after row, the shortest path of exchanges leads to a free column (Jonker and Volgenant, 1987).
    """
    n, m = cost.shape
    row_price, column_price = np.zeros(n), np.zeros(m)
    owner = np.full(m, -1)
    for row in range(n):
        length, came_from, done = np.full(m, np.inf), np.full(m, -1), np.zeros(m, bool)
        here, column, so_far = row, -1, 0.0
        while True:
            through = so_far + cost[here] - row_price[here] - column_price
            shorter = ~done & (through < length)
            length[shorter], came_from[shorter] = through[shorter], column
            column = int(np.where(done, np.inf, length).argmin())
            so_far, done[column] = length[column], True
            if owner[column] < 0:
                break
            here = owner[column]
        saved = so_far - length[done]
        owned = owner[done] >= 0
        row_price[row] += so_far
        row_price[owner[done][owned]] += saved[owned]
        column_price[done] -= saved
        while came_from[column] >= 0:
            owner[column] = owner[came_from[column]]
            column = came_from[column]
        owner[column] = row
    columns = np.flatnonzero(owner >= 0)
    return columns[owner[columns].argsort()]
