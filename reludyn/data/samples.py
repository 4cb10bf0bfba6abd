"""Samples (X, Y): drawn in blocks from seeds, and held in memory or drawn again in every pass.

Axes: S samples, one per replica or one for all (S = R or 1), n rows, d inputs, r outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from reludyn.data.laws import InputLaw
from reludyn.data.layouts import Held, Layout, Resident, room
from reludyn.network.teacher import LinearTeacher
from reludyn.numerics.random import Purpose, stream
from reludyn.numerics.sizes import CHUNK

BLOCK = 4096  # rows that share a generator; another number gives other samples for a seed


@dataclass(frozen=True)
class Source:
    """Rows x of a law with labels y = A x + noise N(0, I_r), for each of S seeds.

    Row i of a seed depends on (seed, i) alone, however many rows are drawn and in what pieces; with
    a step, on (seed, step, i). Labels without noise are the same for every value of `noise`.
    """

    teacher: LinearTeacher
    law: InputLaw
    seeds: Sequence[int]
    noise: float = 0.0
    purpose: Purpose = "data"

    def rows(
        self, n: int, at_once: int = BLOCK, step: int | None = None, first: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Draw n rows from row `first` on, a multiple of BLOCK, in pieces of bounded memory.

        Yields X (S, c, d) and Y (S, c, r) with c <= at_once, float64 on the CPU; for n = 0 an empty
        piece.
        """
        numbers = len(self.seeds) * (self.teacher.inputs + self.teacher.outputs)
        at_once = max(1, min(at_once, CHUNK // numbers))
        assert first % BLOCK == 0 or n == 0
        for block, start in enumerate(range(0, max(n, 1), BLOCK), first // BLOCK):
            index = (block,) if step is None else (block, step)
            inputs = [stream(seed, self.purpose, *index) for seed in self.seeds]
            errors = [stream(seed, "noise", *index) for seed in self.seeds] if self.noise else []
            count = min(BLOCK, n - start)
            for made in range(0, max(count, 1), at_once):
                yield self._draw(inputs, errors, min(at_once, count - made))

    def _draw(
        self, inputs: Sequence[np.random.Generator], errors: Sequence[np.random.Generator], c: int
    ) -> tuple[Tensor, Tensor]:
        d, r = self.teacher.inputs, self.teacher.outputs
        X = torch.from_numpy(np.stack([self.law.sample(rng, c, d) for rng in inputs]))
        Y = self.teacher(X)
        if errors:
            noise = np.stack([rng.standard_normal((c, r)) for rng in errors])
            Y = Y + self.noise * torch.from_numpy(noise)
        return X, Y

    def draw(self, n: int, layout: Layout = "rows", first: int = 0) -> Held:
        """Draw n rows from row `first` on all at once, float64 on the CPU."""
        held = room(layout, len(self.seeds), n, self.teacher.inputs, self.teacher.outputs)
        start = 0
        for x, y in self.rows(n, first=first):
            held.put(start, x, y)
            start += x.shape[1]
        return held


class Samples(Protocol):
    """Samples of n rows per replica, on the device and in the precision of the run."""

    @property
    def sets(self) -> int:
        """S, the number of different samples."""

    @property
    def n(self) -> int: ...

    def chunks(self, at_once: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Return all rows in pieces of at most at_once: X (S, c, d), Y (S, c, r)."""

    def select(self, replicas: Tensor) -> Samples:
        """Return the samples of some replicas, given by their indices."""


@dataclass(frozen=True)
class Selected:
    """Rows (R, b) of samples in memory, other ones for each replica."""

    samples: Resident
    rows: Tensor

    @property
    def sets(self) -> int:
        return len(self.rows)

    @property
    def n(self) -> int:
        return self.rows.shape[1]

    def chunks(self, at_once: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Return copies of the rows, a chunk at a time."""
        X, Y = self.samples.X, self.samples.Y
        sample = torch.arange(len(X), device=X.device).unsqueeze(-1)  # (S, 1) against (R, c)
        for rows in self.rows.split(at_once, 1):
            yield X[sample, rows], Y[sample, rows]

    def select(self, replicas: Tensor) -> Selected:
        """Return the rows of some replicas."""
        return Selected(self.samples.select(replicas), self.rows[replicas])


@dataclass(frozen=True)
class Streamed:
    """Samples that are drawn again in every pass and never held, n rows from row `first` on.

    With a step they are those of that step (see `Source.rows`).
    """

    source: Source
    n: int
    device: torch.device
    dtype: torch.dtype
    step: int | None = None
    first: int = 0

    @property
    def sets(self) -> int:
        return len(self.source.seeds)

    def chunks(self, at_once: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Draw the rows, at most BLOCK at once."""
        for X, Y in self.source.rows(self.n, at_once, self.step, self.first):
            yield X.to(self.device, self.dtype), Y.to(self.device, self.dtype)

    def select(self, replicas: Tensor) -> Streamed:
        """Return the samples of the seeds of some replicas."""
        seeds = self.source.seeds
        if len(seeds) == 1:
            return self
        some = [seeds[j] for j in replicas.tolist()]
        return replace(self, source=replace(self.source, seeds=some))
