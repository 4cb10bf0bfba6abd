"""Which rows of one data set belong to which rank."""

from __future__ import annotations


def share(n: int, unit: int, rank: int, size: int) -> range:
    """The rows of a rank: a contiguous range of whole units of rows, the last of which may be cut.

    The ranges of ranks 0, ..., size - 1 follow each other, cover 0, ..., n - 1 and differ by at
    most one unit. With fewer units than ranks the last ranks have no rows.
    """
    units = -(-n // unit)
    first, end = (-(-units * r // size) * unit for r in (rank, rank + 1))
    return range(min(first, n), min(end, n))
