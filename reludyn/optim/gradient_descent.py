"""Joint gradient descent on both layers, the update of the paper."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from reludyn.network.notation import Gradient, Own, against
from reludyn.network.student import ReLUStudent
from reludyn.optim import Memory, StepSizes

BEGINNING: tuple[int, Own] = (0, 0.0)  # iteration and time


@dataclass(frozen=True)
class GradientDescent:
    """W <- W - mu grad_W L(W, V),  V <- V - mu' grad_V L(W, V), both from the same iterate."""

    sizes: StepSizes  # mu = lr, mu' = output_lr
    since: tuple[int, Own] = BEGINNING  # an iteration and its time: from there on mu is the same
    separable: ClassVar[bool] = True

    def time(self, step: int, before: Own) -> Own:
        """mu step."""
        begin, t = self.since
        return t + self.sizes.lr * (step - begin)

    def step(self, student: ReLUStudent, gradient: Gradient) -> ReLUStudent:
        """One update of all replicas."""
        W = _moved(student.W, gradient.W, self.sizes.lr)
        V = _moved(student.V, gradient.V, self.sizes.output)
        return self.sizes.trained(student, ReLUStudent(W, V))

    def snapshot(self) -> Memory:
        """Gradient descent remembers nothing."""
        return None

    def restore(self, memory: Memory) -> None:
        """Nothing to do."""

    def take(self, replicas: Tensor) -> GradientDescent:
        """With the step sizes of some replicas."""
        return replace(self, sizes=self.sizes.take(replicas))

    def memory_of(self, memory: Memory, replicas: slice) -> Memory:
        """None."""
        return None


def _moved(x: Tensor, gradient: Tensor, lr: Own) -> Tensor:
    """x - lr gradient, in one operation."""
    if isinstance(lr, Tensor):
        return torch.addcmul(x, against(lr, x).to(x), gradient, value=-1)
    return x.sub(gradient, alpha=lr)
