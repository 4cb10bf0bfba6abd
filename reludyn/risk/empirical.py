"""Empirical risk of a sample, full batch, in chunks of bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from reludyn.activation import RELU, LeakyReLU
from reludyn.data.samples import Samples
from reludyn.memory import CHUNK
from reludyn.notation import Evaluation, Gradient, Loss
from reludyn.student import ReLUStudent


class EmpiricalRisk:
    """L_n(W, V) = 1/(2n) sum_i |V phi(W x_i) - y_i|^2 on n samples a replica, or shared by all.

    With Z = X W^T and the residual E = phi(Z) V^T - Y,

        grad_V = E^T phi(Z) / n          grad_W = ((E V) * phi'(Z))^T X / n

    (phi'(0) is the left derivative, 0 for ReLU), summed over chunks of rows. The sum of squares
    does not cancel, but each residual does: a loss L has a relative error of about
    1e-16 |Y| / sqrt(n L).
    """

    def __init__(self, samples: Samples, activation: LeakyReLU = RELU) -> None:
        self.samples, self.activation = samples, activation

    @cached_property
    def resolution(self) -> float:
        """The value below which rounding of the residuals rules: 16 eps^2 |Y|_F^2 / n."""
        squares, eps, S = 0.0, 0.0, 1
        for _, Y in self.samples.chunks(CHUNK):
            squares += float(Y.square().sum())
            eps, S = torch.finfo(Y.dtype).eps, len(Y)
        return 16 * eps**2 * squares / (S * self.samples.n)

    def evaluate(self, student: ReLUStudent) -> Evaluation:
        """Value (R,) and gradient."""
        W, V = student
        grad_W, grad_V = torch.zeros_like(W), torch.zeros_like(V)
        squares = W.new_zeros(len(W))
        for X, Y in self._chunks(student):
            Z = X @ W.mT  # (R, c, k)
            hidden = self.activation(Z)
            error = hidden @ V.mT - Y  # (R, c, r)
            back = (error @ V) * self.activation.derivative(Z)
            grad_V += error.mT @ hidden
            grad_W += back.mT @ X
            squares += error.square().sum((-2, -1))
        n = self.samples.n
        return Evaluation(squares / (2 * n), Gradient(grad_W / n, grad_V / n))

    def loss(self, student: ReLUStudent) -> Loss:
        """Value and parts (R,): 1/(2n) sum |y_i - odd V W x_i|^2 and
        even^2/(2n) sum |V abs(W x_i)|^2, with phi(z) = odd z + even |z|.

        On a finite sample odd and even functions are not orthogonal: total differs from the sum of
        the parts by their cross term, of order 1/sqrt(n).
        """
        W, V = student
        parts = W.new_zeros(3, len(W))
        for X, Y in self._chunks(student):
            Z = X @ W.mT
            odd = self.activation.odd * (Z @ V.mT) - Y
            even = self.activation.even * (Z.abs() @ V.mT)
            parts += torch.stack([e.square().sum((-2, -1)) for e in (odd + even, odd, even)])
        return Loss(*(parts / (2 * self.samples.n)))

    def switched(self, before: ReLUStudent, after: ReLUStudent) -> Tensor:
        """Fraction of the samples whose activation differs between two students, (R, k)."""
        count = torch.zeros_like(after.W[..., 0])
        for X, _ in self._chunks(after):
            count += ((X @ before.W.mT > 0) != (X @ after.W.mT > 0)).sum(-2)
        return count / self.samples.n

    def _chunks(self, student: ReLUStudent) -> Iterator[tuple[Tensor, Tensor]]:
        (R, k, d), r = student.W.shape, student.V.shape[1]
        return self.samples.chunks(max(1, CHUNK // (R * (d + 4 * k + 2 * r))))
