"""Empirical risk of a fixed sample, full batch."""

from __future__ import annotations

import torch
from torch import Tensor

from reludyn.activation import RELU, LeakyReLU
from reludyn.notation import Evaluation, Gradient, Loss
from reludyn.student import ReLUStudent


class EmpiricalRisk:
    """L_n(W, V) = 1/(2n) sum_i |V phi(W x_i) - y_i|^2 on X (R, n, d), Y (R, n, r).

    One sample a replica, or one for all: X (1, n, d), Y (1, n, r). With Z = X W^T and the residual
    E = phi(Z) V^T - Y,

        grad_V = E^T phi(Z) / n          grad_W = ((E V) * phi'(Z))^T X / n

    (phi'(0) is the left derivative, 0 for ReLU). The sum of squares does not cancel, but each
    residual does: a loss L has a relative error of about 1e-16 |Y| / sqrt(n L).
    """

    def __init__(self, X: Tensor, Y: Tensor, activation: LeakyReLU = RELU) -> None:
        self.X, self.Y, self.activation = X, Y, activation

    @property
    def resolution(self) -> float:
        """The value below which rounding of the residuals rules: 16 eps^2 |Y|_F^2 / n."""
        return 16 * torch.finfo(self.Y.dtype).eps ** 2 * float(self.Y.square().mean())

    @property
    def samples(self) -> int:
        return self.X.shape[-2]

    def evaluate(self, student: ReLUStudent) -> Evaluation:
        """Value (R,) and gradient."""
        W, V = student
        Z = self.X @ W.mT  # (R, n, k)
        hidden = self.activation(Z)
        error = hidden @ V.mT - self.Y  # (R, n, r)
        back = (error @ V) * self.activation.derivative(Z)
        grad_V = error.mT @ hidden / self.samples
        grad_W = back.mT @ self.X / self.samples
        loss = error.square().sum((-2, -1)) / (2 * self.samples)
        return Evaluation(loss, Gradient(grad_W, grad_V))

    def loss(self, student: ReLUStudent) -> Loss:
        """Value and parts (R,): 1/(2n) sum |y_i - odd V W x_i|^2 and
        even^2/(2n) sum |V abs(W x_i)|^2, with phi(z) = odd z + even |z|.

        On a finite sample odd and even functions are not orthogonal: total differs from the sum of
        the parts by their cross term, of order 1/sqrt(n).
        """
        W, V = student
        Z = self.X @ W.mT
        odd = self.activation.odd * (Z @ V.mT) - self.Y
        even = self.activation.even * (Z.abs() @ V.mT)
        linear, rectification, total = (
            e.square().sum((-2, -1)) / (2 * self.samples) for e in (odd, even, odd + even)
        )
        return Loss(total, linear, rectification)
