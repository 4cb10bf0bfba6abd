"""Gradients from a part of the samples, one part per iteration: mini-batches, fresh rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from reludyn.data.layouts import Resident
from reludyn.data.samples import Selected, Streamed
from reludyn.network.activation import LeakyReLU
from reludyn.network.notation import Evaluation
from reludyn.network.student import ReLUStudent
from reludyn.numerics.random import stream
from reludyn.risk.empirical import EmpiricalRisk


@dataclass
class MiniBatches:
    """Batches of a resident sample without replacement, reshuffled every epoch.

    Iteration t of an epoch takes rows pi(t b), ..., pi((t + 1) b - 1), with pi a permutation of the
    n rows drawn from the replica's seed and the number of the epoch. The last batch of an epoch is
    smaller where b does not divide n.
    """

    samples: Resident
    batch: int
    seeds: Sequence[int]  # (R,) one order per replica, also where they share the sample
    activation: LeakyReLU
    _epoch: int = field(default=-1, init=False)
    _order: Tensor = field(init=False)  # (R, n) the order of rows in that epoch

    @property
    def period(self) -> int:
        """Number of iterations per epoch."""
        return math.ceil(self.samples.n / self.batch)

    def evaluate(self, student: ReLUStudent, step: int) -> Evaluation:
        """Return value (R,) and gradient on the batch of an iteration."""
        epoch, place = divmod(step, self.period)
        if epoch != self._epoch:
            orders = [
                stream(seed, "batches", epoch).permutation(self.samples.n) for seed in self.seeds
            ]
            self._epoch = epoch
            self._order = torch.from_numpy(np.stack(orders)).to(self.samples.X.device)
        rows = self._order[:, place * self.batch : (place + 1) * self.batch]
        return EmpiricalRisk(Selected(self.samples, rows), self.activation).evaluate(student)


@dataclass(frozen=True)
class FreshSamples:
    """Batches of n new rows per iteration: online stochastic gradient descent.

    `period` is the number of iterations between two checks of the loss against the tolerance.
    """

    samples: Streamed
    activation: LeakyReLU
    period: int = 1

    def evaluate(self, student: ReLUStudent, step: int) -> Evaluation:
        """Return value (R,) and gradient on the rows of an iteration."""
        rows = replace(self.samples, step=step)
        return EmpiricalRisk(rows, self.activation).evaluate(student)
