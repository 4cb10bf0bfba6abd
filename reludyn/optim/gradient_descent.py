"""Joint gradient descent on both layers, the update of the paper."""

from __future__ import annotations

from dataclasses import dataclass

from reludyn.notation import Gradient
from reludyn.student import ReLUStudent


@dataclass(frozen=True)
class GradientDescent:
    """W <- W - mu grad_W L(W, V),  V <- V - mu grad_V L(W, V), both from the same iterate.

    lr is the step size mu of both layers. A layer that is not trained stays as it is.
    """

    lr: float
    train_hidden: bool = True
    train_output: bool = True

    def step(self, student: ReLUStudent, gradient: Gradient) -> ReLUStudent:
        """One update of all replicas."""
        W = student.W - self.lr * gradient.W if self.train_hidden else student.W
        V = student.V - self.lr * gradient.V if self.train_output else student.V
        return ReLUStudent(W, V)
