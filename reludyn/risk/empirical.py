"""Empirical risk of a fixed sample, full batch."""

from __future__ import annotations

from torch import Tensor

from reludyn.notation import Evaluation, Gradient, Loss
from reludyn.student import ReLUStudent


class EmpiricalRisk:
    """L_n(W, V) = 1/(2n) sum_i |V relu(W x_i) - y_i|^2 on X (R, n, d), Y (R, n, r).

    One sample a replica, or one for all: X (1, n, d), Y (1, n, r). With Z = X W^T and the residual
    E = relu(Z) V^T - Y,

        grad_V = E^T relu(Z) / n          grad_W = ((E V) * 1[Z > 0])^T X / n

    (relu'(0) = 0). A sum of squares does not cancel, so every value is resolved.
    """

    resolution = 0.0

    def __init__(self, X: Tensor, Y: Tensor) -> None:
        self.X, self.Y = X, Y

    @property
    def samples(self) -> int:
        return self.X.shape[-2]

    def evaluate(self, student: ReLUStudent) -> Evaluation:
        """Value (R,) and gradient."""
        W, V = student
        Z = self.X @ W.mT  # (R, n, k)
        hidden = Z.relu()
        error = hidden @ V.mT - self.Y  # (R, n, r)
        back = (error @ V) * (Z > 0)
        grad_V = error.mT @ hidden / self.samples
        grad_W = back.mT @ self.X / self.samples
        loss = error.square().sum((-2, -1)) / (2 * self.samples)
        return Evaluation(loss, Gradient(grad_W, grad_V))

    def loss(self, student: ReLUStudent) -> Loss:
        """Value and parts (R,): 1/(2n) sum |y_i - V W x_i / 2|^2 and 1/(8n) sum |V abs(W x_i)|^2.

        On a finite sample odd and even functions are not orthogonal: total differs from the sum of
        the parts by their cross term, of order 1/sqrt(n).
        """
        W, V = student
        Z = self.X @ W.mT
        odd = Z @ V.mT / 2 - self.Y
        even = Z.abs() @ V.mT / 2
        linear, rectification, total = (
            e.square().sum((-2, -1)) / (2 * self.samples) for e in (odd, even, odd + even)
        )
        return Loss(total, linear, rectification)
