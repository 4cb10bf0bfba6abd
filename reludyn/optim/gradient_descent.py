"""Joint gradient descent on both layers, the update of the paper."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from reludyn.network.notation import Gradient, PerReplica
from reludyn.network.student import ReLUStudent
from reludyn.optim import Memory, StepSizes

BEGINNING: tuple[int, PerReplica] = (0, 0.0)  # iteration and time


@dataclass(frozen=True)
class GradientDescent:
    """Gradient descent W <- W - mu grad_W L(W, V), V <- V - mu' grad_V L(W, V).

    Both gradients are those of the same iterate.
    """

    sizes: StepSizes  # mu = lr, mu' = output_lr
    since: tuple[int, PerReplica] = (
        BEGINNING  # an iteration and its time, since when mu is the same
    )
    separable: ClassVar[bool] = True

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
            return self.sizes.time(step, before)
        begin, t = self.since
        return t + self.sizes.lr * (step - begin)

    def select(self, replicas: Tensor) -> GradientDescent:
        """Return the rule with the step sizes of some replicas."""
        return replace(self, sizes=self.sizes.select(replicas))
