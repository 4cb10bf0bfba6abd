"""Empirical risk of a sample whose rows are shared out among ranks."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import Tensor

from reludyn.data.samples import Samples
from reludyn.network.activation import RELU, LeakyReLU
from reludyn.risk.empirical import EmpiricalRisk


class ShardedRisk(EmpiricalRisk):
    """`EmpiricalRisk` of the n rows of all ranks, from the share of them that is held here.

    Every sum over rows (value, gradient, parts of the loss, switched, resolution) is the sum over
    the rows of this rank, completed by `total`: one all-reduce of one flat tensor, in place. All
    ranks must therefore ask for the same things in the same order. A share may be empty.
    """

    fixed = False  # sums wait for other ranks: not to be recorded as a CUDA graph
    group = sys.maxsize  # one all-reduce for all replicas, whatever a share's size

    def __init__(
        self,
        samples: Samples,
        n: int,
        total: Callable[[Tensor], None],
        activation: LeakyReLU = RELU,
        compiled: bool = False,
        several: bool = False,
    ) -> None:
        super().__init__(samples, activation, compiled, several)
        self.rows, self.total = n, total

    @property
    def n(self) -> int:
        """Number of rows of all ranks."""
        return self.rows

    def select(self, replicas: Tensor) -> ShardedRisk:
        """Return the risk on the samples of some replicas, copied unless all replicas share one."""
        samples = self.samples.select(replicas)
        return ShardedRisk(
            samples, self.n, self.total, self.activation, self.compiled, self.several
        )

    def _complete(self, parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        flat = torch.cat([part.flatten() for part in parts])
        self.total(flat)
        pieces = flat.split([part.numel() for part in parts])
        return tuple(x.view_as(part) for x, part in zip(pieces, parts, strict=True))
