"""Joint gradient descent on both layers, the update of the paper."""

from __future__ import annotations

from dataclasses import dataclass

from reludyn.network.notation import Gradient, PerReplica
from reludyn.network.student import ReLUStudent
from reludyn.optim import Memory, SteppedRule

BEGINNING: tuple[int, PerReplica] = (0, 0.0)  # iteration and time


@dataclass(frozen=True)
class GradientDescent(SteppedRule):
    """Gradient descent W <- W - mu grad_W L(W, V), V <- V - mu' grad_V L(W, V).

    Both gradients are those of the same iterate.
    """

    since: tuple[int, PerReplica] = BEGINNING  # from when on mu is the same

    @property
    def steady(self) -> bool:
        """Whether mu is constant."""
        return self.sizes.schedule.is_constant

    def memory(self, student: ReLUStudent) -> Memory:
        """Return no memory."""
        return ()

    def update(
        self, student: ReLUStudent, gradient: Gradient, memory: Memory, step: int
    ) -> tuple[ReLUStudent, Memory]:
        """Return the weights after one update of all replicas."""
        return self.sizes.moved(student, gradient, step), memory

    def time(self, step: int, before: PerReplica) -> PerReplica:
        """Return mu step for a constant mu, without summing."""
        if not self.steady:
            return super().time(step, before)
        begin, t = self.since
        return t + self.sizes.lr * (step - begin)
