"""Joint gradient descent on both layers, the update of the paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from reludyn.notation import Gradient
from reludyn.optim import Memory, StepSizes
from reludyn.student import ReLUStudent


@dataclass(frozen=True)
class GradientDescent:
    """W <- W - mu grad_W L(W, V),  V <- V - mu' grad_V L(W, V), both from the same iterate."""

    sizes: StepSizes  # mu = lr, mu' = output_lr
    separable: ClassVar[bool] = True

    def time(self, step: int, before: float) -> float:
        """mu step."""
        return self.sizes.lr * step

    def step(self, student: ReLUStudent, gradient: Gradient) -> ReLUStudent:
        """One update of all replicas."""
        W = student.W.sub(gradient.W, alpha=self.sizes.lr)
        V = student.V.sub(gradient.V, alpha=self.sizes.output)
        return self.sizes.trained(student, ReLUStudent(W, V))

    def snapshot(self) -> Memory:
        """Gradient descent remembers nothing."""
        return None

    def restore(self, memory: Memory) -> None:
        """Nothing to do."""
