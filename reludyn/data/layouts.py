"""Samples in memory, in one of three layouts.

rows: as they are drawn, for mini-batches. columns: each coordinate of all rows in one piece of
memory, so that full-batch gradients are products of long vectors. tiles: for narrow networks, where
reading X takes the time and products of matrices do not help.

Axes: S samples, one per replica or one for all (S = R or 1), n rows, d inputs, r outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

TILE = 16  # rows of a tile
MULTIPLE = 4  # divides the number of tiles
Layout = Literal["rows", "columns", "tiles"]


@dataclass(frozen=True)
class Resident:
    """Samples X (S, n, d) and Y (S, n, r), by rows or by columns."""

    X: Tensor
    Y: Tensor

    @property
    def sets(self) -> int:
        return len(self.X)

    @property
    def n(self) -> int:
        return self.X.shape[1]

    def chunks(self, at_once: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Return views of at most at_once rows each, without copies."""
        return zip(self.X.split(at_once, 1), self.Y.split(at_once, 1), strict=True)

    def put(self, start: int, X: Tensor, Y: Tensor) -> None:
        """Write rows X (S, c, d) and Y (S, c, r) from row `start` on."""
        rows = slice(start, start + X.shape[1])
        self.X[:, rows], self.Y[:, rows] = X, Y

    def part(self, rows: range) -> Resident:
        """Return consecutive rows: a view if they are all rows, else a copy of these alone."""
        if len(rows) == self.n:
            return self
        return Resident(*(x[:, rows.start : rows.stop].clone() for x in (self.X, self.Y)))

    def laid(self, layout: Layout) -> Held:
        """Return a copy in another layout."""
        (S, n, d), r = self.X.shape, self.Y.shape[2]
        held = room(layout, S, n, d, r, self.X)
        held.put(0, self.X, self.Y)
        return held

    def select(self, replicas: Tensor) -> Resident:
        """Return the samples of some replicas: views if consecutive or shared, else copies."""
        return Resident(*(_of(replicas, x.mT).mT for x in (self.X, self.Y)))

    def to(self, like: Tensor) -> Resident:
        """Return the samples on the device and in the precision of another tensor."""
        return Resident(self.X.to(like), self.Y.to(like))


@dataclass(frozen=True)
class Tiled:
    """Tiles of TILE rows: X (S, B, d, TILE), Y (S, B, r, TILE), B a multiple of MULTIPLE.

    A pass goes straight through memory and takes as many rows at once as a processor does,
    whether it sums over coordinates or over rows. Rows beyond the last are zero: a network without
    biases makes no error there, and their gradient is zero.
    """

    X: Tensor
    Y: Tensor
    n: int

    @property
    def sets(self) -> int:
        return len(self.X)

    def chunks(self, at_once: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Return copies of at most at_once rows, or of one tile; without rows, one empty chunk."""
        tiles = max(1, at_once // TILE)
        for start in range(0, max(1, -(-self.n // TILE)), tiles):
            X, Y = (x[:, start : start + tiles].mT.flatten(1, 2) for x in (self.X, self.Y))
            left = self.n - start * TILE
            yield X[:, :left], Y[:, :left]

    def put(self, start: int, X: Tensor, Y: Tensor) -> None:
        """Write rows X (S, c, d) and Y (S, c, r) from row `start` on."""
        row = torch.arange(start, start + X.shape[1], device=self.X.device)
        for tiles, rows in ((self.X, X), (self.Y, Y)):
            tiles.mT[:, row // TILE, row % TILE] = rows

    def select(self, replicas: Tensor) -> Tiled:
        """Return the samples of some replicas, as `Resident.take` does."""
        return Tiled(_of(replicas, self.X), _of(replicas, self.Y), self.n)

    def to(self, like: Tensor) -> Tiled:
        """Return the samples on the device and in the precision of another tensor."""
        return Tiled(self.X.to(like), self.Y.to(like), self.n)


Held = Resident | Tiled


def room(layout: Layout, S: int, n: int, d: int, r: int, like: Tensor | None = None) -> Held:
    """Return room for samples yet to be written: float64 on the CPU, or like another tensor."""
    like = torch.empty(0, dtype=torch.float64) if like is None else like
    if layout == "tiles":
        tiles = -(-n // (TILE * MULTIPLE)) * MULTIPLE
        X, Y = (like.new_zeros(S, tiles, size, TILE) for size in (d, r))
        return Tiled(X, Y, n)
    if layout == "columns":
        return Resident(*(like.new_empty(S, size, n).mT for size in (d, r)))
    return Resident(*(like.new_empty(S, n, size) for size in (d, r)))


def _of(replicas: Tensor, x: Tensor) -> Tensor:
    """Return the entries of some replicas, whose indices increase."""
    first, last = int(replicas[0]), int(replicas[-1])
    if len(x) == 1:
        return x
    return x[first : last + 1] if last - first + 1 == len(replicas) else x[replicas]
