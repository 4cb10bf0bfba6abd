"""Gradient descent with momentum (Polyak 1964), also Nesterov's."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from reludyn.network.notation import Gradient
from reludyn.network.student import ReLUStudent
from reludyn.optim import SteppedRule


@dataclass(frozen=True)
class Momentum(SteppedRule):
    """Momentum: M <- beta M + G and W <- W - mu M for both layers.

    G is their gradient, and M = 0 at first. With nesterov W <- W - mu (G + beta M), as in
    torch.optim.SGD.
    """

    beta: float
    nesterov: bool = False

    def memory(self, student: ReLUStudent) -> Gradient:
        """Return M = 0."""
        return Gradient(*map(torch.zeros_like, student))

    def update(
        self, student: ReLUStudent, gradient: Gradient, memory: Gradient, step: int
    ) -> tuple[ReLUStudent, Gradient]:
        """Return weights and M after one update of all replicas."""
        memory = _added(gradient, self.beta, memory)
        direction = _added(gradient, self.beta, memory) if self.nesterov else memory
        return self.sizes.moved(student, direction, step), memory


def _added(x: Gradient, factor: float, y: Gradient) -> Gradient:
    """Return x + factor y."""
    return Gradient(*(a.add(b, alpha=factor) for a, b in zip(x, y, strict=True)))
