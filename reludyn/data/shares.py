"""Assignment of the rows of one data set to ranks."""

from __future__ import annotations


def share(n: int, unit: int, rank: int, size: int) -> range:
    """Return the rows of a rank: a contiguous range of whole units, the last possibly cut.

    The ranges of ranks 0, ..., size - 1 follow each other, cover 0, ..., n - 1 and differ by at
    most one unit, the first ones being longer. With fewer units than ranks the last have no rows.
    """
    each, left = divmod(-(-n // unit), size)
    first, end = ((each * r + min(r, left)) * unit for r in (rank, rank + 1))
    return range(min(first, n), min(end, n))
